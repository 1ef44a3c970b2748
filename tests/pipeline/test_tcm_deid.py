import json
import pickle

import numpy
import pytest
import spacy
from spacy.language import Language
from spacy.tokens import Doc

from spacy_tcm.errors import ModelError
from spacy_tcm.pipeline.tcm_deid import TCMDeid, get_offset_map

TEXT = "患者张伟，男，2024年3月5日因便血3天来诊。住院号：ZY0012。舌红。"
SECRETS = ("张伟", "ZY0012", "2024年3月5日")
SEEN: list[str] = []


@Language.component("deid_test_spy")
def spy(doc):
    SEEN.append(doc.text)
    return doc


def make(**config):
    nlp = spacy.blank("tcm")
    nlp.add_pipe("tcm_deid", config=config)
    nlp.add_pipe("deid_test_spy")
    patterns = [{"label": "SYMPTOM", "pattern": [{"TEXT": "便"}, {"TEXT": "血"}]}]
    nlp.add_pipe("entity_ruler").add_patterns(patterns)
    return nlp


@pytest.fixture
def key(tmp_path):
    path = tmp_path / "key"
    path.write_text("0123456789abcdef", "utf8")
    return str(path)


def test_finding_alone_changes_nothing():
    doc = make()(TEXT)
    assert doc.text == TEXT
    assert doc._.deid == {
        "action": "placeholder",
        "replaced": False,
        "counts": {"DATE": 1, "NAME": 1, "RECORD_NO": 1},
        "items": [
            {"kind": "NAME", "start": 2, "end": 4},
            {"kind": "DATE", "start": 7, "end": 16},
            {"kind": "RECORD_NO", "start": 28, "end": 34},
        ],
    }
    assert get_offset_map(doc).to_old(17, 19) == (17, 19)
    assert not any(secret in json.dumps(doc._.deid) for secret in SECRETS)


@pytest.mark.parametrize("action", ["placeholder", "mask", "surrogate", "shift"])
def test_what_comes_after_sees_the_masked_copy_only(action):
    nlp = make(action=action, replace=True)
    SEEN.clear()
    doc = nlp.make_doc(TEXT)
    doc._.record_id = "r1"
    doc._.tongue_image = numpy.zeros((2, 2, 3), "uint8")
    doc.user_data["mine"] = 1
    doc.cats = {"a": 1.0}
    new = nlp(doc)
    assert doc.text == TEXT
    for text in (new.text, *SEEN, new.to_bytes().decode("latin1"), str(new._.deid)):
        assert not any(secret in text for secret in SECRETS)
    assert new._.record_id == "r1"
    assert new._.tongue_image.shape == (2, 2, 3)
    assert (new.user_data["mine"], new.cats) == (1, {"a": 1.0})
    assert new._.lexicon_matches == nlp.make_doc(new.text)._.lexicon_matches
    (ent,) = new.ents
    start, end = get_offset_map(new).to_old(ent.start_char, ent.end_char)
    assert (ent.text, TEXT[start:end]) == ("便血", "便血")
    again = Doc(nlp.vocab).from_bytes(new.to_bytes())
    assert get_offset_map(again).to_old(ent.start_char, ent.end_char) == (start, end)


def test_entities_are_carried_over():
    nlp = spacy.blank("tcm")
    nlp.add_pipe("tcm_deid", config={"replace": True})
    doc = nlp.make_doc(TEXT)
    doc.set_ents(
        [doc.char_span(a, b, label=x) for a, b, x in ((7, 16, "TIME"), (17, 19, "SYMPTOM"))]
    )
    assert [(e.text, e.label_) for e in nlp(doc).ents] == [("[日期]", "TIME"), ("便血", "SYMPTOM")]


def test_the_patient_decides_on_surrogates(key):
    nlp = make(action="surrogate", replace=True, key_file=key)

    def run(**attributes):
        doc = nlp.make_doc(TEXT)
        for name, value in attributes.items():
            doc._.set(name, value)
        return nlp(doc).text

    assert run(patient_id="p", record_id="1") == run(patient_id="p", record_id="2")
    assert len({run(record_id="1"), run(record_id="2"), run(patient_id="p"), run()}) == 4
    assert run() == make(action="surrogate", replace=True, key_file=key)(TEXT).text


