"""Masked copies of a hospital's files, which `structure` reads as it does the files themselves.

Nothing that is written here tells a value that was replaced, the map apart.
"""

import json
import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

from spacy_tcm.deid.replace import Deidentified, Deidentifier
from spacy_tcm.errors import Errors, RecordError, Warnings
from spacy_tcm.records.inputs import BadInput, InputRecord

RECORDS, ERRORS, AUDIT = "records.jsonl", "errors.jsonl", "audit.json"


def write_masked(
    items: Iterable[InputRecord | BadInput],
    out: Path,
    deidentifier: Deidentifier,
    *,
    map_path: Path | None = None,
    keep_ids: bool = False,
    keep_image_names: bool = False,
) -> dict[str, Any]:
    """Write the masked copy of each record, and RETURN the audit: counts alone.

    out: a folder, made if need be. It gets ``records.jsonl`` (``id`` and ``text``; ``patient``
        where the record names one; ``image`` with ``keep_image_names``), ``errors.jsonl`` (the
        number of the record, code and message) and ``audit.json``.
    map_path: a file that tells what was replaced, readable by its owner alone: one line for each
        record, with its ids and ``items``, each with its ``kind``, places and ``value``.
    keep_ids: ids and patients stay as they are; else pseudonyms that the key gives.
    RAISES RecordError: the map would lie in the folder. OSError: something cannot be written.
    """
    if map_path is not None and out.resolve() in map_path.resolve().parents:
        raise RecordError(Errors.E638.format(path=map_path, out=out))
    out.mkdir(parents=True, exist_ok=True)
    counts: Counter[str] = Counter()
    records = errors = photos = 0
    with (
        (out / RECORDS).open("w", encoding="utf-8", newline="\n") as records_file,
        (out / ERRORS).open("w", encoding="utf-8", newline="\n") as errors_file,
        _open_map(map_path) as map_file,
    ):
        for number, item in enumerate(items, start=1):
            if isinstance(item, BadInput):
                errors += 1
                code, _, message = item.message.partition("] ")
                _write(errors_file, {"number": number, "code": code[1:], "message": message})
                continue
            name = (lambda value: value) if keep_ids else deidentifier.pseudonym
            result = deidentifier(item.text, item.patient or item.id)
            row = {"id": name(item.id), "text": result.text}
            if item.patient is not None:
                row["patient"] = name(item.patient)
            photos += item.image is not None or Warnings.W502 in item.warnings
            if keep_image_names and item.image is not None:
                row["image"] = item.image
            _write(records_file, row)
            if map_path is not None:
                _write(
                    map_file, {"id": item.id, "new_id": row["id"], "items": _values(item, result)}
                )
            counts.update(result.counts)
            records += 1
    audit = {
        "action": deidentifier.action,
        "records": records,
        "photos": photos,
        "errors": errors,
        "identifiers": sum(counts.values()),
        "by_kind": dict(sorted(counts.items())),
    }
    (out / AUDIT).write_text(json.dumps(audit, indent=2) + "\n", encoding="utf-8")
    return audit


def _values(item: InputRecord, result: Deidentified) -> list[dict[str, Any]]:
    return [
        {**piece._asdict(), "value": item.text[piece.start : piece.end]}
        for piece in result.map.pieces
    ]


def _open_map(path: Path | None) -> IO[str]:
    """For writing by nobody but its owner. Without a path, what is written goes nowhere."""
    if path is None:
        return open(os.devnull, "w", encoding="utf-8")
    path.unlink(missing_ok=True)  # its permissions would stay
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    return open(file, "w", encoding="utf-8", newline="\n")


def _write(stream: IO[str], value: dict[str, Any]) -> None:
    stream.write(json.dumps(value, ensure_ascii=False) + "\n")
