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
    usable = [photo for photo in loaded if photo.image is not None]
    lit = [_relight(photo.image, light) for photo in usable]
    prepared = iter(
        _whole(usable, lit) if segmenter is None else _cut(usable, lit, size, segmenter, balanced)
    )
    return [next(prepared) if p.image is not None else Photo(_info(p)) for p in loaded]


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


def _info(photo: LoadedImage) -> PhotoInfo:
    return PhotoInfo(photo.status, photo.reasons, dict(photo.quality))


def _relight(image: Any, light: Sequence[float]) -> Any:
    """`relight` of Pillow's image."""
    from PIL import Image

    return Image.fromarray(relight(numpy.asarray(image), light)) if any(light) else image


def _whole(photos: Sequence[LoadedImage], images: Sequence[Any]) -> list[Photo]:
    prepared = []
    for photo, image in zip(photos, images, strict=True):
        pixels, content = numpy.asarray(image), _content(photo, image.width)
        prepared.append(Photo(_info(photo), pixels, content, measure_zones(pixels, content)))
    return prepared


def _cut(
    photos: Sequence[LoadedImage],
    images: Sequence[Any],
    size: int,
    segmenter: SegmenterModel,
    balanced: bool,
) -> list[Photo]:
    """images: of Pillow, SIDE squares."""
    from PIL import Image

    if not photos:
        return []
    side = segmenter.attrs["image_size"]
    small = numpy.stack([numpy.asarray(_resize(image, side)) for image in images])
    prepared = []
    for photo, image, view, probability in zip(
        photos, images, small, segmenter.predict(small), strict=True
    ):
        inside = _content(photo, side)
        region = find_region(probability, inside)
        if region is None:
            prepared.append(Photo(PhotoInfo("rejected", ("no_tongue",), photo.quality)))
            continue
        square = region.square()
        cut = _cut_image(image, *(round(value * SIDE / side) for value in square))
        mask = Image.fromarray(cut_square(region.mask, square).astype("uint8") * 255)
        face = measure_face(view, inside & ~region.mask)
        cast = 0.0 if face is None else cast_distance(face)
        quality, reasons = judge_tongue(
            numpy.asarray(_resize(cut, QUALITY_SIDE)), _to_mask(mask, QUALITY_SIDE), region, cast
        )
        quality = {**photo.quality, **quality}
        if reasons:
            prepared.append(Photo(PhotoInfo("rejected", reasons, quality)))
            continue
        gains = balancing_gains(face) if balanced else NO_LIGHT
        pixels = relight(numpy.asarray(_resize(cut, size)), gains)
        shown = _to_mask(mask, size)
        prepared.append(
            Photo(PhotoInfo("ok", (), quality), pixels, shown, measure_zones(pixels, shown))
        )
    return prepared


def _cut_image(image: Any, top: int, left: int, length: int) -> Any:
    """`cut_square` of Pillow's image, on grey."""
    from PIL import Image

    if min(top, left) >= 0 and max(top, left) + length <= image.width:
        return image.crop((left, top, left + length, top + length))
    box = (
        max(left, 0),
        max(top, 0),
        min(left + length, image.width),
        min(top + length, image.height),
    )
    out = Image.new("RGB", (length, length), (GREY, GREY, GREY))
    out.paste(image.crop(box), (box[0] - left, box[1] - top))
    return out


def _content(photo: LoadedImage, side: int) -> NDArray[numpy.bool_]:
    """Where a photo, as a square of another size, is not padding: (side, side)."""
    from PIL import Image

    assert photo.image is not None
    top, left, height, width = photo.content
    lines = []
    for start, length in ((top, height), (left, width)):
        line = Image.new("L", (photo.image.width, 1))
        line.paste(255, (start, 0, start + length, 1))
        lines.append(numpy.asarray(line.resize((side, 1), Image.Resampling.BILINEAR))[0] >= 128)
    return numpy.logical_and.outer(*lines)


def _to_mask(image: Any, side: int) -> NDArray[numpy.bool_]:
    """Of a mask as a picture, of white: one of another size."""
    return numpy.asarray(_resize(image, side)) >= 128


def _resize(image: Any, side: int) -> Any:
    """A square of Pillow's as one of another size."""
    from PIL import Image

    return image.resize((side, side), Image.Resampling.BILINEAR, reducing_gap=2.0)
