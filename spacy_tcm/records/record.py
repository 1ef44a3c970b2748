"""The record: what is known of one note and its photo, as one JSON-able dict."""

import math
from typing import Any

import numpy
from spacy.tokens import Doc

from spacy_tcm.extensions import install_extensions

SCHEMA_VERSION = "0.2"


def make_record(doc: Doc) -> dict[str, Any]:
    """Assemble what the pipeline found.

    RETURNS: ``schema_version``; ``id`` (``doc._.record_id``, may be None); ``text``; ``entities``,
        a list of ``{"start", "end", "label", "text", "score", "photo_gate"}`` in order, with
        character offsets (end exclusive), the probability, and how far the photo was let in, both
        0 to 1 or None; ``tongue`` (``doc._.tongue``);
        ``fields`` and ``conflicts`` (``doc._.fields``, ``doc._.conflicts``), empty where the
        component ``tcm_fields`` found none or did not run.
        Only dicts with string keys, lists, strings, numbers, bools and None; later versions add
        keys.
    RAISES TypeError: ``doc._.tongue`` or another of these holds something else.
    """
    return {
        "schema_version": SCHEMA_VERSION,
        "id": doc._.record_id,
        "text": doc.text,
        "entities": [
            {
                "start": ent.start_char,
                "end": ent.end_char,
                "label": ent.label_,
                "text": ent.text,
                "score": _plain(ent._.score),
                "photo_gate": _plain(ent._.photo_gate),
            }
            for ent in doc.ents
        ],
        "tongue": _plain(doc._.tongue),
        "fields": _plain(doc._.fields),
        "conflicts": _plain(doc._.conflicts),
    }


def install_record_extension() -> None:
    """Register ``doc._.record``, a getter of :func:`make_record`. Safe to call more than once."""
    install_extensions()
    if not Doc.has_extension("record"):
        Doc.set_extension("record", getter=make_record)


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
