from pathlib import Path

import pytest
import spacy
from spacy.language import Language
from spacy.tokens import Doc, Span

from spacy_tcm.training.evaluation import evaluate_records

# What the fake recogniser below finds: text -> [start, end, label, score].
FOUND = {
    "便血3天，色鲜红": [
        (0, 2, "SYMPTOM", 0.9),  # right
        (2, 3, "TIME", 0.7),  # too short
        (5, 8, "SIGN", None),  # wrong label
    ],
    "咳嗽，便血": [(0, 2, "SYMPTOM", 0.8)],  # the other one is missed
    "服药30mgbid": [],
}
RECORDS = [
    {
        "id": "1",
        "text": "便血3天，色鲜红",
        "entities": [[0, 2, "SYMPTOM"], [2, 4, "TIME"], [5, 8, "QUALITY"]],
    },
    {"id": "2", "text": "咳嗽，便血", "entities": [[0, 2, "SYMPTOM"], [3, 5, "SYMPTOM"]]},
    {"id": "3", "text": "服药30mgbid", "entities": [[2, 6, "DOSAGE"]]},
]


@Language.component("evaluation_test_recogniser")
def recognise(doc: Doc) -> Doc:
    spans = []
    for start, end, label, score in FOUND.get(doc.text, ()):
        span = doc.char_span(start, end, label=label)
        span._.score = score
        spans.append(span)
    doc.set_ents(spans)
    return doc


@Language.component("evaluation_test_photo_reader")
def read_photo(doc: Doc) -> Doc:
    """Finds the whole text if there is a photo, and says what became of it."""
    if doc._.tongue_image is not None:
        exists = Path(doc._.tongue_image).is_file()
        doc._.tongue = {
            "status": "ok" if exists else "rejected",
            "reasons": [],
            "quality": {},
            "attributes": {},
        }
        doc.set_ents([Span(doc, 0, len(doc), label="TONGUE")] if exists else [])
    return doc


def pipeline(name: str) -> Language:
    nlp = spacy.blank("tcm")
    nlp.add_pipe(name)
    return nlp


def evaluate(records, nlp=None, **options):
    nlp = nlp or pipeline("evaluation_test_recogniser")
    return evaluate_records(nlp, [(record, None) for record in records], **options)


def test_scores_of_an_example_worked_out_by_hand():
    metrics = evaluate(RECORDS)
    # 6 gold, 4 predicted, exact: 便血 and 咳嗽.
    assert metrics["exact"] == {
        "precision": 2 / 4,
        "recall": 2 / 6,
        "f": pytest.approx(2 * 2 / (4 + 6)),
        "gold": 6,
        "predicted": 4,
        "correct_gold": 2,
        "correct_predicted": 2,
    }
    # Overlapping with the same label: TIME too.
    assert metrics["overlap"]["correct_gold"] == metrics["overlap"]["correct_predicted"] == 3
    symptom = metrics["per_label"]["SYMPTOM"]["exact"]
    assert (symptom["precision"], symptom["recall"], symptom["f"]) == (1, 2 / 3, pytest.approx(0.8))
    sign = metrics["per_label"]["SIGN"]["exact"]
    assert (sign["precision"], sign["recall"], sign["f"]) == (0, None, 0)
    assert list(metrics["per_label"]) == ["SYMPTOM", "SIGN", "QUALITY", "TIME", "DOSAGE"]
    # SYMPTOM .8; TIME, QUALITY and DOSAGE 0. SIGN is not in the gold.
    assert metrics["macro_f"] == pytest.approx(0.8 / 4)
    assert metrics["misaligned_gold"] == 1
    assert metrics["mean_span_score"] == pytest.approx((0.9 + 0.7 + 0.8) / 3)
    # 0.9 and 0.8 are right, 0.7 is wrong; each alone in its bin.
    error = metrics["calibration"]["expected_calibration_error"]
    assert error == pytest.approx((0.1 + 0.2 + 0.7) / 3)
    assert metrics["images"] == {"none": 3}
    assert (metrics["records"], metrics["characters"]) == (3, 22)
    assert metrics["rare"] is None


def test_overlap_counts_each_side_once():
    """One long prediction over two gold entities finds both, and is one right prediction."""
    nlp = pipeline("evaluation_test_photo_reader")
    record = {"id": "1", "text": "舌红苔黄", "entities": [[0, 2, "TONGUE"], [2, 4, "TONGUE"]]}
    overlap = evaluate_records(nlp, [(record, Path(__file__))])["overlap"]
    assert (overlap["correct_gold"], overlap["correct_predicted"]) == (2, 1)
    assert (overlap["precision"], overlap["recall"], overlap["f"]) == (1, 1, 1)


def test_recall_of_surfaces_never_seen_in_training():
    training = [{"text": "便血，服药", "entities": [[0, 2, "SIGN"]]}]
    rare = evaluate(RECORDS, training=training)["rare"]
    # 便血 is known twice, though with another label; 3天 色鲜红 咳嗽 30mg are not.
    assert rare == {"recall": 1 / 4, "gold": 4, "correct": 1}


def test_predictions_of_labels_that_are_not_annotated_are_ignored():
    partial = {**RECORDS[0], "entities": [[0, 2, "SYMPTOM"]], "labels": ["SYMPTOM", "TIME"]}
    metrics = evaluate([partial])
    assert metrics["exact"]["predicted"] == 2
    assert "SIGN" not in metrics["per_label"]
    assert metrics["mean_span_score"] == pytest.approx(0.8)


@pytest.mark.parametrize("n_process", [1, 2])
def test_photos_reach_the_pipeline_and_order_is_kept(tmp_path, n_process):
    photo = tmp_path / "1.jpg"
    photo.write_bytes(b"x")
    records = [
        ({"id": str(n), "text": "舌红" * (n + 1), "entities": [[0, 2 * n + 2, "TONGUE"]]}, image)
        for n, image in enumerate([photo, None, tmp_path / "none.jpg", photo])
    ]
    nlp = pipeline("evaluation_test_photo_reader")
    metrics = evaluate_records(nlp, iter(records), batch_size=2, n_process=n_process)
    assert metrics["images"] == {"ok": 2, "none": 1, "rejected": 1}
    assert metrics["exact"]["correct_gold"] == 2
    assert metrics["exact"]["predicted"] == 2


def test_nothing_to_divide_by_is_null_not_zero():
    metrics = evaluate([{"id": "1", "text": "", "entities": []}])
    assert metrics["exact"]["f"] is None
    assert metrics["macro_f"] is None
    assert metrics["mean_span_score"] is None
    assert metrics["calibration"] is None
    assert metrics["per_label"] == {}
    assert evaluate([])["records"] == 0
