import json
import pickle

import pytest
import spacy
from spacy.tokens import Doc

from spacy_tcm.errors import ModelError
from spacy_tcm.fields.tongue import TongueGrammar
from spacy_tcm.pipeline.tcm_fields import TCMFields

COLOUR, SHAPE = "舌象.舌色", "舌象.舌形"
COATING, QUALITY = "舌象.苔色", "舌象.苔质"


def attribute(abstained=False, **probabilities):
    value = max(probabilities, key=probabilities.__getitem__)
    return {"value": value, "probabilities": probabilities, "abstained": abstained}


DARK = attribute(light=0.01, regular=0.04, dark=0.95)
WHITE = attribute(white=0.9, light_yellow=0.06, yellow=0.03, gray_black=0.01)
SEVERE = attribute(none=0.1, light=0.2, severe=0.7)
NONE = attribute(none=0.95, light=0.03, severe=0.02)


def photo(status="ok", **attributes):
    return {"status": status, "reasons": [], "quality": {}, "attributes": attributes}


@pytest.fixture
def nlp():
    nlp = spacy.blank("tcm")
    nlp.add_pipe("tcm_fields")
    return nlp


def make_doc(nlp, entities=(), tongue=None):
    """A text of the entities with commas between, and what a photo shows."""
    doc = nlp.make_doc("患者" + "，".join(entities))
    at, ents = 2, []
    for surface in entities:
        ents.append(doc.char_span(at, at + len(surface), label="TONGUE"))
        at += len(surface) + 1
    doc.set_ents(ents)
    if tongue is not None:
        doc._.tongue = tongue
    return doc


def run(nlp, *entities, **attributes):
    doc = nlp(make_doc(nlp, entities, photo(**attributes)))
    return doc._.fields, doc._.conflicts


def test_text_alone(nlp):
    doc = nlp(make_doc(nlp, ["舌淡红", "苔薄白"]))
    found = {
        field: {key: x[key] for key in ("value", "evidence", "start", "end", "source")}
        for field, x in doc._.fields.items()
    }
    assert found == {
        COLOUR: {"value": ["淡红"], "evidence": "舌淡红", "start": 2, "end": 5, "source": "text"},
        COATING: {"value": ["白"], "evidence": "苔薄白", "start": 6, "end": 9, "source": "text"},
        QUALITY: {"value": ["薄"], "evidence": "苔薄白", "start": 6, "end": 9, "source": "text"},
    }
    assert doc._.conflicts == []


def test_other_labels_and_nothing_at_all(nlp):
    doc = nlp.make_doc("舌红")
    doc.set_ents([doc.char_span(0, 2, label="SYMPTOM")])
    assert doc._.fields == {}
    assert nlp(doc)._.fields == {}
    empty = nlp("")
    assert (empty._.fields, empty._.conflicts) == ({}, [])


@pytest.mark.parametrize("status", ["none", "rejected", "not_run"])
def test_only_a_photo_that_was_used_counts(nlp, status):
    tongue = photo(status, body_color=DARK, tooth_marks=SEVERE)
    doc = nlp(make_doc(nlp, ["舌淡"], tongue))
    assert {field: found["source"] for field, found in doc._.fields.items()} == {COLOUR: "text"}
    assert doc._.conflicts == []


def test_photo_agrees(nlp):
    fields, conflicts = run(nlp, "舌紫暗", "苔白", body_color=DARK, coating_color=WHITE)
    assert fields[COLOUR]["value"] == ["青紫"]
    assert fields[COLOUR]["source"] == fields[COATING]["source"] == "both"
    assert "candidates" not in fields[COLOUR]
    assert conflicts == []


def test_photo_agrees_with_one_of_several_values(nlp):
    fields, conflicts = run(nlp, "舌淡尖红", body_color=DARK)
    assert (fields[COLOUR]["value"], fields[COLOUR]["source"]) == (["淡白", "红"], "both")
    assert conflicts == []


def test_photo_alone(nlp):
    thin = attribute(none=0.1, thin=0.6, thick=0.3)
    fields, conflicts = run(
        nlp, body_color=DARK, coating_color=WHITE, coating_thickness=thin, fissure=SEVERE
    )
    nowhere = {"evidence": None, "start": None, "end": None, "source": "image"}
    assert fields == {
        COLOUR: {
            "value": ["红"],
            **nowhere,
            "probability": 0.95,
            "candidates": ["红", "绛", "暗红", "淡紫", "青紫"],
        },
        SHAPE: {"value": ["裂纹"], **nowhere, "probability": 0.7},
        COATING: {"value": ["白"], **nowhere, "probability": 0.9},
        QUALITY: {"value": ["薄"], **nowhere, "probability": 0.6},
    }
    assert conflicts == []


