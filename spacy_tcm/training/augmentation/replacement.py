"""``spacy_tcm.entity_replacement.v1``: other terms in the place of entities."""

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from random import Random

from spacy_tcm.errors import Errors, RecordError
from spacy_tcm.lexicon import read_tables
from spacy_tcm.tags import LABELS
from spacy_tcm.training.augmentation.edits import HAN, Augmenter, check_share, replace_text
from spacy_tcm.training.reading import read_records
from spacy_tcm.training.validation import Record

# Labels whose entities are names of things: any other name of the kind makes a sentence that could
# have been written. Numbers, times and places in the body hang together with what is around them.
NAMES = (
    "SYMPTOM",
    "TONGUE",
    "PULSE",
    "TCM_DISEASE",
    "SYNDROME",
    "PRINCIPLE",
    "FORMULA",
    "HERB",
    "ACUPOINT",
)

# Letters and digits could grow together with those beside the entity.
_CHINESE = re.compile(f"[{HAN}]+")


def create_entity_replacement(
    lexicon: str | Path | list[str | Path] | None = None,
    corpus: str | Path | list[str | Path] | None = None,
    share: float = 0.3,
    labels: list[str] | None = None,
) -> Augmenter:
    """``spacy_tcm.entity_replacement.v1``: replace entities by others of the label and like length.

    An entity that occurs twice in a record is replaced by the same term both times. Where there is
    a photo or something is known of the tongue, TONGUE is left alone, as the text would contradict
    it.

    lexicon: tables of terms (files, or folders of ``*.tsv``).
    corpus: records (see `record_files`) whose entities are used as terms too.
    share: how many of the different entities of a record are replaced, from 0 to 1.
    labels: the labels that are replaced. Default: `NAMES`.
    RAISES RecordError: a setting is out of range, a label is unknown, or there is no term at all.
    """
    check_share("share", share)
    wanted = NAMES if labels is None else tuple(labels)
    if unknown := sorted(set(wanted) - set(LABELS)):
        raise RecordError(Errors.E362.format(labels=", ".join(unknown)))
    terms: dict[str, set[str]] = {label: set() for label in wanted}
    for term, label in _read_terms(lexicon, corpus):
        if label in terms and _CHINESE.fullmatch(term):
            terms[label].add(term)
    by_length: dict[tuple[str, int], list[str]] = defaultdict(list)
    for label, found in terms.items():
        for term in sorted(found):
            by_length[label, len(term)].append(term)
    if not by_length:
        raise RecordError(Errors.E363.format(labels=", ".join(wanted)))

    def draw(label: str, term: str, rng: Random) -> str:
        slack = len(term) // 3
        lengths = range(len(term) - slack, len(term) + slack + 1)
        found = [by_length[label, n] for n in lengths if (label, n) in by_length]
        if not found:
            return term
        return rng.choice(rng.choices(found, [len(others) for others in found])[0])

    def augment(record: Record, rng: Random) -> Record:
        text = record["text"]
        fixed = "TONGUE" if "image" in record or "tongue" in record else None
        drawn: dict[tuple[str, str], str] = {}
        edits = []
        for start, end, label in sorted(record["entities"]):
            if label not in terms or label == fixed:
                continue
            term = text[start:end]
            if (label, term) not in drawn:
                chosen = rng.random() < share
                drawn[label, term] = draw(label, term, rng) if chosen else term
            if drawn[label, term] != term:
                edits.append((start, end, drawn[label, term]))
        return replace_text(record, edits)

    return augment


def _read_terms(
    lexicon: str | Path | list[str | Path] | None, corpus: str | Path | list[str | Path] | None
) -> Iterator[tuple[str, str]]:
    """(term, label), the same one possibly several times."""
    if lexicon is not None:
        for entry in read_tables(lexicon):
            yield entry.term, entry.category
    if corpus is not None:
        for record in read_records(corpus):
            for start, end, label in record["entities"]:
                yield record["text"][start:end], label
