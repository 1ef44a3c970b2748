"""The light of a photo and the colour of a tongue.

Photos of faces average pink, so making them average grey (Buchsbaum 1980) would drain the colour
that a tongue is judged by. The reference here is the face around the tongue, and only what goes
beyond the variation between faces is taken for the light: a usual photo stays as it is.
"""

from collections.abc import Sequence

import numpy
from numpy.typing import NDArray

# Logarithms of R/G and B/G (linear) of the face around the tongue, under the even light of the
# photos that attributes are learned from: medians, and spread along (nearly) these axes, over the
# 387 training photos of TonguExpert with a colour label. Within RADIUS, nothing is taken back.
FACE_CHROMA = (0.924, -0.310)
FACE_DEVIATION = (0.117, 0.092)
RADIUS = 1.5
MIN_FACE = 200  # pixels of face that say anything

# A tongue in five zones: (top, bottom, left, right), shares of its height and width. Left and right
# are the viewer's: in a photo taken from the front, the tongue's own right side is on the left.
ZONES = {
    "root": (0.0, 0.33, 0.0, 1.0),
    "centre": (0.33, 0.75, 0.3, 0.7),
    "tip": (0.75, 1.0, 0.0, 1.0),
    "left": (0.33, 0.75, 0.0, 0.3),
    "right": (0.33, 0.75, 0.7, 1.0),
}
N_COLOURS = 6 * len(ZONES)

_XYZ = numpy.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)
_FROM_LINEAR = (_XYZ / numpy.array([[0.95047], [1.0], [1.08883]])).astype("float32")  # D65
_STEPS = numpy.arange(256) / 255
_LINEAR = numpy.where(_STEPS <= 0.04045, _STEPS / 12.92, ((_STEPS + 0.055) / 1.055) ** 2.4)
_LINEAR = _LINEAR.astype("float32")


def linear_from_rgb(pixels: NDArray[numpy.uint8]) -> NDArray[numpy.float32]:
    """sRGB 0..255 -> linear light 0..1 (IEC 61966-2-1), same shape."""
    return _LINEAR.take(pixels, mode="clip")  # clips nothing, and is faster than the others


def channels_of(pixels: NDArray[numpy.uint8]) -> NDArray[numpy.uint8]:
    """(height, width, 3) -> (3, height, width): NumPy is slow on rows as short as three."""
    return numpy.ascontiguousarray(pixels.transpose(2, 0, 1))