def test_several_findings_of_the_photo_in_one_field(nlp):
    spots = attribute(none=0.4, present=0.6)
    fields, _ = run(nlp, fissure=SEVERE, spots=spots)
    assert fields[SHAPE]["value"] == ["裂纹", "点刺"]
    assert fields[SHAPE]["candidates"] == ["裂纹", "点刺", "瘀点", "瘀斑"]
    assert fields[SHAPE]["probability"] == 0.6


@pytest.mark.parametrize(
    "fissure",
    [
        attribute(none=0.1, light=0.7, severe=0.2),
        attribute(none=0.9, light=0.1, severe=0.0),
        {**SEVERE, "abstained": True},
    ],
)
def test_what_says_nothing(nlp, fissure):
    assert run(nlp, fissure=fissure) == ({}, [])
    fields, conflicts = run(nlp, "舌胖大", fissure=fissure)
    assert (fields[SHAPE]["source"], conflicts) == ("text", [])
    assert "unmentioned" not in fields[SHAPE]


def test_abstention_confirms_nothing(nlp):
    fields, _ = run(nlp, "舌红", body_color={**DARK, "abstained": True})
    assert fields[COLOUR]["source"] == "text"


def test_beyond_the_text(nlp):
    """The text mentions the field, but nothing of what the photo adds to it."""
    thin = attribute(none=0.1, thin=0.6, thick=0.3)
    fields, conflicts = run(
        nlp, "舌胖大", "苔腻", tooth_marks=SEVERE, fissure=NONE, coating_thickness=thin
    )
    assert fields[SHAPE]["value"] == ["胖大"]
    assert fields[SHAPE]["source"] == "text"
    assert fields[SHAPE]["unmentioned"] == [{"value": "齿痕", "probability": 0.7}]
    assert fields[QUALITY]["value"] == ["腻"]
    assert fields[QUALITY]["unmentioned"] == [{"value": "薄", "probability": 0.6}]
    assert conflicts == []


def test_what_the_text_denies_is_not_told_by_the_photo(nlp):
    spots = attribute(none=0.1, present=0.9)
    fields, _ = run(nlp, "舌红", "无齿痕", tooth_marks=SEVERE)
    assert SHAPE not in fields
    fields, _ = run(nlp, "舌胖", "无齿痕", tooth_marks=SEVERE)
    assert "unmentioned" not in fields[SHAPE]
    fields, _ = run(nlp, "无点刺", spots=spots)
    assert (fields[SHAPE]["value"], fields[SHAPE]["candidates"]) == (["瘀点"], ["瘀点", "瘀斑"])


def test_conflict(nlp):
    fields, conflicts = run(nlp, "舌淡", body_color=DARK)
    assert (fields[COLOUR]["value"], fields[COLOUR]["source"]) == (["淡白"], "text")
    assert conflicts == [
        {
            "field": COLOUR,
            "text": ["淡白"],
            "image": "红",
            "evidence": "舌淡",
            "start": 2,
            "end": 4,
            "probability": 0.95,
            "compatible": pytest.approx(0.01),
        }
    ]


def test_conflict_of_an_attribute_abstained_from(nlp):
    unsure = attribute(abstained=True, light=0.05, regular=0.5, dark=0.45)
    _, (conflict,) = run(nlp, "舌淡", body_color=unsure)
    assert (conflict["image"], conflict["compatible"]) == ("淡红", pytest.approx(0.05))
    assert run(nlp, "舌淡", body_color={**unsure, "unfamiliar": True})[1] == []


@pytest.mark.parametrize(
    ("entities", "attributes"),
    [
        (["舌淡红", "尖红"], {"body_color": DARK}),
        (["舌淡红"], {"body_color": attribute(light=0.0, regular=0.25, dark=0.75)}),
        # A yellow coating often looks light yellow; none at all is 少, 无 or 剥.
        (["苔黄"], {"coating_color": attribute(white=0.02, light_yellow=0.98, yellow=0.0)}),
        (["无苔"], {"coating_thickness": attribute(none=0.99, thin=0.01, thick=0.0)}),
        (["苔腻"], {"coating_thickness": attribute(none=0.0, thin=0.99, thick=0.01)}),
        (["边有齿痕"], {"tooth_marks": attribute(none=0.05, light=0.9, severe=0.05)}),
        (["边有齿痕"], {"tooth_marks": attribute(light=0.99, severe=0.01)}),
        (["边有齿痕"], {"fissure": NONE}),
    ],
)
def test_no_conflict(nlp, entities, attributes):
    assert run(nlp, *entities, **attributes)[1] == []


