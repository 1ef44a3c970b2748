"""``spacy_tcm.RecordCorpus.v1``: records as spaCy Examples, photos included.

``spacy.Corpus.v1`` makes the predicted Doc from the text alone and so loses the photo.
"""

import math
import random
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Literal, get_args

from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example
from spacy.util import logger

from spacy_tcm.errors import Errors, RecordError
from spacy_tcm.extensions import install_extensions
from spacy_tcm.models.windows import BREAKS
from spacy_tcm.training.alignment import align_entities
from spacy_tcm.training.augmentation.edits import Augmenter, cut_piece
from spacy_tcm.training.reading import LabelMap, describe_on_doc, read_with_images
from spacy_tcm.training.validation import Record
from spacy_tcm.types import EntityTriple

Unlabelled = Literal["outside", "unknown"]


def create_record_corpus(
    path: str | Path | list[str | Path],
    image_root: str | Path | None = None,
    labels: list[str] | None = None,
    label_map: dict[str, str | list[str] | None] | None = None,
    max_length: int = 0,
    limit: int = 0,
    unlabelled: Unlabelled = "outside",
    weight: float = 1.0,
    augmenter: Augmenter | None = None,
    seed: int = 0,
) -> "RecordCorpus":
    """``spacy_tcm.RecordCorpus.v1`` for ``[corpora]``.

    path: one or more .jsonl, .spacy or .txt files, or folders of them.
    image_root: the folder of the photos; default: the folder of each corpus file.
    labels: the labels that the corpus annotates; None: all 23, or the targets of label_map.
        Tokens outside of its entities then say nothing about any other label.
    label_map: another scheme's label names -> ours, a list of ours (the entity is one of them), or
        null to drop such entities.
    max_length: longer records are cut into windows of at most so many tokens; 0: never.
    limit: the number of records read; 0: all.
    unlabelled: what a token outside all entities is: "outside" any label that the corpus annotates,
        or "unknown" where its annotation is known to be incomplete.
    weight: how often a pass shows a record: 2.5 is twice, and half of the records a third time,
        drawn anew for each pass; 0 leaves the corpus out. With max_epochs = -1 spaCy makes
        a new pass for each epoch.
    augmenter: changes each record, as shown, anew: (record, random.Random) -> record.
    RAISES RecordError: a setting has an impossible value.
    """
    return RecordCorpus(
        path,
        image_root=image_root,
        labels=labels,
        label_map=label_map,
        max_length=max_length,
        limit=limit,
        unlabelled=unlabelled,
        weight=weight,
        augmenter=augmenter,
        seed=seed,
    )


class RecordCorpus:
    """Call it with a pipeline for one pass over the Examples; see `create_record_corpus`.

    Each Example has on both Docs ``doc._.tongue_image`` (absolute path or None) and
    ``doc._.record_id``, and on the reference the entities, ``doc._.annotated_labels`` and
    ``doc._.tongue_labels``.
    """

    def __init__(
        self,
        path: str | Path | Sequence[str | Path],
        *,
        image_root: str | Path | None = None,
        labels: Sequence[str] | None = None,
        label_map: LabelMap | None = None,
        max_length: int = 0,
        limit: int = 0,
        unlabelled: Unlabelled = "outside",
        weight: float = 1.0,
        augmenter: Augmenter | None = None,
        seed: int = 0,
    ):
        for name, count in (("max_length", max_length), ("limit", limit)):
            _check(count >= 0, name, "0 or more", count)
        _check(
            unlabelled in get_args(Unlabelled), "unlabelled", '"outside" or "unknown"', unlabelled
        )
        _check(math.isfinite(weight) and weight >= 0, "weight", "a number, 0 or more", weight)
        self.path = path
        self.image_root = image_root
        self.labels = labels
        self.label_map = label_map
        self.max_length = max_length
        self.limit = limit
        self.unlabelled = unlabelled
        self.weight = weight
        self.augmenter = augmenter
        self._random = random.Random(seed)
        self._reported = False

    def __call__(self, nlp: Language) -> Iterator[Example]:
        """RAISES RecordError: a record is malformed; names file, line and record id. Or there is
        no record at all, unless the weight is 0."""
        install_extensions()
        records = read_with_images(
            self.path, image_root=self.image_root, labels=self.labels, label_map=self.label_map
        )
        total = misaligned = n_read = 0
        for original, image in islice(records, self.limit or None):
            n_read += 1
            for record in self._shown(original):
                for window in self._windows(nlp, record):
                    total += len(window["entities"])
                    example, n_misaligned = _make_example(nlp, window, image)
                    if self.unlabelled == "unknown":
                        example.reference._.annotated_labels = []
                    misaligned += n_misaligned
                    yield example
        if not n_read and self.weight:
            paths = [self.path] if isinstance(self.path, str | Path) else self.path
            raise RecordError(Errors.E352.format(path=", ".join(map(str, paths))))
        if misaligned and not self._reported:
            self._reported = True  # once, not after every epoch
            logger.info(
                "%s: %d of %d entities begin or end inside a token; their tokens are not trained.",
                self.path,
                misaligned,
                total,
            )

    def _shown(self, record: Record) -> Iterator[Record]:
        """The record as often as this pass shows it, each time augmented anew."""
        whole = int(self.weight)
        times = whole + (self._random.random() < self.weight - whole)
        for _ in range(times):
            yield self.augmenter(record, self._random) if self.augmenter else record

    def _windows(self, nlp: Language, record: Record) -> Iterable[Record]:
        if self.max_length <= 0:
            return [record]
        return cut_record(record, nlp.make_doc(record["text"]), self.max_length)


