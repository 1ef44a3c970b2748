import json

import pytest
import spacy
from spacy.tokens import Doc

import spacy_tcm.pipeline.tcm_sections  # noqa: F401  (registers its factory)
from spacy_tcm.context.rules import DEFAULT_CONTEXT
from spacy_tcm.pipeline.tcm_context import TCMContext

TEXT = "主诉：咳嗽3天，无发热。\n既往史：否认高血压。\n家族史：父亲糖尿病。诊断：肺炎？"
PATTERNS = [("SYMPTOM", "咳嗽"), ("SYMPTOM", "发热"), ("WM_DISEASE", "高血压")]
PATTERNS += [("WM_DISEASE", "糖尿病"), ("WM_DISEASE", "肺炎")]
EXPECTED = [
    ("present", "certain", "current", "patient"),
    ("absent", "certain", "current", "patient"),
    ("absent", "certain", "past", "patient"),
    ("present", "certain", "current", "family"),
    ("possible", "possible", "current", "patient"),
]


def make_nlp(*names):
    nlp = spacy.blank("tcm")
    ruler = nlp.add_pipe("entity_ruler")
    ruler.add_patterns([{"label": label, "pattern": text} for label, text in PATTERNS])
    for name in names:
        nlp.add_pipe(name)
    return nlp


def qualifiers(doc):
    names = ("negation", "certainty", "temporality", "experiencer")
    return [tuple(ent._.get(name) for name in names) for ent in doc.ents]


@pytest.mark.parametrize("names", [["tcm_context"], ["tcm_sections", "tcm_context"]])
def test_with_and_without_sections(names):
    assert qualifiers(make_nlp(*names)(TEXT)) == EXPECTED


def test_it_did_not_run():
    assert set(qualifiers(make_nlp()(TEXT))) == {(None,) * 4}


def test_empty_and_no_entities():
    nlp = make_nlp("tcm_context")
    for text in ("", " \n", "无殊。"):
        assert qualifiers(nlp(text)) == []


def test_it_survives_bytes():
    nlp = make_nlp("tcm_context")
    again = Doc(nlp.vocab).from_bytes(nlp(TEXT).to_bytes())
    assert qualifiers(again) == EXPECTED


def test_one_by_one_equals_pipe_equals_two_processes():
    nlp, texts = make_nlp("tcm_sections", "tcm_context"), [TEXT, "", "无发热、咳嗽。"]
    alone = [qualifiers(nlp(text)) for text in texts]
    assert [qualifiers(doc) for doc in nlp.pipe(texts, batch_size=2)] == alone
    assert [qualifiers(doc) for doc in nlp.pipe(texts, n_process=2)] == alone


def test_own_cues_are_stored(tmp_path):
    data = json.loads(DEFAULT_CONTEXT.read_text(encoding="utf8"))
    data["negation"]["before"].append("冇")
    path = tmp_path / "own.json"
    path.write_text(json.dumps(data), encoding="utf8")
    nlp = make_nlp("tcm_context")
    nlp.get_pipe("tcm_context").initialize(context=path)
    nlp.to_disk(tmp_path / "nlp")
    assert qualifiers(spacy.load(tmp_path / "nlp")("冇发热"))[0][0] == "absent"
    copy = TCMContext().from_bytes(nlp.get_pipe("tcm_context").to_bytes())
    doc = make_nlp()("冇发热")
    assert qualifiers(copy(doc))[0][0] == "absent"
