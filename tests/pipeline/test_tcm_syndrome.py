import json

import numpy
import pytest
import spacy
from spacy.tokens import Span
from spacy.training import Example
from thinc.api import Adam

from spacy_tcm.errors import ModelError
from spacy_tcm.models.syndrome import read_findings
from spacy_tcm.models.syndrome_elements import DEFAULT_ELEMENTS, SyndromeElements
from spacy_tcm.pipeline.tcm_syndrome import TCMSyndrome

RECORDS = (
    ("畏寒肢冷，腰膝酸软，便溏", ["脾肾阳虚证"]),
    ("口苦口黏，小便黄，带下黄", ["湿热下注证"]),
    ("神疲乏力，气短自汗，纳差", ["脾气虚弱证"]),
    ("刺痛固定，夜间痛甚，血块", ["气滞血瘀证"]),
)


def make_doc(nlp, text, names=None, label="SYMPTOM"):
    doc = nlp.make_doc(text)
    ends = [i for i, char in enumerate(text) if char == "，"]
    pieces = zip([0, *(e + 1 for e in ends)], [*ends, len(text)], strict=True)
    doc.set_ents([doc.char_span(a, b, label, alignment_mode="expand") for a, b in pieces])
    doc._.syndrome_labels = names
    return doc


@pytest.fixture(scope="module")
def nlp():
    nlp = spacy.blank("tcm")
    pipe = nlp.add_pipe("tcm_syndrome")
    examples = [Example(nlp.make_doc(text), make_doc(nlp, text, names)) for text, names in RECORDS]
    pipe.initialize(lambda: examples, nlp=nlp)
    sgd = Adam(0.1)
    losses = [pipe.update(examples, sgd=sgd)["tcm_syndrome"] for _ in range(20)]
    assert losses[-1] < losses[0] / 2
    return nlp


def test_learns_the_patterns(nlp):
    for text, names in RECORDS:
        doc = nlp(make_doc(nlp, text))
        found = doc._.syndrome
        pipe = nlp.get_pipe("tcm_syndrome")
        assert found["patterns"][0]["name"] == pipe.elements.normalise(names[0])
        assert not found["abstained"]
        chances = [p["probability"] for p in found["patterns"]]
        assert len(chances) == 5
        assert chances == sorted(chances, reverse=True)
        assert sum(chances) <= 1 + 1e-6
        assert doc.cats == {p["name"]: p["probability"] for p in found["patterns"]}
        assert len({tuple(p["elements"]) for p in found["patterns"]}) == 5
        assert doc._.provenance["syndrome"]["component"] == "tcm_syndrome"


def test_tells_nothing_without_findings(nlp):
    for text in ("", "复诊。"):
        doc = nlp(text)
        assert doc._.syndrome == {"patterns": [], "abstained": True}
        assert doc.cats == {}


def test_abstains_below_the_threshold(nlp):
    other = spacy.blank("tcm")
    other.add_pipe("tcm_syndrome")
    other.from_bytes(nlp.to_bytes())
    pipe = other.get_pipe("tcm_syndrome")
    pipe.cfg["threshold"] = 1.1
    doc = other(make_doc(other, RECORDS[0][0]))
    assert doc._.syndrome["abstained"]
    assert doc._.syndrome["patterns"]


@pytest.mark.parametrize("label", ["SYNDROME", "PATHOGENESIS", "PRINCIPLE", "FORMULA", "HERB"])
def test_what_names_the_answer_is_no_feature(nlp, label):
    doc = make_doc(nlp, RECORDS[0][0], label=label)
    assert read_findings(doc, SyndromeElements.from_path()) == {}


@pytest.mark.parametrize(
    ("attribute", "value"),
    [("negation", "absent"), ("temporality", "past"), ("experiencer", "family")],
)
def test_only_what_the_patient_has_now(nlp, attribute, value):
    doc = make_doc(nlp, "乏力")
    assert read_findings(doc, SyndromeElements.from_path())
    doc.ents[0]._.set(attribute, value)
    assert read_findings(doc, SyndromeElements.from_path()) == {}


def test_fields_and_photo_are_features(nlp):
    doc = nlp.make_doc("舌")
    doc._.fields = {"舌象.苔色": {"value": ["黄"]}, "一般.体温": {"value": 38.2}}
    doc._.tongue = {
        "status": "ok",
        "attributes": {"body_color": {"probabilities": {"dark": 0.75, "light": 0.25}}},
    }
    elements = SyndromeElements.from_path()
    found = read_findings(doc, elements)
    assert found == {
        "舌象.苔色=黄": 1,
        "photo:body_color=dark": 0.75,
        "photo:body_color=light": 0.25,
    }
    assert read_findings(doc, elements, photo=False) == {"舌象.苔色=黄": 1}


def test_round_trips(nlp, tmp_path):
    expected = nlp(make_doc(nlp, RECORDS[1][0]))._.syndrome
    other = spacy.blank("tcm")
    other.add_pipe("tcm_syndrome")
    other.from_bytes(nlp.to_bytes())
    nlp.to_disk(tmp_path)
    for loaded in (other, spacy.load(tmp_path)):
        assert loaded(make_doc(loaded, RECORDS[1][0]))._.syndrome == expected