def test_conflict_with_a_clear_none(nlp):
    fields, (conflict,) = run(nlp, "舌胖大", "边有齿痕", tooth_marks=NONE, fissure=NONE)
    assert fields[SHAPE]["value"] == ["胖大", "齿痕"]
    assert conflict["text"] == ["齿痕"]
    assert conflict["image"] is None
    assert conflict["probability"] == 0.95
    assert conflict["compatible"] == pytest.approx(0.05)


def test_only_the_last_visit_is_compared(nlp):
    doc = nlp.make_doc("舌淡。二诊：舌红")
    doc.set_ents([doc.char_span(a, b, label="TONGUE") for a, b in ((0, 2), (6, 8))])
    doc._.tongue = photo(body_color=DARK)
    doc = nlp(doc)
    assert (doc._.fields[COLOUR]["source"], doc._.conflicts) == ("both", [])


@pytest.mark.parametrize(("below", "raised"), [(0, 0), (0.01, 0), (0.02, 1), (1, 1)])
def test_threshold(below, raised):
    nlp = spacy.blank("tcm")
    nlp.add_pipe("tcm_fields", config={"conflict_below": below})
    conflicts = run(nlp, "舌淡", body_color=DARK)[1]
    assert len(conflicts) == raised
    # What the photo most probably shows is never a conflict, however strict the setting.
    assert run(nlp, "舌红", body_color=DARK)[1] == []


def test_bad_threshold():
    nlp = spacy.blank("tcm")
    for below in (-0.1, 1.1):
        with pytest.raises(ModelError, match=r"E462.*tcm_fields: conflict_below .* from 0 to 1"):
            nlp.add_pipe("tcm_fields", config={"conflict_below": below})
    for below in (float("nan"), "0.1", None):
        with pytest.raises(ModelError, match="E462"):
            TCMFields(conflict_below=below)


CASES = [
    (["舌淡", "苔薄白"], photo(body_color=DARK, coating_color=WHITE)),
    (["舌胖", "边有齿痕"], photo(tooth_marks=SEVERE, fissure=SEVERE)),
    ([], photo(body_color=DARK)),
    ([], None),
    (["舌红"], photo("rejected")),
]


def found(docs):
    return [(doc._.fields, doc._.conflicts) for doc in docs]


@pytest.mark.parametrize("n_process", [1, 2])
def test_pipe_equals_one_by_one(nlp, n_process):
    one_by_one = found(nlp(make_doc(nlp, *case)) for case in CASES)
    assert any(conflicts for _, conflicts in one_by_one)
    docs = [make_doc(nlp, *case) for case in CASES]
    assert found(nlp.pipe(docs, n_process=n_process, batch_size=2)) == one_by_one


def test_results_are_stored_with_the_doc(nlp):
    doc = nlp(make_doc(nlp, *CASES[0]))
    assert found([Doc(nlp.vocab).from_bytes(doc.to_bytes())]) == found([doc])
    json.dumps([doc._.fields, doc._.conflicts], allow_nan=False)


@pytest.fixture
def own_grammar(tmp_path):
    data = json.loads(json.dumps(TongueGrammar.from_path().data))
    data["wordings"]["anywhere"][COLOUR]["绛"].append("猪肝色")
    path = tmp_path / "own.json"
    path.write_text(json.dumps(data, ensure_ascii=False), "utf8")
    return path


