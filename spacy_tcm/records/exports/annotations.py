"""Records as annotation tools read and write them: brat, doccano, Label Studio.

Offsets are in characters (code points) in all three. Qualifiers travel as attributes in brat; in
the other two, labels alone do.
"""

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from spacy_tcm.errors import Errors, RecordError
from spacy_tcm.records.exports.common import Record

# Attribute of a record's entity -> the values that are a qualifier of an annotated record.
QUALIFIERS = {
    "negation": {"absent": "absent", "possible": "possible"},
    "temporality": {"past": "past", "future": "future"},
    "experiencer": {"family": "family"},
}


def qualifiers_of(entity: Any) -> list[str]:
    return [names[entity[key]] for key, names in QUALIFIERS.items() if entity.get(key) in names]


def to_annotated(record: Record) -> dict[str, Any]:
    """In the format of ``assets/records``: what can be corrected and trained on."""
    entities = record["entities"]
    return {
        "id": record["id"],
        "text": record["text"],
        "entities": [[e["start"], e["end"], e["label"]] for e in entities],
        "qualifiers": [[e["start"], e["end"], q] for e in entities for q in qualifiers_of(e)],
    }


# brat: NAME.txt and NAME.ann


def to_brat(record: Record) -> tuple[str, str]:
    """The text, and its annotations: entities as T, qualifiers as A, relations between entities as
    R. A line end inside an entity parts it, since an annotation is a line."""
    lines, number = [], 0
    for t, entity in enumerate(record["entities"], start=1):
        spans = list(_lines_of(record["text"], entity["start"], entity["end"]))
        place = ";".join(f"{start} {end}" for start, end in spans)
        surface = " ".join(record["text"][start:end] for start, end in spans)
        lines.append(f"T{t}\t{entity['label']} {place}\t{surface}")
        for qualifier in qualifiers_of(entity):
            number += 1
            lines.append(f"A{number}\t{qualifier} T{t}")
    related = [r for r in record["relations"] if "visit" not in (r["head"], r["tail"])]
    for number, relation in enumerate(related, start=1):
        ends = f"Arg1:T{relation['head'] + 1} Arg2:T{relation['tail'] + 1}"
        lines.append(f"R{number}\t{relation['type']} {ends}")
    return record["text"], "".join(line + "\n" for line in lines)


def _lines_of(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    for match in re.finditer(r"[^\r\n]+", text[start:end]):
        yield start + match.start(), start + match.end()


def read_brat(folder: Path) -> Iterator[dict[str, Any]]:
    """Annotated records of a folder of NAME.txt with NAME.ann, in order of their names; the id is
    the name. RAISES RecordError: a text has no annotations, or a line cannot be read."""
    files = sorted(folder.glob("*.txt")) if folder.is_dir() else []
    if not files:
        raise RecordError(Errors.E583.format(path=folder))
    for file in files:
        marks = file.with_suffix(".ann")
        if not marks.is_file():
            raise RecordError(Errors.E584.format(path=marks))
        yield {"id": file.stem, "text": _read_text(file), **_read_marks(marks)}


def _read_text(path: Path) -> str:
    """With its line ends as they are, or offsets would shift."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise RecordError(Errors.E587.format(path=path)) from None


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Not by `splitlines`: a text may hold other characters that end a line for Python."""
    for number, line in enumerate(_read_text(path).split("\n"), start=1):
        if line.strip():
            yield number, line.rstrip("\r")


def _read_marks(path: Path) -> dict[str, Any]:
    entities: dict[str, list[Any]] = {}
    qualifiers = []
    known = {name for names in QUALIFIERS.values() for name in names.values()}
    for number, line in _lines(path):
        key, _, rest = line.partition("\t")
        try:
            if key[:1] == "T":
                label, place = rest.partition("\t")[0].split(" ", 1)
                offsets = [int(x) for span in place.split(";") for x in span.split()]
                entities[key] = [min(offsets), max(offsets), label]
            elif key[:1] in ("A", "M") and rest.split()[0] in known:
                qualifiers.append(rest.split()[:2])
        except (ValueError, IndexError):
            raise RecordError(Errors.E585.format(path=path, line=number)) from None
    marked = [[*entities[t][:2], name] for name, t in qualifiers if t in entities]
    return {"entities": sorted(entities.values()), "qualifiers": sorted(marked)}


# doccano: JSON lines


def to_doccano(record: Record) -> dict[str, Any]:
    """A line of doccano's JSONL for sequence labelling."""
    return {
        "id": record["id"],
        "text": record["text"],
        "label": [[e["start"], e["end"], e["label"]] for e in record["entities"]],
    }


def read_doccano(path: Path) -> Iterator[dict[str, Any]]:
    """Annotated records of an export of doccano: ``label`` (or ``labels``) as lists, or
    ``entities`` as objects. RAISES RecordError: a line cannot be read."""
    for number, line in _lines(path):
        try:
            found = json.loads(line)
            marks = found.get("label", found.get("labels"))
            if marks is None:
                marks = [
                    [e["start_offset"], e["end_offset"], e["label"]] for e in found["entities"]
                ]
            yield {
                "id": str(found.get("id", number)),
                "text": found["text"],
                "entities": sorted([int(start), int(end), str(name)] for start, end, name in marks),
            }
        except (ValueError, KeyError, TypeError, AttributeError):
            raise RecordError(Errors.E585.format(path=path, line=number)) from None


# Label Studio: a JSON list of tasks


def to_label_studio(record: Record) -> dict[str, Any]:
    """A task whose prediction holds the entities; for ``<Labels name="label" toName="text">`` and
    ``<Text name="text" value="$text">``."""
    return {
        "data": {"text": record["text"], "id": record["id"]},
        "predictions": [
            {
                "model_version": record["schema_version"],
                "result": [
                    {
                        "id": f"e{number}",
                        "from_name": "label",
                        "to_name": "text",
                        "type": "labels",
                        "value": {
                            "start": e["start"],
                            "end": e["end"],
                            "text": e["text"],
                            "labels": [e["label"]],
                        },
                        **({} if e["score"] is None else {"score": e["score"]}),
                    }
                    for number, e in enumerate(record["entities"])
                ],
            }
        ],
    }


def read_label_studio(path: Path) -> Iterator[dict[str, Any]]:
    """Annotated records of an export in Label Studio's JSON: the first annotation of each task
    that was not cancelled, or else its first prediction. RAISES RecordError: a task cannot be
    read."""
    text = _read_text(path)
    try:
        tasks = json.loads(text)
        if not isinstance(tasks, list):
            raise ValueError
    except ValueError:
        raise RecordError(Errors.E585.format(path=path, line=1)) from None
    for number, task in enumerate(tasks, start=1):
        try:
            made = [a for a in task.get("annotations", []) if not a.get("was_cancelled")]
            chosen: Iterable[Any] = [*made, *task.get("predictions", [])][:1]
            marks = [
                [item["value"]["start"], item["value"]["end"], item["value"]["labels"][0]]
                for one in chosen
                for item in one["result"]
                if item["type"] == "labels"
            ]
            name = task["data"].get("id", task.get("id", number))
            yield {"id": str(name), "text": task["data"]["text"], "entities": sorted(marks)}
        except (KeyError, IndexError, TypeError, AttributeError):
            raise RecordError(Errors.E586.format(path=path, number=number)) from None