def _check(possible: bool, name: str, expected: str, value: Any) -> None:
    if not possible:
        raise RecordError(Errors.E351.format(name=name, expected=expected, value=value))


def _make_example(nlp: Language, record: Record, image: Path | None) -> tuple[Example, int]:
    """The Example of a valid record, and how many of its entities are misaligned."""
    path = None if image is None else str(image)
    predicted = nlp.make_doc(record["text"])
    predicted._.record_id = record["id"]
    predicted._.tongue_image = path
    reference = nlp.make_doc(record["text"])
    misaligned = annotate(reference, record)
    reference._.tongue_image = path
    return Example(predicted, reference), len(misaligned)


def annotate(doc: Doc, record: Record) -> list[EntityTriple]:
    """Write a valid record onto the Doc of its text. RETURNS the misaligned entities.

    The tokens that a misaligned entity touches are set to "missing": to train them as "outside"
    would teach that no entity is there.
    """
    describe_on_doc(doc, record)
    spans, misaligned = align_entities(doc, record["entities"])
    unknown = [(start, end) for start, end, _ in misaligned]
    unknown += [(start, end) for start, end in record.get("missing", [])]
    inside = {char for start, end in unknown for char in range(start, end)}
    known = {token.i for span in spans for token in span}
    missing = [
        doc[token.i : token.i + 1]
        for token in doc
        if token.i not in known and not inside.isdisjoint(range(token.idx, token.idx + len(token)))
    ]
    doc.set_ents(spans, missing=missing)
    return misaligned


def cut_record(record: Record, doc: Doc, max_length: int) -> Iterator[Record]:
    """The record in windows of at most max_length tokens, which joined give its text again.

    A window ends after a line or sentence if it can, else after any token, and never inside an
    entity: it is longer than max_length only where an entity leaves no other place. Each has the
    id, image, tongue and labels of the record, and its own text, entities and missing.

    doc: the tokens of ``record["text"]``.
    """
    length = len(record["text"])
    inside = {char for start, end, _ in record["entities"] for char in range(start + 1, end)}
    # Cuts: (tokens before, characters before, after a line or sentence?), the end of text last.
    cuts = [
        (token.i, token.idx, any(char in BREAKS for char in doc[token.i - 1].text_with_ws))
        for token in doc[1:]
        if token.idx not in inside
    ]
    cuts.append((len(doc), length, True))
    first_token = start = position = 0
    while position < len(cuts):
        last = position
        while last + 1 < len(cuts) and cuts[last + 1][0] - first_token <= max_length:
            last += 1
        # The end of the text counts as the end of a line, so the rest is not cut if it fits.
        best = next((i for i in range(last, position - 1, -1) if cuts[i][2]), last)
        n_tokens, end, _ = cuts[best]
        yield cut_piece(record, start, end)
        first_token, start, position = n_tokens, end, best + 1
