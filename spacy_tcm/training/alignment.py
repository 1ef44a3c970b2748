"""Entities of records against the tokens of a pipeline: what a token-based model cannot learn."""

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from spacy.language import Language
from spacy.tokens import Doc, Span

from spacy_tcm.training.reading import Paths, scan_records
from spacy_tcm.training.validation import Problem
from spacy_tcm.types import EntityTriple


class Misaligned(NamedTuple):
    """An entity that begins or ends inside a token. Offsets in characters, end exclusive."""

    path: Path
    record_id: str
    start: int
    end: int
    label: str

    def describe(self) -> str:
        return f"{self.path}, record '{self.record_id}', [{self.start}, {self.end}) {self.label}"


@dataclass
class AlignmentReport:
    """What a corpus holds and what is wrong with it."""

    records: int = 0
    images: int = 0
    entities: Counter[str] = field(default_factory=Counter)  # by label, misaligned ones included
    misaligned: list[Misaligned] = field(default_factory=list)
    missing_images: list[str] = field(default_factory=list)  # places: file, line, record id
    problems: list[Problem] = field(default_factory=list)

    @property
    def misaligned_share(self) -> float:
        """Misaligned entities over all entities; 0 where there is none."""
        total = self.entities.total()
        return len(self.misaligned) / total if total else 0.0

    @property
    def misaligned_by_label(self) -> Counter[str]:
        return Counter(entity.label for entity in self.misaligned)

    @property
    def problems_by_kind(self) -> dict[str, list[str]]:
        """Kind (offset, overlap, label, ...) -> messages."""
        kinds: dict[str, list[str]] = {}
        for kind, message in self.problems:
            kinds.setdefault(kind, []).append(message)
        return kinds


def align_entities(
    doc: Doc, entities: Iterable[EntityTriple]
) -> tuple[list[Span], list[EntityTriple]]:
    """(entities as spans of whole tokens, entities that begin or end inside a token)."""
    first = {token.idx: token.i for token in doc}
    last = {token.idx + len(token): token.i for token in doc}
    spans: list[Span] = []
    misaligned: list[EntityTriple] = []
    for start, end, label in entities:
        if start in first and end in last:
            spans.append(Span(doc, first[start], last[end] + 1, label=label))
        else:
            misaligned.append((start, end, label))
    return spans, misaligned


def check_alignment(
    paths: Paths, nlp: Language, *, image_root: str | Path | None = None
) -> AlignmentReport:
    """Read whole corpora and report every problem instead of stopping at the first.

    image_root: where photos are looked for; default: the folder of each corpus file.
    RAISES RecordError: a path names nothing that can be read.
    """
    report = AlignmentReport()
    for scanned in scan_records(paths, image_root=image_root):
        report.records += 1
        report.problems += scanned.problems
        if scanned.image is not None:
            report.images += 1
            if not os.path.isfile(scanned.image):  # False, not OSError, if a name is too long
                report.missing_images.append(scanned.place)
        if scanned.record is None or scanned.problems:
            continue
        record = scanned.record
        report.entities.update(label for _, _, label in record["entities"])
        _, misaligned = align_entities(nlp.make_doc(record["text"]), record["entities"])
        report.misaligned += [Misaligned(scanned.path, record["id"], *span) for span in misaligned]
    return report
