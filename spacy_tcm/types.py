"""Names for the data that passes between parts. No code, no heavy imports."""

from typing import Literal

import numpy
from numpy.typing import NDArray

# What ``doc._.tongue_image`` may hold: a path, an encoded file, or an H x W x 3 RGB array.
TongueImage = str | bytes | NDArray[numpy.uint8]

# none: the record has no photo. ok: the photo was used. rejected: it could not be used (see
# ``reasons``). not_run: there is a photo, but no ``tongue_encoder`` has looked at it.
ImageStatus = Literal["none", "ok", "rejected", "not_run"]

# [start, end, label], character offsets into the text, end exclusive.
EntityTriple = tuple[int, int, str]
