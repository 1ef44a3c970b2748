import json
import logging
from pathlib import Path

import pytest
import spacy
from hypothesis import given
from hypothesis import strategies as st
from spacy.util import registry

from spacy_tcm.errors import RecordError
from spacy_tcm.training.conversion import write_docbin
from spacy_tcm.training.corpus import create_record_corpus, cut_record

NLP = spacy.blank("tcm")
RECORD = {
    "id": "r1",
    "text": "便血3天，色鲜红。\n服药30mgbid",
    "entities": [[0, 2, "SYMPTOM"], [2, 4, "TIME"], [5, 8, "QUALITY"], [12, 16, "DOSAGE"]],
    "image": "photos/r1.jpg",
    "tongue": {"body_color": "dark"},
}
EMPTY = {"id": "r2", "text": "", "entities": []}


def write(path: Path, *records: dict) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def ents(doc) -> list:
    return [[ent.start_char, ent.end_char, ent.label_] for ent in doc.ents]


def test_is_registered_for_configs(tmp_path):
    path = write(tmp_path / "a.jsonl", RECORD)
    config = {"corpus": {"@readers": "spacy_tcm.RecordCorpus.v1", "path": [str(path)]}}
    (example,) = registry.resolve(config)["corpus"](NLP)
    assert example.text == RECORD["text"]


def test_both_docs_carry_photo_and_id_and_the_reference_the_gold(tmp_path):
    path = write(tmp_path / "a.jsonl", RECORD, EMPTY)
    example, empty = create_record_corpus(path, image_root=tmp_path)(NLP)
    for doc in (example.predicted, example.reference):
        assert doc.text == RECORD["text"]
        assert doc._.tongue_image == str(tmp_path.resolve() / "photos" / "r1.jpg")
        assert doc._.record_id == "r1"
    assert ents(example.reference) == RECORD["entities"][:3]
    assert not example.predicted.ents
    assert example.reference._.tongue_labels == {"body_color": "dark"}
    assert example.reference._.annotated_labels is None
    assert empty.text == ""
    assert empty.predicted._.tongue_image is None


def test_a_misaligned_entity_is_missing_not_outside_and_counted(tmp_path, caplog):
    path = write(tmp_path / "a.jsonl", RECORD)
    corpus = create_record_corpus(path)
    with caplog.at_level(logging.INFO, logger="spacy"):
        (example,) = corpus(NLP)
        list(corpus(NLP))
    assert caplog.text.count("1 of 4 entities") == 1
    by_token = dict(
        zip([t.text for t in example.reference], example.get_aligned_ner(), strict=True)
    )
    assert by_token["30"] is None
    assert by_token["mgbid"] is None
    assert by_token["药"] == "O"
    assert by_token["便"] == "B-SYMPTOM"


def test_text_of_unknown_annotation_is_missing(tmp_path):
    path = write(tmp_path / "a.jsonl", {**EMPTY, "text": "便血3天", "missing": [[1, 3]]})
    (example,) = create_record_corpus(path)(NLP)
    assert example.get_aligned_ner() == ["O", None, None, "O"]


def test_an_entity_within_text_of_unknown_annotation_counts(tmp_path):
    record = {"entities": [[0, 2, "SYMPTOM"]], "missing": [[0, 4]]}
    path = write(tmp_path / "a.jsonl", {**EMPTY, "text": "便血3天", **record})
    (example,) = create_record_corpus(path)(NLP)
    assert example.get_aligned_ner() == ["B-SYMPTOM", "L-SYMPTOM", None, None]


def test_partial_labels_of_corpus_record_and_map(tmp_path):
    bare = {**EMPTY, "text": "便血3天", "entities": [[0, 2, "SYMPTOM"]]}
    path = write(tmp_path / "a.jsonl", bare, {**bare, "id": "r3", "labels": ["SYMPTOM", "SIGN"]})
    by_corpus, by_record = create_record_corpus(path, labels=["SYMPTOM"])(NLP)
    assert by_corpus.reference._.annotated_labels == ["SYMPTOM"]
    assert by_record.reference._.annotated_labels == ["SYMPTOM", "SIGN"]
    with pytest.raises(RecordError, match="E313"):
        list(create_record_corpus(path, labels=["TIME"])(NLP))
    mapped, _ = create_record_corpus(path, label_map={"SYMPTOM": "SIGN"})(NLP)
    assert ents(mapped.reference) == [[0, 2, "SIGN"]]
    assert mapped.reference._.annotated_labels == ["SIGN"]


def test_errors_name_file_line_and_id(tmp_path):
    path = write(tmp_path / "a.jsonl", EMPTY, {**RECORD, "image": "../r1.jpg"})
    with pytest.raises(RecordError, match=r"a.jsonl, line 2, record 'r1'"):
        list(create_record_corpus(path)(NLP))


def test_every_call_reads_again_and_limit_counts_records(tmp_path):
    records = [{**RECORD, "id": f"r{n}"} for n in range(5)]
    corpus = create_record_corpus(write(tmp_path / "a.jsonl", *records), limit=3, max_length=6)
    first = [example.text for example in corpus(NLP)]
    assert first == [example.text for example in corpus(NLP)]
    assert "".join(first) == RECORD["text"] * 3


