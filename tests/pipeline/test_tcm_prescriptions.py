import json

import pytest
import spacy
from spacy.tokens import Doc

from spacy_tcm.errors import ModelError
from spacy_tcm.pipeline.tcm_prescriptions import TCMPrescriptions

PATTERNS = [
    {"label": label, "pattern": word}
    for label, words in {
        "HERB": "细辛 炙甘草 海藻 桃仁 黄芪 鳖血柴胡",
        "FORMULA": "四君子汤",
        "DOSAGE": "6g 10g 7剂 水煎服",
        "DRUG": "阿莫西林",
    }.items()
    for word in words.split()
]
TEXTS = [
    "患者妊娠8周。四君子汤：细辛6g，炙甘草10g，海藻10g，桃仁10g，7剂，水煎服。阿莫西林 0.5g",
    "黄芪10g",
    "",
    "无方",
    "  \n",
]


def make_nlp(**config):
    nlp = spacy.blank("tcm")
    nlp.add_pipe("entity_ruler").add_patterns(PATTERNS)
    nlp.add_pipe("tcm_prescriptions", config=config)
    return nlp


@pytest.fixture
def nlp():
    return make_nlp()


def test_prescription_with_warnings(nlp):
    doc = nlp(TEXTS[0])
    (found,) = doc._.prescriptions
    assert [h["name"] for h in found["herbs"]] == ["细辛", "甘草", "海藻", "桃仁"]
    assert (found["count"], found["route"]) == (7, "oral")
    assert {(w["kind"], w["severity"]) for w in found["warnings"]} == {
        ("incompatible", "high"),
        ("dose", "high"),
        ("pregnancy", "moderate"),
    }
    assert [d["text"] for d in doc._.drugs] == ["阿莫西林"]
    json.dumps([doc._.prescriptions, doc._.drugs], allow_nan=False)


def test_without_cautions():
    assert make_nlp(cautions=False)(TEXTS[0])._.prescriptions[0]["warnings"] == []


def test_not_run():
    doc = spacy.blank("tcm")("黄芪10g")
    assert (doc._.prescriptions, doc._.drugs) == ([], [])


@pytest.mark.parametrize("n_process", [1, 2])
def test_pipe_equals_one_by_one(nlp, n_process):
    one_by_one = [(nlp(text)._.prescriptions, nlp(text)._.drugs) for text in TEXTS]
    docs = nlp.pipe(TEXTS, n_process=n_process, batch_size=2)
    assert [(doc._.prescriptions, doc._.drugs) for doc in docs] == one_by_one
    assert one_by_one[1][0][0]["herbs"][0]["dose"] == 10


def test_results_are_stored_with_the_doc(nlp):
    doc = nlp(TEXTS[0])
    again = Doc(nlp.vocab).from_bytes(doc.to_bytes())
    assert (again._.prescriptions, again._.drugs) == (doc._.prescriptions, doc._.drugs)


def test_files_of_ones_own_are_stored_in_the_pipeline(nlp, tmp_path):
    pipe = nlp.get_pipe("tcm_prescriptions")
    words = json.loads(json.dumps(pipe.grammar.data))
    words["herbs"]["aliases"]["鳖血柴胡"] = "柴胡"
    cautions = json.loads(json.dumps(pipe.cautions.data))
    cautions["dose"]["ranges"] = [{"herb": "柴胡", "low": 1, "high": 2, "source": "ours"}]
    for name, data in (("words", words), ("cautions", cautions)):
        (tmp_path / f"{name}.json").write_text(json.dumps(data), "utf8")
    nlp.config["initialize"]["components"]["tcm_prescriptions"] = {
        "words": str(tmp_path / "words.json"),
        "cautions": str(tmp_path / "cautions.json"),
    }
    before = pipe.to_bytes()
    nlp.initialize()
    nlp.get_pipe("entity_ruler").add_patterns(PATTERNS)  # which initialize clears
    nlp.to_disk(tmp_path / "saved")
    loaded = spacy.load(tmp_path / "saved")
    again = TCMPrescriptions().from_bytes(pipe.to_bytes())
    assert pipe.to_bytes() == again.to_bytes() != before
    for other in (nlp, loaded):
        (found,) = other("鳖血柴胡6g")._.prescriptions
        assert found["herbs"][0]["name"] == "柴胡"
        assert [w["source"] for w in found["warnings"]] == ["ours"]


def test_damaged_files_are_named(nlp, tmp_path):
    nlp.to_disk(tmp_path)
    (tmp_path / "tcm_prescriptions" / "cautions.json").write_text("[]", "utf8")
    with pytest.raises(ModelError, match=r"E621.*cautions\.json: "):
        spacy.load(tmp_path)