def lab_from_rgb(channels: NDArray[numpy.uint8]) -> NDArray[numpy.float32]:
    """sRGB (3, pixels) -> CIE Lab (3, pixels), D65: L 0..100, a and b about -128..128."""
    xyz = _FROM_LINEAR @ linear_from_rgb(channels)
    x, y, z = numpy.where(xyz > 216 / 24389, numpy.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return numpy.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def relight(pixels: NDArray[numpy.uint8], log_gains: Sequence[float]) -> NDArray[numpy.uint8]:
    """The photo, (..., 3) sRGB, under a light whose R, G, B are stronger by these logarithms (von
    Kries 1902, in linear light). What grows brighter than white is clipped, as by a camera."""
    if not any(log_gains):
        return pixels
    lit = numpy.minimum(_LINEAR[:, None] * numpy.exp(numpy.asarray(log_gains)), 1.0)
    encoded = numpy.where(lit <= 0.0031308, 12.92 * lit, 1.055 * lit ** (1 / 2.4) - 0.055)
    table = (255 * encoded + 0.5).astype("uint8")
    relit = numpy.empty_like(pixels)
    for c in range(3):
        relit[..., c] = table[:, c][pixels[..., c]]
    return relit


def measure_face(
    pixels: NDArray[numpy.uint8], face: NDArray[numpy.bool_]
) -> tuple[float, float] | None:
    """Logarithms of R/G and B/G of the mean linear light where face is true.

    RETURNS: None if there is too little of it that is neither black nor clipped.
    """
    channels = channels_of(pixels).reshape(3, -1).compress(face.ravel(), axis=1)
    brightest = channels.max(0)
    seen = (brightest > 24) & (brightest < 252)
    if seen.sum() < MIN_FACE:
        return None
    red, green, blue = linear_from_rgb(channels.compress(seen, axis=1)).mean(1) + 1e-6
    return float(numpy.log(red / green)), float(numpy.log(blue / green))


def balancing_gains(face: tuple[float, float] | None) -> tuple[float, float, float]:
    """Log gains that take back what a face's chroma (see `measure_face`) has over a usual one.

    Of a chroma at a distance of d > RADIUS standard deviations, RADIUS / d of the way remains.
    """
    if face is None:
        return 0.0, 0.0, 0.0
    red, blue = (value - usual for value, usual in zip(face, FACE_CHROMA, strict=True))
    excess = max(0.0, 1 - RADIUS / max(cast_distance(face), 1e-6))
    return -excess * red, 0.0, -excess * blue


def cast_distance(face: tuple[float, float]) -> float:
    """How far a face's chroma is from a usual one, in standard deviations between faces."""
    red, blue = (
        (value - usual) / deviation
        for value, usual, deviation in zip(face, FACE_CHROMA, FACE_DEVIATION, strict=True)
    )
    return float(numpy.hypot(red, blue))


def find_zones(mask: NDArray[numpy.bool_]) -> NDArray[numpy.bool_]:
    """Which pixels of a tongue lie in each of ZONES: (zones, height, width).

    mask: (height, width), where the tongue is; not empty.
    """
    y, x = _shares(mask)
    return numpy.stack(
        [
            mask & _within(y, top, bottom)[:, None] & _within(x, left, right)
            for top, bottom, left, right in ZONES.values()
        ]
    )


def _shares(mask: NDArray[numpy.bool_]) -> list[NDArray[numpy.float64]]:
    """Where rows and columns are, from 0 at the first with a pixel of the mask to 1 at the last."""
    found = []
    for axis in (1, 0):
        used = numpy.flatnonzero(mask.any(axis))
        found.append((numpy.arange(mask.shape[1 - axis]) - used[0]) / max(1, used[-1] - used[0]))
    return found


def _within(share: NDArray[numpy.float64], least: float, most: float) -> NDArray[numpy.bool_]:
    return (share >= least) & (share <= most)


def measure_zones(
    pixels: NDArray[numpy.uint8], mask: NDArray[numpy.bool_]
) -> NDArray[numpy.float32]:
    """Mean and standard deviation of L, a and b in each of ZONES, one after the other.

    pixels: (height, width, 3) sRGB. mask: (height, width), where the tongue is; not empty.
    RETURNS: (N_COLOURS,), each divided by its usual size so that all are about -3..3. A zone
        without a pixel has the values of the whole tongue.
    """
    colours = channels_of(pixels).reshape(3, -1).compress(mask.ravel(), axis=1)
    lab = lab_from_rgb(colours)
    y, x = _shares(mask)
    before = numpy.cumsum(mask.sum(1)) - mask.sum(1)  # pixels above each row
    means, deviations = [], []
    for top, bottom, left, right in ZONES.values():
        rows = mask.compress(_within(y, top, bottom), axis=0)
        columns = numpy.broadcast_to(_within(x, left, right), rows.shape)
        inside = columns.ravel().compress(rows.ravel())
        start = before[numpy.argmax(y >= top)]
        zone = lab[:, start : start + len(inside)].compress(inside, axis=1)
        zone = zone if zone.size else lab
        means.append(zone.mean(1))
        deviations.append(zone.std(1))
    usual = [(numpy.stack(means) - (55, 20, 10)) / (10, 8, 8), (numpy.stack(deviations) - 6) / 3]
    return numpy.concatenate(usual, axis=1).ravel().astype("float32")


# Log gains of R, G and B from daylight to a warm lamp, about 6500 K to 4000 K.
WARM = (0.35, 0.0, -0.45)


def random_light(generator: numpy.random.Generator, strength: float = 1.0) -> tuple[float, ...]:
    """Log gains of a random light: warmer or cooler, a little greener or pinker, brighter or
    darker. strength: 1 for what rooms and phones do."""
    warmth, exposure, *tint = generator.standard_normal(5)
    gains = 0.5 * warmth * numpy.asarray(WARM) + 0.12 * exposure + 0.04 * numpy.asarray(tint)
    return tuple(float(strength * gain) for gain in gains)
