"""Brushes for the renderer: pictures are float32 planes in CIE Lab until the last step."""

from typing import Any

import numpy
from numpy.typing import NDArray

Plane = NDArray[numpy.float32]  # (size, size)
Lab = NDArray[numpy.float32]  # (3, size, size): CIE L, a, b
Generator = numpy.random.Generator


def plain(colour: tuple[float, float, float], size: int) -> Lab:
    return numpy.array(colour, dtype="float32")[:, None, None].repeat(size, 1).repeat(size, 2)


def blend(lab: Lab, cover: Plane, colour: tuple[float, float, float]) -> None:
    for plane, value in zip(lab, colour, strict=True):
        plane += cover * (value - plane)


def step(values: Any, low: float, high: float) -> Any:
    """0 below `low`, 1 above `high`, smooth between."""
    ratio = (values - low) * (1 / (high - low))
    numpy.clip(ratio, 0, 1, out=ratio)
    return ratio * ratio * (3 - 2 * ratio)


def bell(values: Any, width: float) -> Any:
    """1 at 0, falling off within `width`."""
    return numpy.exp(values * values * (-1 / width**2))


def noise(generator: Generator, size: int, cell: float, stretch: float = 1.0) -> Plane:
    """Smooth noise around 0 with deviation about 1 and features `cell` pixels wide and `stretch`
    times as high."""
    columns, rows = max(3, int(size / cell) + 2), max(3, int(size / cell / stretch) + 2)
    # Interpolation averages neighbours, which takes about a quarter off the deviation.
    grid = generator.standard_normal((1, rows, columns), dtype="float32")
    grid *= 1.35
    return enlarge(grid, size)[0]


def enlarge(planes: Plane, size: int) -> NDArray[numpy.float32]:
    """(n, any, any) -> (n, size, size)."""
    from PIL import Image

    large = numpy.empty((len(planes), size, size), dtype="float32")
    for source, target in zip(planes, large, strict=True):
        target[:] = Image.fromarray(source).resize((size, size), Image.Resampling.BICUBIC)
    return large


def soften(canvas: Any, radius: float) -> Plane:
    """A drawn mask, blurred: 0 to 1."""
    from PIL import ImageFilter

    blurred = canvas.filter(ImageFilter.BoxBlur(max(0.5, radius)))
    return numpy.asarray(blurred, dtype=numpy.float32) / numpy.float32(255)


# To linear sRGB, times the highest index of _GAMMA; the white point D65 is multiplied in.
_INDEX_FROM_XYZ = (
    8191
    * numpy.array(
        [[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.2040, 1.0570]],
        dtype="float32",
    )
    * numpy.array([0.9505, 1.0, 1.089], dtype="float32")
)
_LEVELS = numpy.linspace(0, 1, 8192)
_GAMMA = (
    255 * numpy.where(_LEVELS <= 0.0031308, 12.92 * _LEVELS, 1.055 * _LEVELS ** (1 / 2.4) - 0.055)
    + 0.5
).astype("uint8")


def rgb_from_lab(lab: NDArray[numpy.float32]) -> NDArray[numpy.uint8]:
    """Lab (3, height, width), D65 -> sRGB uint8 (height, width, 3)."""
    lightness, a, b = lab
    y = (numpy.clip(lightness, 1, 100) + 16) / 116
    xyz = numpy.stack([y + a * (1 / 500), y, y - b * (1 / 200)])
    xyz *= xyz * xyz  # the linear toe of Lab, below L = 8, is left out
    index = (_INDEX_FROM_XYZ @ xyz.reshape(3, -1)).T
    numpy.clip(index, 0, 8191, out=index)
    return _GAMMA[index.astype("int16")].reshape(*lightness.shape, 3)