def test_deidentify():
    pipe = make().get_pipe("tcm_deid")
    result = pipe.deidentify("姓名：张伟")
    assert (result.text, result.counts) == ("姓名：[姓名]", {"NAME": 1})
    assert pipe.deidentify(make().make_doc("姓名：张伟")).text == result.text


def test_empty():
    nlp = make(replace=True)
    for text in ("", " \n", "便血"):
        doc = nlp(text)
        assert (doc.text, doc._.deid["counts"]) == (text, {})


@pytest.mark.parametrize("n_process", [1, 2])
def test_pipe_equals_one_by_one(n_process, key):
    nlp = make(action="surrogate", replace=True, key_file=key)
    texts = [TEXT, "", "姓名：李娜  床号：3", "便血3天"] * 2
    one_by_one = [nlp(text) for text in texts]
    found = list(
        nlp.pipe(
            zip(texts, range(8), strict=True), as_tuples=True, n_process=n_process, batch_size=3
        )
    )
    assert [context for _, context in found] == list(range(8))
    for (doc, _), single in zip(found, one_by_one, strict=True):
        assert (doc.text, doc._.deid) == (single.text, single._.deid)
        assert [e.text for e in doc.ents] == [e.text for e in single.ents]


@pytest.mark.parametrize("n_process", [1, 2])
def test_a_key_drawn_at_random_is_the_same_in_every_process(n_process):
    nlp = make(action="surrogate", replace=True)
    assert len({doc.text for doc in nlp.pipe([TEXT] * 6, n_process=n_process, batch_size=1)}) == 1


def test_with_a_memory_budget():
    nlp = make(replace=True)
    nlp.set_memory_budget("8GB")
    texts = [TEXT * (i % 3 + 1) for i in range(7)]
    found = list(nlp.pipe([(text, i) for i, text in enumerate(texts)], as_tuples=True))
    assert [i for _, i in found] == list(range(7))
    assert [doc._.deid["counts"]["NAME"] for doc, _ in found] == [i % 3 + 1 for i in range(7)]


def test_the_table_is_stored_and_the_key_is_not(tmp_path, key):
    nlp = make(action="surrogate", replace=True, key_file=key)
    nlp.remove_pipe("entity_ruler")  # which initialize would empty
    table = json.loads(json.dumps(nlp.get_pipe("tcm_deid").deidentifier.finder.data))
    table["names"]["strong_cues"]["NAME"].append("名讳")
    own = tmp_path / "own.json"
    own.write_text(json.dumps(table, ensure_ascii=False), "utf8")
    nlp.config["initialize"]["components"]["tcm_deid"] = {"table": str(own)}
    nlp.initialize()
    nlp.to_disk(tmp_path / "saved")
    own.unlink()
    text = "名讳：呙立思"
    loaded = spacy.load(tmp_path / "saved")
    again = make(action="surrogate", replace=True, key_file=key)
    assert again(text).text == text
    again.get_pipe("tcm_deid").from_bytes(nlp.get_pipe("tcm_deid").to_bytes())
    pickled = pickle.loads(pickle.dumps(nlp.get_pipe("tcm_deid")))
    assert text != nlp(text).text == loaded(text).text == again(text).text
    assert pickled.deidentify(text).text == nlp(text).text
    for path in (tmp_path / "saved").rglob("*"):
        assert path.is_dir() or b"0123456789abcdef" not in path.read_bytes()
    pipe = nlp.get_pipe("tcm_deid")
    pipe.initialize()
    assert pipe.deidentify(text).text == text


def test_bad_settings(tmp_path):
    nlp = spacy.blank("tcm")
    with pytest.raises(ModelError, match="E635"):
        nlp.add_pipe("tcm_deid", config={"action": "hide"})
    with pytest.raises(ModelError, match="E637"):
        nlp.add_pipe("tcm_deid", config={"key_file": str(tmp_path / "none")})
    nlp.add_pipe("tcm_deid")
    nlp.to_disk(tmp_path / "saved")
    (tmp_path / "saved" / "tcm_deid" / "deid.json").write_text("[]", "utf8")
    with pytest.raises(ModelError, match=r"E636.*deid\.json"):
        spacy.load(tmp_path / "saved")


def test_errors_do_not_quote_the_text():
    def broken(text):
        raise ValueError("cannot do it")

    pipe = TCMDeid(broken, replace=True)
    doc = spacy.blank("tcm").make_doc(TEXT)
    with pytest.raises(ValueError, match="cannot do it") as caught:
        pipe(doc)
    assert "张伟" not in str(caught.value)
