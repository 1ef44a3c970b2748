import json

import pytest
import spacy
from spacy.tokens import Doc, Span

from spacy_tcm.errors import ModelError
from spacy_tcm.pipeline.tcm_relations import TCMRelations, _read_visits
from spacy_tcm.pipeline.tcm_sections import TCMSections

CASES = [
    ("便血3天，无腹痛", [("便血", "SYMPTOM"), ("3天", "TIME"), ("腹痛", "SYMPTOM")]),
    ("四君子汤：党参10g", [("四君子汤", "FORMULA"), ("党参", "HERB"), ("10g", "DOSAGE")]),
    ("", []),
]


@pytest.fixture
def nlp():
    nlp = spacy.blank("tcm")
    nlp.add_pipe("tcm_relations")
    return nlp


@pytest.fixture
def attributes():
    """What other components register."""
    added = []
    for owner, name in [
        *((Span, name) for name in ("negation", "temporality", "experiencer")),
        *((Doc, name) for name in ("sections", "prescriptions")),
    ]:
        if not owner.has_extension(name):
            owner.set_extension(name, default=None)
            added.append((owner, name))
    yield
    for owner, name in added:
        owner.remove_extension(name)


def make_doc(nlp, text, entities):
    doc = nlp.make_doc(text)
    doc.set_ents(
        [
            doc.char_span(text.index(word), text.index(word) + len(word), label=label)
            for word, label in entities
        ]
    )
    return doc


def test_relations(nlp):
    doc = nlp(make_doc(nlp, *CASES[0]))
    assert doc._.relations == [
        {"type": "HAS_SYMPTOM", "head": "visit", "tail": 0, "score": 0.6, "rule": "visit"},
        {"type": "HAS_SYMPTOM", "head": "visit", "tail": 2, "score": 0.6, "rule": "visit"},
        {"type": "HAS_DURATION", "head": 0, "tail": 1, "score": 1.0, "rule": "adjacent"},
    ]
    assert nlp("")._.relations == []


@pytest.mark.parametrize(
    ("name", "value", "plain"),
    [
        ("negation", "absent", False),
        ("temporality", "past", False),
        ("temporality", "future", False),
        ("experiencer", "family", False),
        ("negation", "possible", True),
        ("negation", "present", True),
        ("temporality", "current", True),
    ],
)
def test_what_does_not_hold_is_left_out_or_marked(nlp, attributes, name, value, plain):
    doc = make_doc(nlp, *CASES[0])
    doc.ents[2]._.set(name, value)
    tails = [r["tail"] for r in nlp(doc)._.relations]
    assert (2 in tails) == plain
    keeping = spacy.blank("tcm")
    keeping.add_pipe("tcm_relations", config={"polarity": "keep"})
    found = {r["tail"]: r.get("polarity") for r in keeping(doc)._.relations}
    assert found[2] == (None if plain else {"tail": {name: value}})
    assert found[0] is None


def test_properties_of_the_prescription(nlp, attributes):
    doc = make_doc(nlp, *CASES[1])
    herb = {"name": "党参", "text": "党参", "start": 5, "end": 7, "dose": 10, "unit": "g"}
    doc._.prescriptions = [{"formula": None, "herbs": [herb]}]
    (contains,) = [r for r in nlp(doc)._.relations if r["type"] == "CONTAINS"]
    assert contains["properties"] == {"dose": 10, "unit": "g", "processing": None, "footnote": None}


def test_sections_tell_later_visits(nlp, attributes):
    text = "湿热证。复查：便血"
    doc = make_doc(nlp, text, [("湿热证", "SYNDROME"), ("便血", "SYMPTOM")])
    doc.set_ents([*doc.ents])
    assert "MANIFESTS_AS" in [r["type"] for r in nlp(doc)._.relations]
    both = make_doc(
        nlp,
        text + "。气虚证",
        [("湿热证", "SYNDROME"), ("便血", "SYMPTOM"), ("气虚证", "SYNDROME")],
    )
    both._.sections = TCMSections()(both)._.sections
    heads = [r["head"] for r in nlp(both)._.relations if r["type"] == "MANIFESTS_AS"]
    assert heads == [2]


def test_a_second_note_is_another_visit(nlp):
    nlp.add_pipe("tcm_sections", first=True)
    text = "主诉：便血\n中医诊断：湿热证\n主诉：乏力\n"
    doc = nlp(make_doc(nlp, text, [("便血", "SYMPTOM"), ("湿热证", "SYNDROME")]))
    assert [s["id"] for s in doc._.sections].count("chief_complaint") == 2
    assert _read_visits(doc) == [text.rindex("主诉")]


def test_with_the_prescriptions_before_it(nlp):
    nlp.add_pipe("tcm_prescriptions", first=True)
    (text, entities) = "四君子汤：党参10g，白术9g，7剂。苦参30g煎水外洗", [("四君子汤", "FORMULA")]
    entities += [(herb, "HERB") for herb in ("党参", "白术", "苦参")]
    doc = nlp(make_doc(nlp, text, entities))
    assert len(doc._.prescriptions) == 2
    contains = [r for r in doc._.relations if r["type"] == "CONTAINS"]
    assert [(doc.ents[r["tail"]].text, r["properties"]["dose"]) for r in contains] == [
        ("党参", 10),
        ("白术", 9),
    ]


@pytest.mark.parametrize("n_process", [1, 2])
def test_pipe_equals_one_by_one(nlp, n_process):
    expected = [nlp(make_doc(nlp, *case))._.relations for case in CASES]
    docs = [make_doc(nlp, *case) for case in CASES]
    found = list(nlp.pipe(docs, n_process=n_process, batch_size=2))
    assert [doc._.relations for doc in found] == expected
    again = Doc(nlp.vocab).from_bytes(found[0].to_bytes())
    assert again._.relations == expected[0]
    json.dumps(expected, allow_nan=False)


def test_rules_of_ones_own_are_stored_in_the_pipeline(nlp, tmp_path):
    data = json.loads(json.dumps(nlp.get_pipe("tcm_relations").rules.data))
    data["scores"]["visit"] = 0.25
    own = tmp_path / "own.json"
    own.write_text(json.dumps(data), "utf8")
    nlp.config["initialize"]["components"]["tcm_relations"] = {"rules": str(own)}
    nlp.initialize()
    nlp.to_disk(tmp_path / "saved")
    own.unlink()
    again = spacy.blank("tcm")
    again.add_pipe("tcm_relations").from_bytes(nlp.get_pipe("tcm_relations").to_bytes())
    for other in (nlp, again, spacy.load(tmp_path / "saved")):
        assert other(make_doc(other, *CASES[0]))._.relations[0]["score"] == 0.25
    nlp.get_pipe("tcm_relations").initialize()
    assert nlp(make_doc(nlp, *CASES[0]))._.relations[0]["score"] == 0.6


def test_bad_settings(nlp, tmp_path):
    with pytest.raises(ModelError, match=r"E641.*'drop'"):
        TCMRelations(polarity="drop")
    nlp.to_disk(tmp_path)
    (tmp_path / "tcm_relations" / "relations.json").write_text("[]", "utf8")
    with pytest.raises(ModelError, match=r"E640.*relations\.json"):
        spacy.load(tmp_path)