def test_a_grammar_of_ones_own_is_stored_in_the_pipeline(own_grammar, tmp_path):
    nlp = spacy.blank("tcm")
    nlp.add_pipe("tcm_fields", config={"conflict_below": 0.02})
    before = nlp.get_pipe("tcm_fields").to_bytes()
    nlp.config["initialize"]["components"]["tcm_fields"] = {"tongue": str(own_grammar)}
    nlp.initialize()
    nlp.to_disk(tmp_path / "saved")
    own_grammar.unlink()
    loaded = spacy.load(tmp_path / "saved")
    again = spacy.blank("tcm")
    again.add_pipe("tcm_fields", config={"conflict_below": 0.02}).from_bytes(
        nlp.get_pipe("tcm_fields").to_bytes()
    )
    pickled = pickle.loads(pickle.dumps(nlp.get_pipe("tcm_fields")))
    for other in (nlp, loaded, again):
        assert run(other, "舌如猪肝色")[0][COLOUR]["value"] == ["绛"]
        assert len(run(other, "舌淡", body_color=DARK)[1]) == 1
        assert other.get_pipe("tcm_fields").to_bytes() == pickled.to_bytes() != before
    assert (
        spacy.load(
            tmp_path / "saved", config={"components": {"tcm_fields": {"conflict_below": 0.0}}}
        )
        .get_pipe("tcm_fields")
        .conflict_below
        == 0
    )


def test_initialize_without_a_file_takes_our_grammar(own_grammar):
    pipe = TCMFields()
    ours = pipe.to_bytes()
    pipe.initialize(tongue=own_grammar)
    assert pipe.to_bytes() != ours
    pipe.initialize()
    assert pipe.to_bytes() == ours


def test_a_damaged_grammar_is_named(nlp, tmp_path):
    nlp.to_disk(tmp_path)
    (tmp_path / "tcm_fields" / "tongue.json").write_text("[]", "utf8")
    with pytest.raises(ModelError, match=r"E461.*tongue\.json: "):
        spacy.load(tmp_path)


def test_record(nlp):
    from spacy_tcm.record import make_record

    record = make_record(nlp(make_doc(nlp, ["舌淡"], photo(body_color=DARK))))
    assert record["fields"][COLOUR]["evidence"] == "舌淡"
    assert record["conflicts"][0]["image"] == "红"
    assert json.loads(json.dumps(record)) == record


def read(text, *entities, nlp=None):
    """The fields of a text, with entities given as (surface, label)."""
    nlp = nlp or spacy.blank("tcm")
    pipe = nlp.get_pipe("tcm_fields") if nlp.has_pipe("tcm_fields") else nlp.add_pipe("tcm_fields")
    doc, at, spans = nlp.make_doc(text), 0, []
    for surface, label in entities:
        start = text.index(surface, at)
        at = start + len(surface)
        spans.append(doc.char_span(start, at, label=label))
    doc.set_ents(spans)
    return pipe(doc)._.fields


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        ("便血3天，色鲜红，量多。", "肛肠科.刻下便血颜色", "鲜红"),
        ("便血3天，色鲜红，量多。", "肛肠科.便血量", "多"),
        ("便血，血色由鲜红转淡红。", "肛肠科.刻下便血颜色", "淡红"),
        ("痔病，便后肛内肿物脱出，可自行回纳。", "肛肠科.刻下便后肛内肿物是否脱出", True),
        ("便后无肛内肿物脱出。", "肛肠科.刻下便后肛内肿物是否脱出", False),
        ("腰痛，VAS 6分。", "骨科.患处VAS评分", 6),
        ("疼痛VAS 6/10。", "骨科.患处VAS评分", 6),
        ("腰痛，ＶＡＳ评分：６分。", "骨科.患处VAS评分", 6),
        ("腕周径：健侧145mm，患侧16.2cm。", "骨科.健侧腕关节周径", 14.5),
        ("腕周径：健侧145mm，患侧16.2cm。", "骨科.患侧腕关节周径", 16.2),
        ("咳嗽，痰黄白相间。", "呼吸内科.痰色", ["黄", "白"]),
        ("咳痰，由白转黄。", "呼吸内科.痰色", ["黄"]),
        ("恶寒，无发热、咳嗽。", "呼吸内科.有无发热", False),
        ("发热(-)，咳嗽。", "呼吸内科.有无发热", False),
        ("身热，汗出。", "呼吸内科.有无发热", True),
        ("腹泻，5~8次/日。", "消化内科.刻下腹泻频次", [5, 8]),
        ("腹泻，日三四次。", "消化内科.刻下腹泻频次", [3, 4]),
        ("腹泻，每日十余次。", "消化内科.刻下腹泻频次", [10, None]),
        ("腹泻，每日<4次。", "消化内科.刻下腹泻频次", [None, 4]),
        ("腹泻，无黏液脓血便。", "消化内科.刻下有无黏液脓血便", "无"),
        ("T36.4℃，BP 120/80mmHg。", "一般.体温", 36.4),
        ("T36.4℃，BP 120/80mmHg。", "一般.舒张压", 80),
        ("主诉：腹痛3月余。", "一般.病程", 3),
    ],
)
def test_values_of_words_alone(text, field, value):
    """Where no entity was found, the words are still read."""
    assert read(text)[field]["value"] == value


