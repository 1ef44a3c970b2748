"""The one place where photos are decoded. Every bad photo becomes a reason, never an exception.

Accepted are single still photos in JPEG, PNG, WebP, BMP or TIFF with 8 bits per colour channel,
in RGB, palette or RGBA (laid over white). Colour is what a tongue photo is for, so photos
without it (grayscale) or in colours that cannot be trusted (CMYK, Lab, 16-bit) are rejected, and
so are animations and multi-page files: which frame is meant is not ours to guess. The exception
is the phone's "multi-picture" JPEG, whose first picture is the photo.
"""

import os
import stat
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from io import BytesIO
from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING, Any, Literal

import numpy
from numpy.typing import NDArray

from spacy_tcm.errors import Errors, RecordError
from spacy_tcm.images.quality import measure_quality, verdict

if TYPE_CHECKING:
    from PIL import Image, ImageFile

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")
MAX_BYTES = 64 * 2**20
MAX_PIXELS = 64_000_000  # 256 MB once decoded
MIN_SIDE = 32
MAX_ASPECT = 4.0
MAX_PATH_BYTES = 4096
# Quality is measured at one size, so that the verdict does not depend on the network's input size.
QUALITY_SIDE = 128

_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM", b"II*\0", b"MM\0*")


@dataclass(frozen=True, eq=False)
class LoadedImage:
    """A photo ready for a network, or why there is none.

    status: "none" (no photo given), "ok" or "rejected".
    reasons: stable codes, see `spacy_tcm.images.reasons`; empty unless rejected.
    image: of Pillow, RGB, a square of black with the photo in its middle; None unless ok.
    quality: see `spacy_tcm.images.quality.measure_quality`; empty where nothing could be decoded.
    content: (top, left, height, width) of the photo in the square; the rest is padding.
    """

    status: Literal["none", "ok", "rejected"]
    reasons: tuple[str, ...] = ()
    image: "Image.Image | None" = None
    quality: dict[str, float] = field(default_factory=dict)
    content: tuple[int, int, int, int] = (0, 0, 0, 0)

    @cached_property
    def pixels(self) -> NDArray[numpy.uint8] | None:
        """uint8 (size, size, 3) RGB, nothing else (no EXIF, no place); None unless ok."""
        return None if self.image is None else numpy.array(self.image)


class _Rejection(Exception):
    """Carries a reason from where it is found to `load_tongue_image`."""

    def __init__(self, reason: str):
        super().__init__(reason)
        self.reason = reason


def load_tongue_image(image: object, size: int) -> LoadedImage:
    """Decode a tongue photo to a square. Raises for no value of `image`.

    image: `str` path, `bytes` of an encoded file, uint8 array (height, width, 3) RGB, or None.
    size: side of the square in pixels. The whole photo is kept: its longer side is brought to
        `size`, the shorter one is centred and padded with black. Cropping could cut off the tip
        or the edges of the tongue, where tooth marks are.
    """
    from PIL import Image

    if image is None:
        return LoadedImage("none")
    try:
        photo = _open(image, max(size, QUALITY_SIDE))
    except _Rejection as rejection:
        return LoadedImage("rejected", (rejection.reason,))
    quality = measure_quality(numpy.asarray(_fit(photo, QUALITY_SIDE)))
    if reasons := verdict(quality):
        return LoadedImage("rejected", reasons, quality=quality)
    content = _fit(photo, size)
    left, top = (size - content.width) // 2, (size - content.height) // 2
    square = Image.new("RGB", (size, size))
    square.paste(content, (left, top))
    box = (top, left, content.height, content.width)
    return LoadedImage("ok", image=square, quality=quality, content=box)


def photo_id(path: str) -> str | None:
    """A name for a photo that tells nothing of its file's name: "photo-" and the first 16 hex
    digits of the SHA-256 of the file. None if the file cannot be read."""
    try:
        return "photo-" + sha256(_read(path)).hexdigest()[:16]
    except _Rejection:
        return None


def resolve_inside(root: str | os.PathLike[str], relative: str) -> Path:
    """The file that a record's relative image path names under an image root.

    The file need not exist (`load_tongue_image` reports that). Paths use "/" on every system.
    Raises RecordError if the path leaves the root, by "..", as an absolute path or through a link,
    or is no path at all (not a string, empty, with a NUL, backslash or drive letter, over-long).
    """
    if not isinstance(relative, str):
        raise RecordError(Errors.E221.format(kind=type(relative).__name__))
    windows = "\\" in relative or PureWindowsPath(relative).drive
    if not relative or windows or relative.startswith("/") or ".." in relative.split("/"):
        raise RecordError(Errors.E222)
    try:
        if "\0" in relative or len(os.fsencode(relative)) > MAX_PATH_BYTES:
            raise ValueError
        inside = Path(root).resolve()
        target = (inside / relative).resolve()
    except (OSError, ValueError, RuntimeError):  # RuntimeError: a circle of links, before 3.13
        raise RecordError(Errors.E223) from None
    if inside not in target.parents:
        raise RecordError(Errors.E224)
    return target


