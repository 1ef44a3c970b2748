"""What the exports share: records from a file, ids that stay the same, what counts as a fact."""

import json
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

from spacy_tcm.errors import Errors, RecordError
from spacy_tcm.record import SCHEMA_VERSION

Record = Mapping[str, Any]
Entity = Mapping[str, Any]

RECORDS = "records.jsonl"
# Of everything that has no code system of its own.
BASE = "urn:spacy-tcm:"


def read_records(path: Path) -> Iterator[dict[str, Any]]:
    """The records of a file of JSON lines, or of a folder that ``structure`` has filled, in order;
    those with an error are left out. RAISES RecordError: a line is no record of this version."""
    file = path / RECORDS if path.is_dir() else path
    if not file.is_file():
        raise RecordError(Errors.E580.format(path=file))
    with file.open(encoding="utf-8", newline="\n") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except ValueError:
                record = None
            if not isinstance(record, dict):
                raise RecordError(Errors.E581.format(path=file, line=number))
            if record.get("status", "ok") != "ok":
                continue
            if not _is_record(record):
                raise RecordError(Errors.E581.format(path=file, line=number))
            yield record


def _is_record(record: dict[str, Any]) -> bool:
    """Whether it has this version's parts, and entities that lie in its text."""
    version = str(record.get("schema_version")).partition(".")[0]
    kinds = {"text": str, "entities": list, "fields": dict, "relations": list}
    kinds |= {"prescriptions": list, "conflicts": list, "sections": list}
    if version != SCHEMA_VERSION.partition(".")[0] or any(
        not isinstance(record.get(name), kind) for name, kind in kinds.items()
    ):
        return False
    return all(
        isinstance(e, dict)
        and {"label", "text", "codes", "negation", "provenance"} <= e.keys()
        and type(e.get("start")) is type(e.get("end")) is int
        and 0 <= e["start"] < e["end"] <= len(record["text"])
        for e in record["entities"]
    )


def visit_id(record: Record) -> str:
    """The same for the same id and text, 16 hexadecimal digits."""
    named = json.dumps([record["id"], record["text"]], ensure_ascii=False)
    return blake2b(named.encode(), digest_size=8).hexdigest()


def entity_id(record: Record, number: int) -> str:
    """Of an entity, by its number in the record: visit, offsets and label."""
    entity = record["entities"][number]
    return f"{visit_id(record)}-{entity['start']}-{entity['end']}-{entity['label']}"


def is_fact(entity: Entity) -> bool:
    """Whether the note says that it is so, now, of the patient."""
    return (
        entity.get("negation") in (None, "present")
        and entity.get("certainty") in (None, "certain")
        and entity.get("temporality") in (None, "current")
        and entity.get("experiencer") in (None, "patient")
    )


def best_code(entity: Entity) -> dict[str, Any] | None:
    """The first of its codes, if it has a code at all."""
    return next((code for code in entity.get("codes", []) if code["code"]), None)


def concept(entity: Entity) -> str:
    """What it is called: the preferred term, or, unlinked, as the note says it."""
    codes = entity.get("codes", [])
    return codes[0]["display"] if codes else entity["text"]


def value_text(value: Any) -> str:
    """A field's value for people."""
    if isinstance(value, bool):
        return "是" if value else "否"
    if isinstance(value, list):
        if any(not isinstance(item, str) for item in value):
            return "～".join("" if item is None else f"{item:g}" for item in value)
        return "、".join(value)
    return f"{value:g}" if isinstance(value, int | float) else str(value)
