"""The record: what is known of one note and its photo, as one JSON-able dict."""

import json
import math
from functools import cache
from pathlib import Path
from typing import Any

import numpy
from spacy.tokens import Doc, Span

SCHEMA_VERSION = "1.0"
SCHEMA_FILE = Path(__file__).parent / "record.schema.json"

_QUALIFIERS = ("negation", "certainty", "temporality", "experiencer")


@cache
def read_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of records: what `make_record` returns is valid by it."""
    return json.loads(SCHEMA_FILE.read_text(encoding="utf8"))


def make_record(doc: Doc) -> dict[str, Any]:
    """Assemble what the pipeline found, as `read_schema` describes it: ``schema_version``, ``id``
    (``doc._.record_id``), ``text``, ``sections``, ``entities``, ``tongue``, ``fields``,
    ``conflicts``, ``prescriptions``, ``drugs``, ``relations``, ``syndrome``, ``deid`` and
    ``provenance``. What a component would have told that did not run is empty or None.

    Each entity, field, conflict, prescription, drug and relation says under its own ``provenance``
    which component, of which version, told it, from where in the text and with what score; that of
    the record tells it of whole parts (``sections``, and of entities ``qualifiers`` and ``codes``).
    Offsets are in characters, ends exclusive.

    RETURNS: only dicts with string keys, lists, strings, numbers, bools and None; later versions
        add keys.
    RAISES TypeError: an attribute of the Doc holds something else.
    """
    entities = [_entity(ent) for ent in doc.ents]
    return {
        "schema_version": SCHEMA_VERSION,
        "id": doc._.record_id,
        "text": doc.text,
        "sections": _plain(doc._.sections),
        "entities": entities,
        "tongue": _plain(doc._.tongue),
        "fields": {
            field: _with_provenance(doc, "fields", found, found.get("confidence"))
            for field, found in doc._.fields.items()
        },
        "conflicts": [
            _with_provenance(doc, "conflicts", found, found.get("probability"))
            for found in doc._.conflicts
        ],
        "prescriptions": [
            _with_provenance(doc, "prescriptions", found) for found in doc._.prescriptions
        ],
        "drugs": [_with_provenance(doc, "drugs", found) for found in doc._.drugs],
        "relations": [
            _with_provenance(doc, "relations", found, found.get("score"), _extent(found, entities))
            for found in doc._.relations
        ],
        "syndrome": _plain(doc._.syndrome),
        "deid": _plain(doc._.deid),
        "provenance": _plain(doc._.provenance),
    }


def _entity(ent: Span) -> dict[str, Any]:
    found = {
        "start": ent.start_char,
        "end": ent.end_char,
        "label": ent.label_,
        "text": ent.text,
        "score": _plain(ent._.score),
        "photo_gate": _plain(ent._.photo_gate),
        **{name: ent._.get(name) for name in _QUALIFIERS},
        "section": ent._.section,
        "codes": _plain(ent._.codes or []),
    }
    return _with_provenance(ent.doc, "entities", found, found["score"])


def _with_provenance(
    doc: Doc,
    part: str,
    found: dict[str, Any],
    score: float | None = None,
    extent: tuple[int | None, int | None] | None = None,
) -> dict[str, Any]:
    """What was found, and who found it; extent: from where to where, if not as it says itself."""
    start, end = extent or (found.get("start"), found.get("end"))
    known = doc._.provenance.get(part, {"component": None, "version": None})
    return {
        **_plain(found),
        "provenance": {**known, "start": start, "end": end, "score": _plain(score)},
    }


def _extent(
    relation: dict[str, Any], entities: list[dict[str, Any]]
) -> tuple[int | None, int | None]:
    ends = [entities[i] for i in (relation["head"], relation["tail"]) if isinstance(i, int)]
    if not ends:
        return None, None
    return min(e["start"] for e in ends), max(e["end"] for e in ends)


def _plain(value: Any) -> Any:
    """The value in types that JSON knows; numbers that are none (NaN, infinity) become None."""
    if isinstance(value, numpy.generic | numpy.ndarray):
        value = value.tolist()
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return round(value, 4) if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    raise TypeError(f"{type(value).__name__} has no place in a record")
