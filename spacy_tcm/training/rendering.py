"""Rendered tongue photos for records that say what the tongue looks like."""

import hashlib
import re
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy

from spacy_tcm.errors import Errors, RecordError
from spacy_tcm.images.render import attributes_from_meta, render_tongue, save_rendered
from spacy_tcm.training.validation import Record

_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


def render_records(
    records: Iterable[Record], folder: str | Path, *, size: int, seed: int, share: float = 1.0
) -> Iterator[Record]:
    """Draw a photo for each record with ``meta.tongue``, and yield all records in order.

    A drawn record gets ``image`` (file name in the folder) and ``tongue`` (what the photo shows).
    What is drawn depends on the record's id and the seed, not on its place among the others.

    size: side of the square photo in pixels.
    share: the share of such records that get a photo, chosen by chance.
    RAISES RecordError: ``meta.tongue`` is not an object of lists of text.
    """
    Path(folder).mkdir(parents=True, exist_ok=True)
    taken: set[str] = set()
    for record in records:
        meta = record.get("meta", {}).get("tongue")
        own_seed = [seed, zlib.crc32(record["id"].encode())]
        generator = numpy.random.default_rng(own_seed)
        if meta and generator.random() < share:
            if not _is_object_of_lists(meta):
                place = f"record '{record['id']}'"
                message = Errors.E531.format(place=place, cause="not an object of lists of text")
                raise RecordError(message)
            drawing = int(generator.integers(2**31))
            attributes = attributes_from_meta(meta, seed=drawing)
            name = _file_name(record["id"], taken)
            pixels = render_tongue(attributes, size=size, seed=drawing)
            save_rendered(pixels, Path(folder) / name, attributes)
            record = {**record, "image": name, "tongue": attributes}
        yield record


def _is_object_of_lists(meta: object) -> bool:
    return isinstance(meta, dict) and all(
        isinstance(values, list) and all(isinstance(value, str) for value in values)
        for values in meta.values()
    )


def _file_name(record_id: str, taken: set[str]) -> str:
    """``id.jpg`` if that is a safe, free name on every system, else a name from the id's hash."""
    stem = record_id
    if not _SAFE.fullmatch(stem) or stem.casefold() in taken:
        stem = "record-" + hashlib.sha256(record_id.encode()).hexdigest()[:16]
    taken.add(stem.casefold())
    return f"{stem}.jpg"