@pytest.mark.parametrize("field", ["消化内科.刻下有无黏液脓血便", "呼吸内科.有无发热"])
def test_not_mentioned_is_never_no(field):
    assert field not in read("腹泻3天，口干。")


def test_how_vague_a_value_is_is_said():
    ids = ("消化内科.刻下腹泻频次", "舌象.舌色", "呼吸内科.痰色")
    few = read("腹泻，每日<4次。")[ids[0]]
    assert (few["exclusive"], few["bins"], few["unit"]) == (True, ["<4次"], "次/日")
    assert read("腹泻，5~8次/日。")[ids[0]]["bins"] == ["4~6次", ">6次"]
    assert ids[0] not in read("腹泻，每日数次。")
    tongue = read("舌淡红偏暗", ("舌淡红偏暗", "TONGUE"))[ids[1]]
    assert (tongue["value"], tongue["candidates"]) == (["淡红"], ["淡红", "暗红"])
    assert (tongue["fuzzy"], tongue["modifier"], tongue["confidence"]) == (True, "偏暗", 0.8)
    assert read("痰黄白相间。")[ids[2]]["mixed"] is True


def test_past_history_and_prescriptions_give_no_value():
    fields = read("主诉：头痛2天。\n既往史：曾发热，血压最高180/110mmHg。\n查体：BP 130/80mmHg。")
    assert fields["一般.收缩压"]["value"] == 130
    assert "呼吸内科.有无发热" not in fields


OWN = """
fields:
  - id: 心内科.夜间憋醒
    type: bool
    targets: [夜间憋醒]
  - id: 心内科.心悸性质
    type: enum
    values: [阵发, 持续]
    targets: [心悸]
    wordings: {阵发: [阵发, 时作], 持续: [持续]}
  - id: 心内科.心率
    type: int
    unit: 次/分
    targets: [心率, HR]
    lo: 20
    hi: 300
  - id: 骨科.患处VAS评分
    targets: [痛分]
"""


def test_fields_of_ones_own(tmp_path):
    (tmp_path / "own.yaml").write_text(OWN, "utf8")
    nlp = spacy.blank("tcm")
    nlp.add_pipe("tcm_fields").initialize(fields=tmp_path / "own.yaml")
    text = "心悸时作，夜间憋醒，痛分5分，心率98次/分。"
    values = {field: x["value"] for field, x in read(text, nlp=nlp).items()}
    assert values == {
        "心内科.夜间憋醒": True,
        "心内科.心悸性质": "阵发",
        "心内科.心率": 98,
        "骨科.患处VAS评分": 5,
    }
    again = spacy.blank("tcm")
    again.add_pipe("tcm_fields").from_bytes(nlp.get_pipe("tcm_fields").to_bytes())
    assert read(text, nlp=again) == read(text, nlp=nlp)
    nlp.to_disk(tmp_path / "saved")
    assert read(text, nlp=spacy.load(tmp_path / "saved")) == read(text, nlp=nlp)


@pytest.mark.parametrize(
    ("field", "cause"),
    [
        ("{type: bool}", "E610.*no 'id'"),
        ("{id: x, type: colour}", "E611.*'x'.*type must be one of"),
        ("{id: x, type: enum, targets: [a]}", "E611.*'values' is missing"),
        ("{id: x, type: bool}", "E611.*needs 'targets'"),
        ("{id: x, type: bool, patterns: ['(']}", "E611.*no regular expression"),
        ("{id: x, type: bool, targets: [a], colour: 1}", "E611.*unknown keys colour"),
    ],
)
def test_a_field_that_cannot_be_used_is_named(tmp_path, field, cause):
    path = tmp_path / "own.yaml"
    path.write_text(f"fields: [{field}]", "utf8")
    with pytest.raises(ModelError, match=cause):
        TCMFields().initialize(fields=path)


def test_definitions_are_those_of_the_assets():
    from pathlib import Path

    from spacy_tcm.fields.definitions import own_definitions, schema

    assets = json.loads((Path(__file__).parents[2] / "assets/fields.json").read_text("utf8"))
    keys = ("id", "type", "values")
    ours = schema(own_definitions()["fields"])
    assert [[x.get(k) for k in keys] for x in ours] == [
        [x.get(k) for k in keys] for x in assets["fields"]
    ]
