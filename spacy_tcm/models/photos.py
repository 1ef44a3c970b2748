"""From whatever a Doc holds as its photo to what the tongue's network reads."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy
from numpy.typing import NDArray

from spacy_tcm.images.colour import (
    balancing_gains,
    cast_distance,
    measure_face,
    measure_zones,
    random_light,
    relight,
)
from spacy_tcm.images.load import QUALITY_SIDE, LoadedImage, load_tongue_image
from spacy_tcm.images.mask import dilate
from spacy_tcm.images.quality import judge_tongue
from spacy_tcm.images.region import cut_square, find_region
from spacy_tcm.models.segmenter import SegmenterModel
from spacy_tcm.types import PhotoInfo

SIDE = 512  # of the square in which the tongue is looked for and from which it is cut
NO_LIGHT = (0.0, 0.0, 0.0)
GREY = 127  # around a tongue that reaches the edge of its photo, or is shown alone


@dataclass(eq=False)
class Photo:
    """pixels: (size, size, 3) uint8 RGB, None where the photo cannot be used. mask: (size, size)
    bool, where the tongue is. colours: see `measure_zones`. seen: what trunks that do not change
    have made of it, by their fingerprints."""

    info: PhotoInfo
    pixels: NDArray[numpy.uint8] | None = None
    mask: NDArray[numpy.bool_] = field(default_factory=lambda: numpy.zeros((0, 0), dtype=bool))
    colours: NDArray[numpy.float32] = field(default_factory=lambda: numpy.zeros(0, dtype="float32"))
    seen: dict[str, tuple[Any, Any]] = field(default_factory=dict)


def prepare_photos(
    images: Sequence[object],
    size: int,
    segmenter: SegmenterModel | None = None,
    light: Sequence[float] = NO_LIGHT,
    balanced: bool = True,
) -> list[Photo]:
    """Load photos, find the tongue, take back the light, cut it out, measure its colours.

    images: see `load_tongue_image`. size: side of the result. segmenter: None takes the whole
    photo for the tongue, in the light it has. light: log gains of a light to simulate, see
    `relight`. balanced: take back what is not the usual light.
    """
    loaded = [load_tongue_image(image, size if segmenter is None else SIDE) for image in images]
    usable = [
        _Square(_info(photo), relight(photo.pixels, light), _content(photo))
        for photo in loaded
        if photo.pixels is not None
    ]
    prepared = iter(
        _whole(usable) if segmenter is None else _cut(usable, size, segmenter, balanced)
    )
    return [next(prepared) if p.pixels is not None else Photo(_info(p)) for p in loaded]


def tongue_alone(photo: Photo) -> NDArray[numpy.uint8]:
    """The pixels, grey where no tongue is: no lips, no chin. A rim of a fiftieth of the side stays,
    since tooth marks are at the edge. (size, size, 3)."""
    assert photo.pixels is not None
    near = dilate(photo.mask, max(1, len(photo.mask) // 50))
    return numpy.where(near[..., None], photo.pixels, GREY).astype("uint8")


class KeptPhotos:
    """Training sees each photo in every epoch, under a few lights: each is prepared once.

    Only files are kept, by their paths, and only up to ``most`` bytes of pixels; nothing of it is
    ever saved.
    """

    def __init__(self, most: int = 2**30):
        self._room = most
        self._photos: dict[tuple, Photo] = {}

    def prepare(
        self,
        images: Sequence[object],
        size: int,
        segmenter: SegmenterModel | None = None,
        *,
        balanced: bool = True,
        lights: int = 0,
    ) -> list[Photo]:
        """As `prepare_photos`, each photo under one of so many lights or, as likely, its own."""
        found = []
        for image in images:
            number = int(numpy.random.randint(lights + 1)) if lights else 0
            net = None if segmenter is None else segmenter.attrs["fingerprint"]
            key = (image, number, size, net, balanced)
            if isinstance(image, str) and key in self._photos:
                found.append(self._photos[key])
                continue
            light: Sequence[float] = NO_LIGHT
            if number:
                seed = [number, *str(image).encode()[-16:]]
                light = random_light(numpy.random.default_rng(seed))
            (photo,) = prepare_photos([image], size, segmenter, light, balanced)
            size_in_bytes = 0 if photo.pixels is None else photo.pixels.nbytes
            if isinstance(image, str) and size_in_bytes <= self._room:
                self._room -= size_in_bytes
                self._photos[key] = photo
            found.append(photo)
        return found


KEPT = KeptPhotos()


@dataclass(frozen=True, eq=False)
class _Square:
    """A loaded photo. content: where it is not padding, (side, side) bool."""

    info: PhotoInfo
    pixels: NDArray[numpy.uint8]
    content: NDArray[numpy.bool_]


def _info(photo: LoadedImage) -> PhotoInfo:
    return PhotoInfo(photo.status, photo.reasons, dict(photo.quality))


def _content(photo: LoadedImage) -> NDArray[numpy.bool_]:
    assert photo.pixels is not None
    top, left, height, width = photo.content
    inside = numpy.zeros(photo.pixels.shape[:2], dtype=bool)
    inside[top : top + height, left : left + width] = True
    return inside


def _whole(photos: Sequence[_Square]) -> list[Photo]:
    return [
        Photo(photo.info, photo.pixels, photo.content, measure_zones(photo.pixels, photo.content))
        for photo in photos
    ]


def _cut(
    photos: Sequence[_Square], size: int, segmenter: SegmenterModel, balanced: bool
) -> list[Photo]:
    if not photos:
        return []
    side = segmenter.attrs["image_size"]
    small = numpy.stack([_resize(photo.pixels, side) for photo in photos])
    content = [_resize_box(photo.content, side) for photo in photos]
    prepared = []
    for photo, view, inside, probability in zip(
        photos, small, content, segmenter.predict(small), strict=True
    ):
        region = find_region(probability, inside)
        if region is None:
            prepared.append(Photo(PhotoInfo("rejected", ("no_tongue",), photo.info.quality)))
            continue
        square = region.square()
        top, left, length = (round(value * SIDE / side) for value in square)
        pixels = cut_square(photo.pixels, (top, left, length), GREY)
        mask = cut_square(region.mask, square)
        face = measure_face(view, inside & ~region.mask)
        cast = 0.0 if face is None else cast_distance(face)
        quality, reasons = judge_tongue(
            _resize(pixels, QUALITY_SIDE), _resize(mask, QUALITY_SIDE), region, cast
        )
        quality = {**photo.info.quality, **quality}
        if reasons:
            prepared.append(Photo(PhotoInfo("rejected", reasons, quality)))
            continue
        pixels = relight(_resize(pixels, size), balancing_gains(face) if balanced else NO_LIGHT)
        mask = _resize(mask, size)
        colours = measure_zones(pixels, mask)
        prepared.append(Photo(PhotoInfo("ok", (), quality), pixels, mask, colours))
    return prepared


def _resize_box(mask: NDArray[numpy.bool_], side: int) -> NDArray[numpy.bool_]:
    """`_resize` of a mask that is one box, as wide or as high as the square: from its two sides."""
    from PIL import Image

    lines = (Image.fromarray(numpy.any(mask, axis)[None].astype("uint8") * 255) for axis in (1, 0))
    small = (line.resize((side, 1), Image.Resampling.BILINEAR) for line in lines)
    rows, columns = (numpy.asarray(line).ravel() >= 128 for line in small)
    return numpy.logical_and.outer(rows, columns)


def _resize(plane: NDArray, side: int) -> NDArray:
    """A square, (n, n) bool or (n, n, 3) uint8, as another of its kind."""
    from PIL import Image

    if plane.dtype == bool:
        return _resize(plane.astype("uint8") * 255, side) >= 128
    image = Image.fromarray(plane).resize((side, side), Image.Resampling.BILINEAR, reducing_gap=2.0)
    return numpy.asarray(image)