def _open(image: object, side: int) -> "Image.Image":
    """An upright RGB photo from anything, reduced to no less than `side` pixels."""
    from PIL import Image

    if isinstance(image, numpy.ndarray):
        if image.dtype != numpy.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise _Rejection("wrong_array")
        _check_size(image.shape[1], image.shape[0])
        return Image.fromarray(numpy.ascontiguousarray(image))
    if isinstance(image, str):
        data = _read(image)
    elif isinstance(image, bytes):
        data = image
    else:
        raise _Rejection("wrong_kind")
    if not data:
        raise _Rejection("empty_file")
    if len(data) > MAX_BYTES:
        raise _Rejection("too_large")
    return _decode(data, side)


def _read(path: str) -> bytes:
    """The bytes of a regular file. Pipes and devices are never waited for."""
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise _Rejection("not_a_file")
        with open(os.open(path, flags), "rb") as file:
            if os.fstat(file.fileno()).st_size > MAX_BYTES:
                raise _Rejection("too_large")
            return file.read(MAX_BYTES + 1)
    except PermissionError:
        raise _Rejection("no_permission") from None
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: NUL, lone surrogate
        raise _Rejection("missing_file") from None
    except OSError:
        raise _Rejection("unreadable") from None


def _decode(data: bytes, side: int) -> "Image.Image":
    """The upright RGB photo in an encoded file, already reduced if the format makes that cheap."""
    from PIL import Image, TiffImagePlugin, UnidentifiedImageError, WebPImagePlugin  # noqa: F401

    # Pillow's decoders raise nearly every exception there is on hostile bytes (struct.error,
    # SyntaxError, ZeroDivisionError, ...), and warnings may have been made errors: this is the
    # boundary at which a broken photo turns into a reason.
    try:
        with Image.open(BytesIO(data), formats=FORMATS) as file:
            _check_header(file)
            file.draft("RGB", (side, side))  # JPEG only: decodes at 1/2, 1/4 or 1/8
            file.load()
            turn = _orientation(file)
            return _to_rgb(file if turn is None else file.transpose(turn))
    except _Rejection:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise _Rejection("too_large") from None
    except UnidentifiedImageError:
        known = data.startswith(_SIGNATURES) or (data[:4], data[8:12]) == (b"RIFF", b"WEBP")
        raise _Rejection("damaged" if known else "wrong_type") from None
    except Exception:
        raise _Rejection("damaged") from None


def _check_header(file: "ImageFile.ImageFile") -> None:
    """Reject what need not be decoded to be rejected."""
    _check_size(file.width, file.height)
    if any(";16" in str(tile[3]) for tile in file.tile) or file.mode.startswith("I;16"):
        raise _Rejection("sixteen_bit")
    if file.mode in ("1", "L", "LA", "I", "F"):
        raise _Rejection("grayscale")
    if file.mode not in ("RGB", "RGBA", "RGBX", "P", "PA"):
        raise _Rejection("not_rgb")
    if file.format not in ("JPEG", "MPO"):
        try:
            file.seek(1)  # not n_frames, which would walk through every page of a hostile file
        except EOFError:
            return
        raise _Rejection("several_frames")


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise _Rejection("too_large")
    if min(width, height) < MIN_SIDE:
        raise _Rejection("too_small")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise _Rejection("too_narrow")


def _orientation(file: "Image.Image") -> "Image.Transpose | None":
    """How to turn the decoded photo upright, from its EXIF."""
    from PIL import ExifTags, Image

    turns: dict[Any, Image.Transpose] = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }
    try:
        found = file.getexif().get(ExifTags.Base.Orientation)
        return turns.get(found)
    except Exception:  # hostile bytes again; pixels under a broken EXIF are still a photo
        return None


def _to_rgb(photo: "Image.Image") -> "Image.Image":
    from PIL import Image

    if photo.mode == "RGB":
        return photo.copy()
    if photo.mode in ("RGBA", "PA") or "transparency" in photo.info:
        layer = photo.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(white, layer).convert("RGB")
    return photo.convert("RGB")


def _fit(photo: "Image.Image", side: int) -> "Image.Image":
    """The photo with its longer side brought to `side`, aspect ratio kept."""
    from PIL import Image

    scale = side / max(photo.size)
    width, height = (max(1, round(length * scale)) for length in photo.size)
    return photo.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=2.0)
