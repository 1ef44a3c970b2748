"""Records as a table, one row a visit, for statisticians: CSV and Parquet."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from spacy_tcm.errors import Errors, ModelError
from spacy_tcm.records.exports.common import Record, concept, is_fact, visit_id
from spacy_tcm.tags import LABELS

SEPARATOR = "、"


def make_rows(records: Iterable[Record], fields: Sequence[str]) -> Iterator[dict[str, Any]]:
    """One row a visit: ``visit``, ``id``; a column for each field, and, of ranges, durations and
    quantities, ``FIELD.low``, ``FIELD.high``, ``FIELD.unit``; and one for each entity label with
    the preferred terms that the note affirms, now, of the patient. Lists are joined by 、; what was
    not mentioned is None.

    fields: the ids of the fields, so that all rows have the same columns.
    """
    for record in records:
        row: dict[str, Any] = {"visit": visit_id(record), "id": record["id"]}
        for field in fields:
            row |= _columns(field, record["fields"].get(field))
        for label in LABELS:
            told = [concept(e) for e in record["entities"] if e["label"] == label and is_fact(e)]
            row[label] = SEPARATOR.join(dict.fromkeys(told)) or None
        yield row


def _columns(field: str, found: dict[str, Any] | None) -> dict[str, Any]:
    empty = {f"{field}{part}": None for part in ("", ".low", ".high", ".unit")}
    if found is None:
        return empty
    value, unit = found["value"], found.get("unit")
    if isinstance(value, list) and any(not isinstance(item, str) for item in value):
        low, high = value
        return {**empty, f"{field}.low": low, f"{field}.high": high, f"{field}.unit": unit}
    if isinstance(value, int | float) and not isinstance(value, bool):
        same = {f"{field}.low": value, f"{field}.high": value, f"{field}.unit": unit}
        return {**empty, field: str(value), **same}
    if isinstance(value, list):
        return {**empty, field: SEPARATOR.join(value)}
    return {**empty, field: ("是" if value else "否") if isinstance(value, bool) else str(value)}


def write_csv(path: Path, rows: Iterable[dict[str, Any]]) -> int:
    """With a byte order mark, so that spreadsheets see UTF-8. RETURNS: how many rows."""
    count, writer = 0, None
    with path.open("w", encoding="utf-8-sig", newline="") as out:
        for row in rows:
            if writer is None:
                writer = csv.DictWriter(out, list(row))
                writer.writeheader()
            writer.writerow({key: _defused(value) for key, value in row.items()})
            count += 1
    return count


def _defused(value: Any) -> Any:
    """A spreadsheet takes text that begins so for a formula, and would compute it."""
    return "'" + value if isinstance(value, str) and value[:1] in ("=", "+", "@") else value


def write_parquet(path: Path, rows: Iterable[dict[str, Any]]) -> int:
    """Numbers as double, all else as text. RETURNS: how many rows. RAISES ModelError: pyarrow is
    not there."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ModuleNotFoundError as error:
        raise ModelError(Errors.E590.format(package=error.name)) from None
    found = list(rows)
    names = list(found[0]) if found else ["visit", "id"]
    kinds = {
        name: pyarrow.float64() if name.endswith((".low", ".high")) else pyarrow.string()
        for name in names
    }
    table = pyarrow.Table.from_pylist(found, pyarrow.schema(list(kinds.items())))
    parquet.write_table(table, path)
    return len(found)
