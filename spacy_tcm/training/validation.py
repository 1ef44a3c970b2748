"""What a record must be. Problems are collected, so that a report can list all of them."""

import json
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from spacy_tcm.errors import Errors, RecordError
from spacy_tcm.tags import ALTERNATIVE

Record = dict[str, Any]

QUALIFIERS = ("absent", "possible", "past", "family", "future")

# Optional keys with one plain type: key -> (type, how a message calls it).
_OPTIONAL: dict[str, tuple[type, str]] = {
    "fields": (dict, "an object"),
    "meta": (dict, "an object"),
    "department": (str, "text"),
    "style": (str, "text"),
    "source": (str, "text"),
}


class Problem(NamedTuple):
    """One thing wrong with a record. ``message`` names place and remedy, never the text."""

    kind: str  # structure | offset | overlap | label | qualifier | field | id | image
    message: str


def is_span(value: Any, size: int) -> bool:
    """Whether value is [int, int, ...] of ``size`` items, the rest text."""
    return (
        isinstance(value, list | tuple)
        and len(value) == size
        and all(type(offset) is int for offset in value[:2])
        and all(isinstance(item, str) and item for item in value[2:])
    )


def find_problems(record: Record, place: str, labels: Sequence[str]) -> Iterator[Problem]:
    """Check one record against the contract; see ``assets/records/README.md``.

    place: file, line and record id, for messages.
    labels: the labels the record may use, unless it has its own ``labels``.
    """

    def expected(field: str, what: str) -> Problem:
        return Problem("structure", Errors.E310.format(place=place, field=field, expected=what))

    if not isinstance(record.get("id"), str) or not record["id"].strip():
        yield expected("id", "text, not empty")
    for key, (kind, what) in _OPTIONAL.items():
        if key in record and not isinstance(record[key], kind):
            yield expected(key, what)
    if "image" in record and not (isinstance(record["image"], str) and record["image"]):
        yield expected("image", "a relative path")
    if "labels" in record:
        if not _is_list_of_text(record["labels"]):
            yield expected("labels", "a list of labels")
            return
        labels = record["labels"]
    tongue = record.get("tongue", {})
    if not isinstance(tongue, dict) or not _is_list_of_text([*tongue, *tongue.values()]):
        yield expected("tongue", "an object of attribute -> value")

    text = record.get("text")
    if not isinstance(text, str):
        yield expected("text", "text (it may be empty)")
        return
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        yield Problem("structure", Errors.E317.format(place=place))
    if not isinstance(record.get("entities"), list):
        yield expected("entities", "a list (it may be empty)")
        return
    yield from _span_problems(record, place, labels)
    yield from _evidence_problems(record, place)


def _is_list_of_text(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) and item for item in value)


def _span_problems(record: Record, place: str, labels: Sequence[str]) -> Iterator[Problem]:
    length = len(record["text"])
    sound: list[tuple[int, int]] = []
    for field, size, wanted in (
        ("entities", 3, "[start, end, label]"),
        ("qualifiers", 3, "[start, end, qualifier]"),
        ("missing", 2, "[start, end]"),
    ):
        spans = record.get(field, [])
        if not isinstance(spans, list):
            message = Errors.E310.format(place=place, field=field, expected=f"a list of {wanted}")
            yield Problem("structure", message)
            continue
        for number, span in enumerate(spans, 1):
            where = {"place": place, "field": field, "number": number}
            if not is_span(span, size):
                where["field"] = f"{field} {number}"
                yield Problem("structure", Errors.E310.format(**where, expected=wanted))
                continue
            start, end = span[:2]
            if not 0 <= start < end <= length:
                message = Errors.E311.format(**where, start=start, end=end, length=length)
                yield Problem("offset", message)
            elif field == "entities":
                sound.append((start, end))
                if not set(span[2].split(ALTERNATIVE)) <= set(labels):
                    message = Errors.E313.format(place=place, start=start, end=end, label=span[2])
                    yield Problem("label", message)
            elif field == "qualifiers" and not ((start, end) in sound and span[2] in QUALIFIERS):
                allowed = ", ".join(QUALIFIERS)
                message = Errors.E314.format(place=place, number=number, allowed=allowed)
                yield Problem("qualifier", message)
    sound.sort()
    for (start, end), (other_start, other_end) in pairwise(sound):
        if other_start < end:
            message = Errors.E312.format(
                place=place, start=start, end=end, other_start=other_start, other_end=other_end
            )
            yield Problem("overlap", message)


