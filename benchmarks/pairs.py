"""Written records beside real tongue photos whose labels fit them, or do not.

No record of this repository came with a photo: one is chosen for each by what is known of both. A
record's values are those of ``meta.tongue`` or, where there is none, what the grammar reads in its
annotated TONGUE entities; a photo's are its labels. Only colours are compared: the labels of other
attributes never say "none".
"""

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from runs import read_labels

from spacy_tcm.fields.tongue import TongueGrammar
from spacy_tcm.tags import COLOUR_ATTRIBUTES

Values = dict[str, list[str]]  # field id -> values


def read_photos(folder: Path, split: str) -> list[dict[str, str]]:
    """The photos of a split with a colour label: image (its path), and the labels it has."""
    rows = [row for row in read_labels(folder) if row["split"] == split]
    return [
        {"image": str(folder / "images" / f"{row['image']}.jpg")}
        | {name: row[name] for name in COLOUR_ATTRIBUTES if row.get(name)}
        for row in rows
        if any(row.get(name) for name in COLOUR_ATTRIBUTES)
    ]


def record_values(record: Mapping[str, Any], grammar: TongueGrammar) -> Values:
    """What a record says of its tongue: field id -> values."""
    meta = (record.get("meta") or {}).get("tongue")
    if meta:
        return {f"舌象.{name}": list(values) for name, values in meta.items() if values}
    spans = [(s, record["text"][s:e]) for s, e, label in record["entities"] if label == "TONGUE"]
    return {k: found["value"] for k, found in grammar.read(spans, record["text"]).fields.items()}


def fits(photo: Mapping[str, str], values: Values, grammar: TongueGrammar) -> dict[str, bool]:
    """Of each attribute that both tell: whether the photo's label is what the record says."""
    found = {}
    for name in COLOUR_ATTRIBUTES:
        entry = grammar.photo[name]
        said, label = values.get(entry["field"]), photo.get(name)
        if said and label:
            shown = entry["values"][label] + entry.get("also_fits", {}).get(label, [])
            found[name] = any(value in shown for value in said)
    return found


def draw(
    photos: Sequence[dict[str, str]],
    values: Values,
    grammar: TongueGrammar,
    generator: random.Random,
    *,
    agree: bool,
) -> dict[str, str] | None:
    """A photo that fits in all that both tell, or in nothing of it; None if there is none."""
    able = [
        photo
        for photo in photos
        if (told := fits(photo, values, grammar)) and all(fit == agree for fit in told.values())
    ]
    return generator.choice(able) if able else None
