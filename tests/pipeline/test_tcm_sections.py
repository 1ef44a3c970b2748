import json

import spacy

from spacy_tcm.pipeline.tcm_sections import TCMSections
from spacy_tcm.sections import DEFAULT_SECTIONS

TEXT = "主诉：咳嗽3天。\n既往史：高血压。"


def make_nlp():
    nlp = spacy.blank("tcm")
    nlp.add_pipe("tcm_sections")
    return nlp


def test_sections_and_spans():
    doc = make_nlp()(TEXT)
    assert [(s["id"], s["kind"]) for s in doc._.sections] == [
        ("chief_complaint", "header"),
        ("past_history", "header"),
    ]
    assert doc.char_span(3, 5)._.section == "chief_complaint"
    assert doc.char_span(13, 16)._.section == "past_history"


def test_nothing_ran_or_nothing_there():
    doc = spacy.blank("tcm")(TEXT)
    assert (doc._.sections, doc[0:1]._.section) == ([], None)
    assert make_nlp()("")._.sections == []
    assert make_nlp()(" \n")._.sections == []


def test_one_by_one_equals_pipe_equals_two_processes():
    nlp, texts = make_nlp(), [TEXT, "", "舌红。咳嗽。", TEXT * 3]
    alone = [nlp(text)._.sections for text in texts]
    assert [doc._.sections for doc in nlp.pipe(texts, batch_size=2)] == alone
    assert [doc._.sections for doc in nlp.pipe(texts, n_process=2)] == alone


def test_own_sections_are_stored(tmp_path):
    data = json.loads(DEFAULT_SECTIONS.read_text(encoding="utf8"))
    data["headers"]["advice"].append("出院带药")
    path = tmp_path / "own.json"
    path.write_text(json.dumps(data), encoding="utf8")
    nlp = make_nlp()
    nlp.get_pipe("tcm_sections").initialize(sections=path)
    nlp.to_disk(tmp_path / "nlp")
    for again in (
        spacy.load(tmp_path / "nlp").get_pipe("tcm_sections"),
        TCMSections().from_bytes(nlp.get_pipe("tcm_sections").to_bytes()),
    ):
        doc = again(nlp.make_doc("出院带药：麻仁丸。"))
        assert [s["id"] for s in doc._.sections] == ["advice"]