def _evidence_problems(record: Record, place: str) -> Iterator[Problem]:
    fields = record.get("fields", {})
    if not isinstance(fields, dict):
        return
    for name, field in fields.items():
        if not isinstance(field, dict) or "value" not in field:
            expected = "an object with value and evidence"
            message = Errors.E310.format(place=place, field=f"field '{name}'", expected=expected)
            yield Problem("structure", message)
            continue
        evidence = field.get("evidence")
        if not isinstance(evidence, str) or not evidence or evidence not in record["text"]:
            yield Problem("field", Errors.E315.format(place=place, field=name))


# Typed fields ---------------------------------------------------------------------------------


def read_field_definitions(path: str | Path) -> dict[str, Record]:
    """The definitions of ``assets/fields.json`` by field id. RAISES RecordError."""
    try:
        fields = json.loads(Path(path).read_text(encoding="utf-8"))["fields"]
        return {field["id"]: field for field in fields if _checkers[field["type"]]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        cause = type(error).__name__
        raise RecordError(Errors.E320.format(path=path, cause=cause)) from None


def find_field_problems(
    record: Record, place: str, definitions: dict[str, Record]
) -> Iterator[Problem]:
    """Check the values of ``record["fields"]`` against their definitions."""
    for name, field in record.get("fields", {}).items():
        definition = definitions.get(name)
        if definition is None:
            yield Problem("field", Errors.E318.format(place=place, field=name))
            continue
        check, expected = _checkers[definition["type"]]
        if not check(field, definition):
            message = Errors.E319.format(
                place=place, field=name, expected=expected.format(**{"values": "", **definition})
            )
            yield Problem("field", message)


def _number(value: Any, *, whole: bool = False) -> bool:
    return type(value) is int or (not whole and type(value) is float)


def _pair(value: Any) -> bool:
    """[low, high], either of them None (open), not both, in order."""
    if not isinstance(value, list) or len(value) != 2 or value == [None, None]:
        return False
    low, high = value
    return all(v is None or _number(v) for v in value) and (None in value or low <= high)


def _is_enum(field: Record, definition: Record) -> bool:
    return isinstance(field["value"], str) and field["value"] in definition["values"]


def _is_values(field: Record, definition: Record) -> bool:
    value = field["value"]
    return _is_list_of_text(value) and bool(value) and set(value) <= set(definition["values"])


def _is_int(field: Record, definition: Record) -> bool:
    low, high = definition.get("lo", float("-inf")), definition.get("hi", float("inf"))
    return _number(field["value"], whole=True) and low <= field["value"] <= high


def _is_decimal(field: Record, definition: Record) -> bool:
    return _number(field["value"]) and field.get("unit") == definition["unit"]


def _is_range(field: Record, definition: Record) -> bool:
    return _pair(field["value"]) and field.get("unit") == definition["unit"]


def _is_duration(field: Record, definition: Record) -> bool:
    value = field["value"]
    return (_number(value) or _pair(value)) and field.get("unit") in ("日", "周", "月", "年")


# Field type -> (check, what a message says is expected).
_checkers = {
    "enum": (_is_enum, "one of {values}"),
    "multi": (_is_values, "a list of one or more of {values}"),
    "list": (_is_values, "a list of one or more of {values}"),
    "bool": (lambda field, _: isinstance(field["value"], bool), "true or false"),
    "ternary": (lambda field, _: field["value"] in ("有", "无", "未提及"), "有, 无 or 未提及"),
    "int": (_is_int, "a whole number within its limits"),
    "decimal": (_is_decimal, "a number with the unit {unit}"),
    "range": (_is_range, "[low, high] with the unit {unit}, one side may be null"),
    "duration": (_is_duration, "a number or [low, high] with the unit 日, 周, 月 or 年"),
}
