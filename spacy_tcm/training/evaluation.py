"""How well a pipeline finds the entities of a corpus, photos included.

Compared are character offsets with the gold as written, so that an entity which no tokens can
express counts as missed. The result of :func:`evaluate_records` is a JSON-able dict::

    records, characters     counts
    exact                   same start, end and label; see "scores" below
    overlap                 same label and at least one character in common
    macro_f                 mean exact F over the labels that occur in the gold
    per_label               label -> {"exact": scores, "overlap": scores}
    rare                    exact recall of the gold entities whose surface is no entity of the
                            training corpus: {recall, gold, correct}; null without training corpus
    misaligned_gold         gold entities that begin or end inside a token
    images                  status of the photo (none, ok, rejected, not_run) -> records
    mean_span_score         mean of span._.score over predicted entities; null where none has one
    calibration             see :func:`reliability`, of the predicted entities that have a score;
                            null where none has one

Scores are {precision, recall, f, gold, predicted, correct_gold, correct_predicted}; precision is
correct_predicted / predicted, recall is correct_gold / gold, f their harmonic mean; null where
there is nothing to divide by. For exact scores both counts of correct ones are the same.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy
from spacy.language import Language
from spacy.tokens import Doc

from spacy_tcm.batching import forkable_torch
from spacy_tcm.extensions import install_extensions
from spacy_tcm.tags import LABELS
from spacy_tcm.training.alignment import align_entities
from spacy_tcm.training.validation import Record
from spacy_tcm.types import EntityTriple

# Of scores, for their calibration.
BINS = 10


@dataclass
class _Counts:
    """Entities by label."""

    gold: Counter[str] = field(default_factory=Counter)
    predicted: Counter[str] = field(default_factory=Counter)
    correct_gold: Counter[str] = field(default_factory=Counter)
    correct_predicted: Counter[str] = field(default_factory=Counter)

    def scores(self, label: str | None = None) -> dict[str, Any]:
        """Of one label, or of all together."""
        counts = {
            name: counter.total() if label is None else counter[label]
            for name, counter in vars(self).items()
        }
        precision = _ratio(counts["correct_predicted"], counts["predicted"])
        recall = _ratio(counts["correct_gold"], counts["gold"])
        return {"precision": precision, "recall": recall, "f": _f(precision, recall), **counts}


def evaluate_records(
    nlp: Language,
    records: Iterable[tuple[Record, Path | None]],
    *,
    training: Iterable[Record] | None = None,
    batch_size: int | None = None,
    n_process: int = 1,
) -> dict[str, Any]:
    """Run the pipeline over records with their photos and score its entities.

    records: (valid record, its photo), as from `reading.read_with_images`; read once, in order.
        Where a record annotates only some labels, predictions of others are ignored.
    training: the records that the pipeline was trained on, for the recall of unseen surfaces.
    batch_size, n_process: as for ``nlp.pipe``.
    RETURNS: see the head of this module.
    """
    install_extensions()
    known = None if training is None else entity_surfaces(training)
    exact, overlap = _Counts(), _Counts()
    images: Counter[str] = Counter()
    rare_gold = rare_correct = misaligned = n_records = n_characters = 0
    scored: list[tuple[float, bool]] = []
    docs = make_docs(nlp, records)
    for doc, record in _pipe(nlp, docs, batch_size, n_process):
        annotated = record.get("labels")
        gold = [(start, end, label) for start, end, label in record["entities"]]
        ents = [ent for ent in doc.ents if annotated is None or ent.label_ in annotated]
        found = [(ent.start_char, ent.end_char, ent.label_) for ent in ents]
        correct = set(gold) & set(found)
        _count(exact, gold, found, correct, correct)
        _count(overlap, gold, found, _touched(gold, found), _touched(found, gold))
        if known is not None:
            rare = {span for span in gold if doc.text[span[0] : span[1]] not in known}
            rare_gold += len(rare)
            rare_correct += len(rare & correct)
        scored += [
            (ent._.score, span in correct)
            for ent, span in zip(ents, found, strict=True)
            if ent._.score is not None
        ]
        images[doc._.tongue["status"]] += 1
        misaligned += len(align_entities(doc, gold)[1])
        n_records += 1
        n_characters += len(doc.text)
    used = [*LABELS, *sorted({*exact.gold, *exact.predicted} - set(LABELS))]
    per_label = {
        label: {"exact": exact.scores(label), "overlap": overlap.scores(label)}
        for label in used
        if exact.gold[label] or exact.predicted[label]
    }
    f_by_label = [per_label[label]["exact"]["f"] for label in per_label if exact.gold[label]]
    return {
        "records": n_records,
        "characters": n_characters,
        "exact": exact.scores(),
        "overlap": overlap.scores(),
        "macro_f": _ratio(sum(f_by_label), len(f_by_label)),
        "per_label": per_label,
        "rare": None
        if known is None
        else {
            "recall": _ratio(rare_correct, rare_gold),
            "gold": rare_gold,
            "correct": rare_correct,
        },
        "misaligned_gold": misaligned,
        "images": dict(images),
        "mean_span_score": _ratio(sum(score for score, _ in scored), len(scored)),
        "calibration": reliability(scored) if scored else None,
    }


def reliability(pairs: Sequence[tuple[float, bool]]) -> dict[str, Any]:
    """Expected calibration error: mean of |share right - mean score| over ten bins of equal width,
    weighted by the entities in each (Naeini et al. 2015); and the bins, and the log-loss."""
    scores = numpy.array([score for score, _ in pairs])
    right = numpy.array([correct for _, correct in pairs], dtype=float)
    index = numpy.minimum((scores * BINS).astype(int), BINS - 1)
    bins = []
    for i in range(BINS):
        inside = index == i
        if inside.any():
            bins.append(
                {
                    "entities": int(inside.sum()),
                    "mean_score": float(scores[inside].mean()),
                    "share_right": float(right[inside].mean()),
                }
            )
    error = sum(b["entities"] * abs(b["share_right"] - b["mean_score"]) for b in bins) / len(pairs)
    return {"expected_calibration_error": error, "log_loss": log_loss(pairs), "bins": bins}


def log_loss(pairs: Sequence[tuple[float, bool]]) -> float:
    """Mean -log of the probability given to what is the case."""
    scores = numpy.clip([score for score, _ in pairs], 1e-6, 1 - 1e-6)
    right = numpy.array([correct for _, correct in pairs])
    return float(-numpy.log(numpy.where(right, scores, 1 - scores)).mean())


def entity_surfaces(records: Iterable[Record]) -> set[str]:
    """The text of every entity of the records."""
    return {record["text"][start:end] for record in records for start, end, _ in record["entities"]}


def _pipe(
    nlp: Language, docs: Iterator[tuple[Doc, Record]], batch_size: int | None, n_process: int
) -> Iterator[tuple[Doc, Record]]:
    with forkable_torch(n_process):
        yield from nlp.pipe(docs, as_tuples=True, batch_size=batch_size, n_process=n_process)


def make_docs(
    nlp: Language, records: Iterable[tuple[Record, Path | None]]
) -> Iterator[tuple[Doc, Record]]:
    for record, image in records:
        doc = nlp.make_doc(record["text"])
        doc._.record_id = record["id"]
        doc._.tongue_image = None if image is None else str(image)
        yield doc, record


def _count(
    counts: _Counts,
    gold: list[EntityTriple],
    found: list[EntityTriple],
    correct_gold: set[EntityTriple],
    correct_found: set[EntityTriple],
) -> None:
    counts.gold.update(label for _, _, label in gold)
    counts.predicted.update(label for _, _, label in found)
    counts.correct_gold.update(label for _, _, label in correct_gold)
    counts.correct_predicted.update(label for _, _, label in correct_found)


def _touched(spans: list[EntityTriple], others: list[EntityTriple]) -> set[EntityTriple]:
    """The spans that have a character in common with one of the others of the same label."""
    covered = {(char, label) for start, end, label in others for char in range(start, end)}
    return {
        (start, end, label)
        for start, end, label in spans
        if any((char, label) in covered for char in range(start, end))
    }


def _ratio(part: float, whole: int) -> float | None:
    return part / whole if whole else None


def _f(precision: float | None, recall: float | None) -> float | None:
    """Harmonic mean; one of them undefined means that all of gold or all of predicted is wrong."""
    if precision is None and recall is None:
        return None
    p, r = precision or 0.0, recall or 0.0
    return 2 * p * r / (p + r) if p + r else 0.0
