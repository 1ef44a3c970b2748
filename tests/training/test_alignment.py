import json
from pathlib import Path

import pytest
import spacy

from spacy_tcm.errors import RecordError
from spacy_tcm.training.alignment import align_entities, check_alignment

NLP = spacy.blank("tcm")
GOOD = {"id": "good", "text": "便血3天", "entities": [[0, 2, "SYMPTOM"], [2, 4, "TIME"]]}
CUT = {
    "id": "cut",
    "text": "服药30mgbid 便血",
    "entities": [[2, 6, "DOSAGE"], [6, 9, "DOSAGE"], [10, 12, "SYMPTOM"]],
}


def write(path: Path, *records: dict) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def test_aligned_entities_become_spans_of_whole_tokens():
    doc = NLP.make_doc(CUT["text"])
    spans, misaligned = align_entities(doc, CUT["entities"])
    assert [(span.text, span.label_) for span in spans] == [("便血", "SYMPTOM")]
    assert misaligned == [(2, 6, "DOSAGE"), (6, 9, "DOSAGE")]


def test_an_entity_that_ends_in_a_space_of_its_own_token_is_misaligned():
    doc = NLP.make_doc("便血 3天")
    assert align_entities(doc, [[0, 3, "SYMPTOM"]]) == ([], [(0, 3, "SYMPTOM")])


def test_report_counts_by_label_and_places_without_the_text(tmp_path):
    path = write(tmp_path / "a.jsonl", GOOD, CUT)
    report = check_alignment(path, NLP)
    assert report.records == 2
    assert report.entities == {"SYMPTOM": 2, "TIME": 1, "DOSAGE": 2}
    assert report.misaligned_by_label == {"DOSAGE": 2}
    assert report.misaligned_share == 2 / 5
    assert report.misaligned[0].describe() == f"{path}, record 'cut', [2, 6) DOSAGE"
    assert report.problems == []


def test_report_lists_every_problem_instead_of_stopping(tmp_path):
    path = write(
        tmp_path / "a.jsonl",
        {**GOOD, "entities": [[0, 2, "SYMPTOM"], [1, 4, "TIME"]]},
        {**GOOD, "entities": [[0, 2, "sym"], [2, 9, "TIME"]]},
        {**GOOD, "id": "out", "image": "../x.jpg"},
        {**GOOD, "id": "last"},
    )
    path.write_text(path.read_text() + "no json\n")
    report = check_alignment(path, NLP)
    assert report.records == 5
    assert sorted(report.problems_by_kind) == [
        *("id", "image", "label", "offset", "overlap", "structure")
    ]
    assert report.entities.total() == 2


def test_missing_photos_are_listed(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "1.jpg").write_bytes(b"x")
    path = write(tmp_path / "a.jsonl", {**GOOD, "image": "1.jpg"}, {**CUT, "image": "2.jpg"})
    report = check_alignment(path, NLP, image_root=tmp_path / "photos")
    assert report.images == 2
    assert report.missing_images == [f"{path}, line 2, record 'cut'"]


def test_an_empty_corpus_has_nothing_misaligned(tmp_path):
    report = check_alignment(write(tmp_path / "a.jsonl"), NLP)
    assert (report.records, report.misaligned_share) == (0, 0.0)
    with pytest.raises(RecordError, match="E301"):
        check_alignment(tmp_path / "none.jsonl", NLP)