def test_call_and_pipe_agree(nlp):
    docs = [make_doc(nlp, text) for text, _ in RECORDS]
    expected = [nlp(make_doc(nlp, text))._.syndrome for text, _ in RECORDS]
    for settings in ({"batch_size": 3}, {"n_process": 2}):
        found = [doc._.syndrome for doc in nlp.pipe([d.copy() for d in docs], **settings)]
        for a, b in zip(found, expected, strict=True):
            assert [p["name"] for p in a["patterns"]] == [p["name"] for p in b["patterns"]]
            chances = [[p["probability"] for p in x["patterns"]] for x in (a, b)]
            numpy.testing.assert_allclose(*chances, rtol=1e-4)


def test_scores(nlp):
    examples = [Example(make_doc(nlp, text), make_doc(nlp, text, names)) for text, names in RECORDS]
    assert nlp.evaluate(examples)["syndrome_top1"] == 1
    examples[0].reference._.syndrome_labels = ["亡阳证"]
    assert nlp.evaluate(examples)["syndrome_top1"] == 0.75


def test_gradient(nlp):
    """Against the loss a small step away."""
    pipe = nlp.get_pipe("tcm_syndrome")
    examples = [Example(nlp.make_doc(t), make_doc(nlp, t, names)) for t, names in RECORDS]
    logits = numpy.random.default_rng(0).normal(size=(4, len(pipe.elements.ids)))
    _, gradient = pipe.get_loss(examples, logits)
    step = numpy.zeros_like(logits)
    step[1, 3] = 1e-4
    more, less = (pipe.get_loss(examples, logits + s)[0] for s in (step, -step))
    assert gradient[1, 3] == pytest.approx((more - less) / 2e-4, rel=1e-3)


def test_syndrome_entities_are_weak_labels(nlp):
    pipe = nlp.get_pipe("tcm_syndrome")
    doc = make_doc(nlp, "乏力，气短，纳差，脾气虚")
    doc.ents = [*doc.ents[:-1], Span(doc, doc.ents[-1].start, doc.ents[-1].end, "SYNDROME")]
    assert pipe._told(doc) == (["脾气虚"], 0.2)
    doc._.syndrome_labels = ["湿热下注证"]
    assert pipe._told(doc) == (["湿热下注证"], 1.0)


def test_calibration_takes_the_confidence_down(nlp):
    """Of sure scores half of which are wrong."""
    model = nlp.get_pipe("tcm_syndrome").model
    pipe = TCMSyndrome(nlp.vocab, model)
    rows = [numpy.array([value, 0.0]) for value in (5.0, 6.0, 7.0, 8.0)]
    pipe.calibrate(rows, [False, True, False, True], told=0.5)
    assert pipe.cfg["temperature"] > 5
    assert (
        sum(
            1 / (1 + numpy.exp(-r[0] / pipe.cfg["temperature"])) >= pipe.cfg["threshold"]
            for r in rows
        )
        == 2
    )


def test_refuses_what_it_cannot_use(nlp, tmp_path):
    blank = spacy.blank("tcm")
    pipe = blank.add_pipe("tcm_syndrome", config={"trained": False})
    with pytest.raises(ModelError, match="E653"):
        blank("乏力")
    with pytest.raises(ModelError, match="E652"):
        pipe.add_label("气虚证")
    example = Example(blank.make_doc("乏力"), blank.make_doc("乏力"))
    with pytest.raises(ModelError, match="E651"):
        pipe.initialize(lambda: [example], nlp=blank)
    data = json.loads(DEFAULT_ELEMENTS.read_text("utf8"))
    data["terms"]["气虚"] = ["没有"]
    path = tmp_path / "own.json"
    path.write_text(json.dumps(data), "utf8")
    with pytest.raises(ModelError, match="E650"):
        pipe.initialize(lambda: [example], nlp=blank, elements=path)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("脾肾阳虚证", {"脾", "肾", "阳虚"}),
        ("气血两虚", {"气虚", "血虚"}),
        ("肝肾亏虚、痰瘀互阻证", {"肝", "肾", "虚", "痰", "血瘀"}),
        ("濕熱下注證", {"湿", "热", "大肠", "膀胱"}),
        ("", set()),
    ],
)
def test_parses_names(name, found):
    assert set(SyndromeElements.from_path().parse(name)) == found


def test_normalises_names():
    elements = SyndromeElements.from_path()
    assert elements.normalise("脾气虚弱证") == elements.normalise("脾气亏虚")
    assert elements.normalise("湿热证") != elements.normalise("寒湿证")
    assert len(elements.split("气血虚弱兼血瘀证")) == 2


def test_works_at_once_as_trained_on_the_records_of_the_project():
    nlp = spacy.blank("tcm")
    pipe = nlp.add_pipe("tcm_syndrome")
    assert len(pipe.labels) > 200
    doc = nlp(make_doc(nlp, "畏寒肢冷，腰膝酸软，五更泄泻，小便清长"))
    elements = [part for p in doc._.syndrome["patterns"] for part in p["elements"]]
    assert any("阳虚" in element for element in elements)
