"""What all augmenters share: changing a record's text while its offsets stay right."""

from collections.abc import Callable, Iterable
from importlib import import_module
from random import Random
from types import ModuleType

from spacy_tcm.errors import Errors, RecordError
from spacy_tcm.models.windows import BREAKS
from spacy_tcm.training.validation import Record

# Takes a valid record, which it leaves as it is, and returns a new valid one that has the id,
# image, labels and tongue of the first, a text, entities and missing, and no other key. The same
# record and the same state of the random numbers give the same result.
Augmenter = Callable[[Record, Random], Record]

Edit = tuple[int, int, str]  # start, end (characters, end exclusive), the text to write there

HAN = "〇㐀-䶿一-鿿豈-﫿\U00020000-\U000323af"  # for a regular expression, inside [ ]

_KEPT = ("id", "image", "labels", "tongue")


def replace_text(record: Record, edits: Iterable[Edit]) -> Record:
    """The record with pieces of its text replaced.

    edits: in order, without overlap, each not empty and inside of one entity or outside of all;
        none removes an entity.
    """
    text: str = record["text"]
    parts: list[str] = []
    # Where each character of the old text begins and ends in the new one.
    starts: list[int] = []
    ends: list[int] = []
    length = last = 0
    for start, end, new in [*edits, (len(text), len(text), "")]:
        kept = start - last
        starts += range(length, length + kept)
        ends += range(length + 1, length + kept + 1)
        length += kept
        starts += [length] * (end - start)
        length += len(new)
        ends += [length] * (end - start)
        parts += [text[last:start], new]
        last = end
    missing = [[starts[start], ends[end - 1]] for start, end in record.get("missing", [])]
    return {
        **{key: record[key] for key in _KEPT if key in record},
        "text": "".join(parts),
        "entities": [
            [starts[start], ends[end - 1], label] for start, end, label in record["entities"]
        ],
        "missing": [[start, end] for start, end in missing if start < end],
    }


def cut_piece(record: Record, start: int, end: int) -> Record:
    """The record of a piece of the text, from start to end (characters, end exclusive), which cuts
    no entity. Missing annotation that it cuts is missing in it as far as it reaches."""
    return {
        **{key: record[key] for key in _KEPT if key in record},
        "text": record["text"][start:end],
        "entities": _within(record["entities"], start, end),
        "missing": _within(record.get("missing", []), start, end),
    }


def _within(spans: list, start: int, end: int) -> list:
    """The spans within [start, end), relative to start."""
    return [
        [max(span[0], start) - start, min(span[1], end) - start, *span[2:]]
        for span in spans
        if span[0] < end and span[1] > start
    ]


def arrange_text(record: Record, pieces: Iterable[tuple[int, int]]) -> Record:
    """The record made of pieces of its text, in the given order; the rest is dropped.

    A piece that ends neither a line nor a sentence gets a line break before the next one, so that
    words never grow together.

    pieces: (start, end) in characters, end exclusive, not empty; none cuts an entity.
    """
    text = ""
    entities: list[list] = []
    missing: list[list] = []
    for start, end in pieces:
        if text and text[-1] not in BREAKS:
            text += "\n"
        piece = cut_piece(record, start, end)
        at = len(text)
        for spans, new in ((entities, piece["entities"]), (missing, piece["missing"])):
            spans += [[span[0] + at, span[1] + at, *span[2:]] for span in new]
        text += piece["text"]
    return {
        **{key: record[key] for key in _KEPT if key in record},
        "text": text,
        "entities": entities,
        "missing": missing,
    }


def check_share(name: str, value: float) -> None:
    """RAISES RecordError: the setting ``name`` is not a number from 0 to 1."""
    if not 0 <= value <= 1:
        raise RecordError(Errors.E360.format(name=name, value=value))


def import_optional(package: str) -> ModuleType:
    """RAISES RecordError: the package, which only an augmenter needs, is not installed."""
    try:
        return import_module(package)
    except ModuleNotFoundError:
        raise RecordError(Errors.E361.format(package=package)) from None
