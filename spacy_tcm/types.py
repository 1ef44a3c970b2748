"""Names for the data that passes between parts. No behaviour, no heavy imports."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy
from numpy.typing import NDArray
from thinc.types import Floats2d, Floats3d

# What ``doc._.tongue_image`` may hold: a path, an encoded file, or an H x W x 3 RGB array.
TongueImage = str | bytes | NDArray[numpy.uint8]

# none: the record has no photo. ok: the photo was used. rejected: it could not be used (see
# ``reasons``). not_run: there is a photo, but no ``tongue_encoder`` has looked at it.
ImageStatus = Literal["none", "ok", "rejected", "not_run"]

# [start, end, label], character offsets into the text, end exclusive.
EntityTriple = tuple[int, int, str]


@dataclass(frozen=True)
class PhotoInfo:
    """What happened to one photo, as it goes into ``doc._.tongue``."""

    status: ImageStatus
    reasons: tuple[str, ...] = ()
    quality: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class TongueFeatures:
    """One batch of photos as numbers. Rows of docs without a usable photo are zero and unused.

    regions: (docs, regions, width). present: (docs,) bool. scores: (docs, sum of attribute
    values), unnormalised. info, photos (`spacy_tcm.models.photos.Photo`): one per doc.
    """

    regions: Floats3d
    present: NDArray[numpy.bool_]
    scores: Floats2d
    info: Sequence[PhotoInfo]
    photos: Sequence[Any] = ()
