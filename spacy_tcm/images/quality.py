"""Is the photo usable at all? Cheap numbers on decoded pixels, and a verdict on gross failures."""

import numpy
from numpy.typing import NDArray

# A photo beyond one of these shows nothing: see tests/images/test_quality.py for examples.
MIN_BRIGHTNESS = 0.04
MAX_BRIGHTNESS = 0.97
MIN_CONTRAST = 0.015
MIN_COLOURFULNESS = 0.006

_LUMA = numpy.array([0.299, 0.587, 0.114], dtype="float32")  # Rec. 601, as JPEG


def measure_quality(pixels: NDArray[numpy.uint8]) -> dict[str, float]:
    """Measure a photo.

    pixels: uint8 (height, width, 3) RGB, both sides at least 3, without padding. Sharpness depends
    on the resolution, so compare photos brought to one size only.
    RETURNS: brightness (mean luma), contrast (standard deviation of luma), colourfulness (mean of
        max - min over R, G, B), dark_share and bright_share (pixels with all channels below 6, any
        channel above 249), red_cast and blue_cast (mean channel over mean grey, minus one): all of
        them as fractions of full scale; sharpness (variance of the Laplacian of luma, 0-255 scale).
    """
    luma = pixels.astype("float32") @ _LUMA
    highest, lowest = pixels.max(axis=2), pixels.min(axis=2)
    laplacian = (
        luma[:-2, 1:-1] + luma[2:, 1:-1] + luma[1:-1, :-2] + luma[1:-1, 2:] - 4 * luma[1:-1, 1:-1]
    )
    red, green, blue = pixels.reshape(-1, 3).mean(axis=0)
    grey = (red + green + blue) / 3
    scale = max(grey, 1.0)  # black has no cast
    measured = {
        "brightness": luma.mean() / 255,
        "contrast": luma.std() / 255,
        "colourfulness": (highest - lowest).mean() / 255,
        "dark_share": (highest < 6).mean(),
        "bright_share": (highest > 249).mean(),
        "red_cast": (red - grey) / scale,
        "blue_cast": (blue - grey) / scale,
        "sharpness": laplacian.var(),
    }
    return {name: round(float(value), 4) for name, value in measured.items()}


def verdict(quality: dict[str, float]) -> tuple[str, ...]:
    """Reasons to reject the photo: only what no tongue could be seen in. Empty when it may be used.

    quality: as from `measure_quality`.
    RETURNS: stable codes, see `spacy_tcm.images.load.explain`.
    """
    failures = {
        "too_dark": quality["brightness"] < MIN_BRIGHTNESS,
        "too_bright": quality["brightness"] > MAX_BRIGHTNESS,
        "blank": quality["contrast"] < MIN_CONTRAST,
        "grayscale": quality["colourfulness"] < MIN_COLOURFULNESS,
    }
    return tuple(reason for reason, failed in failures.items() if failed)
