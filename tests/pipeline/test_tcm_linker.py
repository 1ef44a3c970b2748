import json

import pytest
import spacy
from spacy.tokens import Doc

from spacy_tcm.errors import ModelError
from spacy_tcm.pipeline.tcm_linker import TCMLinker

PATTERNS = [
    {"label": "HERB", "pattern": "北芪"},
    {"label": "HERB", "pattern": "生龙牡"},
    {"label": "ACUPOINT", "pattern": "足三里"},
    {"label": "TIME", "pattern": "3天"},
]
TEXTS = ["北芪、生龙牡，针足三里3天", "足三里", "", "无", " \n"]


@pytest.fixture
def nlp():
    nlp = spacy.blank("tcm")
    nlp.add_pipe("entity_ruler").add_patterns(PATTERNS)
    nlp.add_pipe("tcm_linker")
    return nlp


def found(doc):
    return [(ent.text, ent.kb_id_, ent._.codes) for ent in doc.ents]


def test_codes_and_ids(nlp):
    doc = nlp(TEXTS[0])
    assert [ent.kb_id_ for ent in doc.ents] == [
        "spacy_tcm:HERB-64b55a5c5b",
        "",
        "WHO-acupoint:ST36",
        "",
    ]
    assert [len(ent._.codes) for ent in doc.ents] == [1, 2, 2, 0]
    json.dumps(found(doc), allow_nan=False)


def test_not_run():
    doc = spacy.blank("tcm")("足三里")
    assert doc[:]._.codes == []


@pytest.mark.parametrize("n_process", [1, 2])
def test_pipe_equals_one_by_one(nlp, n_process):
    one_by_one = [found(nlp(text)) for text in TEXTS]
    assert [found(d) for d in nlp.pipe(TEXTS, n_process=n_process, batch_size=2)] == one_by_one


def test_results_are_stored_with_the_doc(nlp):
    doc = nlp(TEXTS[0])
    assert found(Doc(nlp.vocab).from_bytes(doc.to_bytes())) == found(doc)


def test_tables_of_ones_own_are_stored_in_the_pipeline(nlp, tmp_path):
    table = tmp_path / "own.tsv"
    table.write_text("system\tcode\tterm\taliases\tlabel\nours\tH1\t黄芪\t\tHERB\n", "utf8")
    nlp.config["initialize"]["components"]["tcm_linker"] = {"tables": [str(table)]}
    before = nlp.get_pipe("tcm_linker").to_bytes()
    nlp.initialize()
    nlp.get_pipe("entity_ruler").add_patterns(PATTERNS)  # which initialize clears
    nlp.to_disk(tmp_path / "saved")
    table.unlink()
    again = TCMLinker().from_bytes(nlp.get_pipe("tcm_linker").to_bytes())
    assert again.to_bytes() == nlp.get_pipe("tcm_linker").to_bytes() != before
    for other in (nlp, spacy.load(tmp_path / "saved")):
        assert other("北芪").ents[0].kb_id_ == "ours:H1"
    again.add_codes([{"system": "more", "code": "2", "term": "足三里", "label": "ACUPOINT"}])
    assert again.tables.link("ACUPOINT", "足三里")[0]["system"] == "more"
    assert again.tables.link("HERB", "北芪")[0]["system"] == "ours"


@pytest.mark.parametrize("value", [-1, 102, "85", None, True])
def test_bad_threshold(value):
    with pytest.raises(ModelError, match="E632"):
        TCMLinker(fuzzy_above=value)
