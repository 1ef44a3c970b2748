"""The tables of docs/data_card.md, counted in the records themselves."""

import json
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

from tables import table

RECORDS = Path(__file__).parents[1] / "assets" / "records"


@cache
def read(name: str) -> list[dict[str, Any]]:
    lines = (RECORDS / f"{name}.jsonl").read_text(encoding="utf8").splitlines()
    return [json.loads(line) for line in lines]


def sizes(split: dict[str, list[str]]) -> str:
    """By part."""
    parts = {**split, "all": [name for names in split.values() for name in names]}
    rows = []
    for part, names in parts.items():
        records = [record for name in names for record in read(name)]
        lengths = sorted(len(record["text"]) for record in records)
        counts = [
            len(names),
            len(records),
            sum(lengths),
            sum(len(record["entities"]) for record in records),
            sum("qualifiers" in record for record in records),
            sum(record["source"] != "written" for record in records),
        ]
        counts += [lengths[len(lengths) // 2], lengths[-1]]
        rows.append([part, *(f"{count:,}" for count in counts)])
    header = ["part", "files", "records", "characters", "entities", "with fields"]
    return table([*header, "from old books", "median length", "longest"], rows)


def labels(split: dict[str, list[str]]) -> str:
    """How often each label occurs, by part, the most frequent first."""
    found = {
        part: Counter(entity[2] for name in names for r in read(name) for entity in r["entities"])
        for part, names in split.items()
    }
    total = sum(found.values(), Counter())
    rows = [
        [label, *(f"{counts[label]:,}" for counts in found.values())]
        for label, _ in total.most_common()
    ]
    return table(["label", *found], rows)


BLOCKS = {
    "records-sizes": ("../assets/records/split.json", sizes),
    "records-labels": ("../assets/records/split.json", labels),
}
