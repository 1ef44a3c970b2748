"""Records written as text with inline marks: ``⟦surface|LABEL⟧``, ``⟦surface|LABEL|qualifier⟧``.

A file holds any number of records::

    === id | department | style
    the text with marks, one or more lines
    --- fields
    {"field id": {"value": ..., "evidence": "..."}}
    --- meta
    {"tongue": {...}, "syndrome": [...]}

The last four lines may be left out together. No line of the text begins with ``--- ``.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path

from spacy_tcm.errors import Errors, RecordError
from spacy_tcm.training.validation import QUALIFIERS, Record

_MARK = re.compile(r"⟦([^⟦⟧|]+)\|([A-Z_]+)(?:\|([a-z+]+))?⟧")
_LABEL = re.compile(r"[A-Z_]+")
_RESERVED = re.compile(r"[⟦⟧|]")
_HEADER = "=== "
_FIELDS = "--- fields"
_META = "--- meta"
_SECTION = "--- "
_WRITABLE = {
    *("id", "text", "entities", "qualifiers", "fields", "meta"),
    *("department", "style", "source", "file"),
}


def read_markup(path: Path) -> Iterator[tuple[int, Record | RecordError]]:
    """The records of a file, in order: (line of the header, record or what is wrong with it).

    A record has the keys id, text, entities, qualifiers, fields, meta, department, style,
    source ("written") and file (the stem of the file's name). Joined qualifiers (past+absent)
    become one [start, end, qualifier] each.
    RAISES RecordError: the file is not UTF-8, or has text before the first header.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError:
        raise RecordError(Errors.E304.format(path=path)) from None
    starts = [i for i, line in enumerate(lines) if line.startswith(_HEADER)]
    if any(line.strip() for line in lines[: starts[0] if starts else len(lines)]):
        raise RecordError(Errors.E335.format(path=path))
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        try:
            yield start + 1, parse_record(lines[start:end], path, start + 1)
        except RecordError as error:
            yield start + 1, error


def parse_record(lines: list[str], path: Path, first_line: int = 1) -> Record:
    """One record from its lines, the header first. RAISES RecordError: file, line, record id."""
    header = [part.strip() for part in lines[0].removeprefix(_HEADER).split("|")]

    def place(offset: int) -> str:
        return f"{path}, line {first_line + offset}, record '{header[0]}'"

    if len(header) != 3 or not header[0]:
        raise RecordError(Errors.E330.format(place=f"{path}, line {first_line}"))
    while lines[-1].strip() == "":
        lines = lines[:-1]
    objects = {}
    marked = lines[1:]
    keyed: tuple[tuple[str, int], ...] = ()
    if _FIELDS in lines or _META in lines:
        # From the end: text, --- fields, JSON, --- meta, JSON.
        if len(lines) < 6 or lines[-4] != _FIELDS or lines[-2] != _META:
            raise RecordError(Errors.E331.format(place=place(0)))
        keyed = (("fields", len(lines) - 3), ("meta", len(lines) - 1))
        marked = lines[1:-4]
    if not marked:
        raise RecordError(Errors.E331.format(place=place(0)))
    for key, i in keyed:
        try:
            objects[key] = json.loads(lines[i])
        except json.JSONDecodeError as error:
            message = Errors.E305.format(place=place(i), cause=f"{error.msg}, column {error.colno}")
            raise RecordError(message) from None
    for i, line in enumerate(marked, 1):
        if line.startswith(_SECTION):
            raise RecordError(Errors.E331.format(place=place(i)))
        if _RESERVED.search(_MARK.sub("", line)):
            raise RecordError(Errors.E332.format(place=place(i)))
        for surface, _, qualifiers in _MARK.findall(line):
            if surface != surface.strip():
                raise RecordError(Errors.E333.format(place=place(i)))
            names = qualifiers.split("+") if qualifiers else []
            if len(set(names)) < len(names) or not set(names) <= set(QUALIFIERS):
                raise RecordError(Errors.E332.format(place=place(i)))
    text, entities, qualified = _strip_marks("\n".join(marked))
    return {
        "id": header[0],
        "text": text,
        "entities": entities,
        "qualifiers": qualified,
        **objects,
        "department": header[1],
        "style": header[2],
        "source": "written",
        "file": path.stem,
    }


def _strip_marks(marked: str) -> tuple[str, list[list], list[list]]:
    """(text, [[start, end, label]], [[start, end, qualifier]]) of text with sound marks."""
    pieces: list[str] = []
    entities: list[list] = []
    qualified: list[list] = []
    length = last = 0
    for mark in _MARK.finditer(marked):
        surface, label, qualifiers = mark.groups()
        start = length + mark.start() - last
        end = start + len(surface)
        pieces += marked[last : mark.start()], surface
        entities.append([start, end, label])
        qualified += [[start, end, name] for name in (qualifiers or "").split("+") if name]
        length, last = end, mark.end()
    return "".join([*pieces, marked[last:]]), entities, qualified


def to_markup(record: Record) -> str:
    """The inverse of :func:`parse_record`: ``parse_record(to_markup(r).split("\\n"), ...) == r``.

    RAISES RecordError: the record holds something that the format has no place for.
    """

    def refuse(cause: str) -> RecordError:
        return RecordError(Errors.E334.format(record=record["id"], cause=cause))

    text = record["text"]
    header = [record["id"], record.get("department", ""), record.get("style", "")]
    if extra := sorted(set(record) - _WRITABLE):
        raise refuse(f"no place for {', '.join(extra)}")
    if any(_RESERVED.search(part) or "\n" in part or part != part.strip() for part in header):
        raise refuse("the header has a bar, bracket, line break or outer space")
    if _RESERVED.search(text) or "\r" in text:
        raise refuse("the text has a bar, a mark bracket or a carriage return")
    if any(line.startswith((_HEADER, _SECTION)) for line in text.split("\n")):
        raise refuse("a line of the text begins with `=== ` or `--- `")
    names: dict[tuple[int, int], list[str]] = {}
    for start, end, name in record.get("qualifiers", []):
        names.setdefault((start, end), []).append(name)
    pieces: list[str] = []
    last = 0
    for start, end, label in sorted(record["entities"]):
        surface = text[start:end]
        if not _LABEL.fullmatch(label):
            raise refuse(f"label '{label}' is not of capitals and underscores")
        if surface != surface.strip() or "\n" in surface or start < last:
            raise refuse(f"entity [{start}, {end}) overlaps, spans lines or has an outer space")
        parts = [surface, label, "+".join(names.get((start, end), []))]
        pieces += text[last:start], "⟦" + "|".join(part for part in parts if part) + "⟧"
        last = end
    marked = "".join([*pieces, text[last:]])
    return "\n".join(
        [
            _HEADER + " | ".join(header),
            marked,
            _FIELDS,
            json.dumps(record.get("fields", {}), ensure_ascii=False),
            _META,
            json.dumps(record.get("meta", {}), ensure_ascii=False),
        ]
    )