def test_docbin_gives_the_same_examples(tmp_path):
    records = [RECORD, EMPTY, {**EMPTY, "id": "r3", "text": "便血 ", "labels": ["SYMPTOM"]}]
    jsonl = write(tmp_path / "a.jsonl", *records)
    write_docbin(tmp_path / "a.spacy", records)

    def facts(path):
        for example in create_record_corpus(path)(NLP):
            doc, gold = example.predicted, example.reference
            yield doc.text, doc._.tongue_image, doc._.record_id
            yield ents(gold), example.get_aligned_ner()
            yield gold._.annotated_labels, gold._.tongue_labels

    assert list(facts(tmp_path / "a.spacy")) == list(facts(jsonl))


def test_windows_end_after_lines_and_sentences_and_keep_photo_and_labels(tmp_path):
    record = {**RECORD, "labels": ["SYMPTOM", "TIME", "QUALITY", "DOSAGE"]}
    path = write(tmp_path / "a.jsonl", record)
    first, second = create_record_corpus(path, max_length=12)(NLP)
    assert [first.text, second.text] == ["便血3天，色鲜红。\n", "服药30mgbid"]
    assert ents(first.reference) == RECORD["entities"][:3]
    for example in (first, second):
        assert example.predicted._.tongue_image == str(tmp_path.resolve() / "photos/r1.jpg")
        assert example.reference._.annotated_labels == record["labels"]
        assert example.reference._.tongue_labels == {"body_color": "dark"}


def cut(record: dict, max_length: int) -> list[dict]:
    return list(cut_record(record, NLP.make_doc(record["text"]), max_length))


def test_an_entity_longer_than_a_window_stays_whole():
    record = {"id": "r", "text": "甲乙丙丁戊己庚", "entities": [[1, 6, "SYMPTOM"]]}
    assert [window["text"] for window in cut(record, 3)] == ["甲", "乙丙丁戊己", "庚"]


def test_a_record_that_fits_is_one_window():
    text = "甲。乙。丙"
    assert [window["text"] for window in cut({"id": "r", "text": text, "entities": []}, 5)] == [
        text
    ]
    assert [window["text"] for window in cut({"id": "r", "text": "", "entities": []}, 5)] == [""]


@st.composite
def records(draw) -> dict:
    text, entities = "", []
    pieces = st.text("便血舌3a。\n， \u3000", max_size=8)
    for before, surface in draw(st.lists(st.tuples(pieces, pieces), max_size=8)):
        text += before
        if surface:
            entities.append([len(text), len(text) + len(surface), "SYMPTOM"])
            text += surface
    text += draw(pieces)
    missing = [[0, len(text)]] if text and draw(st.booleans()) else []
    return {"id": "r", "text": text, "entities": entities, "missing": missing}


@given(records(), st.integers(1, 9))
def test_windows_join_to_the_record_and_lose_no_entity(record, max_length):
    windows = cut(record, max_length)
    assert "".join(window["text"] for window in windows) == record["text"]
    joined: list[list] = []
    unknown = 0
    start = 0
    for window in windows:
        joined += [[start + s, start + e, label] for s, e, label in window["entities"]]
        unknown += sum(e - s for s, e in window["missing"])
        start += len(window["text"])
    assert joined == record["entities"]
    assert unknown == sum(e - s for s, e in record["missing"])
    inside = {c for s, e, _ in record["entities"] for c in range(s + 1, e)}
    offset = 0
    for window in windows:
        doc = NLP.make_doc(window["text"])
        places = [offset + token.idx for token in doc[1:]]
        assert window["text"] or windows == [window]
        assert len(doc) <= max_length or all(place in inside for place in places[:max_length])
        offset += len(window["text"])


def test_unlabelled_text_may_be_unknown(tmp_path):
    path = write(tmp_path / "a.jsonl", RECORD)
    (outside,) = create_record_corpus(path)(NLP)
    (unknown,) = create_record_corpus(path, unlabelled="unknown")(NLP)
    assert outside.reference._.annotated_labels is None
    assert unknown.reference._.annotated_labels == []
    assert ents(unknown.reference) == ents(outside.reference)


def test_a_coarser_label_stands_for_several(tmp_path):
    record = {"id": "c", "text": "便血，苔薄", "entities": [[0, 2, "finding"], [3, 5, "other"]]}
    path = write(tmp_path / "a.jsonl", record)
    label_map = {"finding": ["SYMPTOM", "SIGN"], "other": None}
    (example,) = create_record_corpus(path, label_map=label_map)(NLP)
    assert ents(example.reference) == [[0, 2, "SYMPTOM|SIGN"]]
    assert example.reference._.annotated_labels == ["SIGN", "SYMPTOM"]
    with pytest.raises(RecordError, match="E322"):
        list(create_record_corpus(path, label_map={"finding": ["SYMPTOM", "WRONG"]})(NLP))


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        *[("weight", value) for value in (-1, float("nan"), float("inf"))],
        *[("limit", -1), ("max_length", -1), ("unlabelled", "inside")],
    ],
)
def test_impossible_settings(tmp_path, setting, value):
    with pytest.raises(RecordError, match=rf"E351\] {setting}"):
        create_record_corpus(tmp_path, **{setting: value})


def test_a_corpus_without_records_says_so_but_an_empty_text_is_a_record(tmp_path):
    path = write(tmp_path / "a.jsonl")
    with pytest.raises(RecordError, match=r"E352.*a\.jsonl"):
        list(create_record_corpus(path)(NLP))
    assert not list(create_record_corpus(path, weight=0)(NLP))
    write(path, EMPTY)
    assert [example.text for example in create_record_corpus(path)(NLP)] == [""]
