"""Is the photo usable? Cheap numbers on decoded pixels, and verdicts: on gross failures of any
photo, and on the tongue once it is found. Only the photo is judged, never the tongue."""

import numpy
from numpy.typing import NDArray

from spacy_tcm.images.colour import channels_of
from spacy_tcm.images.region import TongueRegion

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
    channels = channels_of(pixels)
    highest, lowest = channels.max(0), channels.min(0)
    red, green, blue = channels.mean((1, 2))
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
        "sharpness": _laplacian(luma).var(),
    }
    return {name: round(float(value), 4) for name, value in measured.items()}


def verdict(quality: dict[str, float]) -> tuple[str, ...]:
    """Reasons to reject the photo: only what no tongue could be seen in. Empty when it may be used.

    quality: as from `measure_quality`.
    RETURNS: stable codes, see `spacy_tcm.images.reasons.explain`.
    """
    failures = {
        "too_dark": quality["brightness"] < MIN_BRIGHTNESS,
        "too_bright": quality["brightness"] > MAX_BRIGHTNESS,
        "blank": quality["contrast"] < MIN_CONTRAST,
        "grayscale": quality["colourfulness"] < MIN_COLOURFULNESS,
    }
    return tuple(reason for reason, failed in failures.items() if failed)


# Of a tongue that was found. Each bound lets pass, with a margin of about a tenth, photos of the
# training split of TonguExpert, of BioHit and of phones as they are, but for four that the frame
# cuts off; within that it is as strict as photos made faulty call for (too small, too bright and
# colour_cast were so when they were set by hand). benchmarks/photo_quality.json has the figures,
# benchmarks/TONGUE.md shows them.
MIN_CERTAINTY = 0.905
# Reason, what is measured, the least and the most that passes.
TONGUE_BOUNDS = (
    ("no_tongue", "tongue_certainty", MIN_CERTAINTY, numpy.inf),
    ("no_tongue", "tongue_roundness", 0.43, numpy.inf),
    ("tongue_too_small", "tongue_share", 0.02, numpy.inf),
    ("several_tongues", "second_tongue", 0.0, 0.15),
    ("cut_off", "tongue_at_edge", 0.0, 0.60),
    ("blurred", "tongue_sharpness", 18.0, numpy.inf),
    ("tongue_too_dark", "tongue_brightness", 0.25, numpy.inf),
    ("tongue_too_bright", "tongue_brightness", 0.0, 0.85),
    ("clipped", "tongue_clipped", 0.0, 0.10),
    ("colour_cast", "cast", 0.0, 11.0),
)


def judge_tongue(
    pixels: NDArray[numpy.uint8],
    mask: NDArray[numpy.bool_],
    region: TongueRegion,
    cast: float = 0.0,
) -> tuple[dict[str, float], tuple[str, ...]]:
    """Measure a tongue that was found, and judge its photo.

    pixels: (side, side, 3) RGB, cut out around it, at one size for all photos. mask: (side, side).
    cast: see `spacy_tcm.images.colour.cast_distance`.
    RETURNS: numbers: tongue_share (of the photo), tongue_certainty, tongue_roundness and
        tongue_at_edge (see `TongueRegion`), second_tongue (the next largest part over this one, 0
        where it is surely none), tongue_brightness (mean luma), tongue_clipped (share with all
        channels above 240), tongue_sharpness (variance of the Laplacian of luma), cast; and reasons
        to reject the photo, see `spacy_tcm.images.reasons.explain`.
    """
    luma = pixels.astype("float32") @ _LUMA
    inner = mask[1:-1, 1:-1]
    second = region.second_share if region.second_certainty >= MIN_CERTAINTY else 0.0
    measured = {
        "tongue_share": region.share,
        "tongue_certainty": region.certainty,
        "tongue_roundness": region.roundness,
        "tongue_at_edge": region.at_edge,
        "second_tongue": second,
        "tongue_brightness": luma[mask].mean() / 255,
        "tongue_clipped": (channels_of(pixels).min(0)[mask] > 240).mean(),
        "tongue_sharpness": _laplacian(luma)[inner].var() if inner.any() else 0.0,
        "cast": cast,
    }
    measured = {name: round(float(value), 4) for name, value in measured.items()}
    return measured, tongue_verdict(measured)


def tongue_verdict(measured: dict[str, float]) -> tuple[str, ...]:
    """Reasons to reject the photo of a tongue, from the numbers of `judge_tongue`."""
    outside = (
        reason for reason, name, least, most in TONGUE_BOUNDS if not least <= measured[name] <= most
    )
    reasons = tuple(dict.fromkeys(outside))
    # What is no tongue has no other fault.
    return reasons[:1] if "no_tongue" in reasons else reasons


def _laplacian(luma: NDArray[numpy.float32]) -> NDArray[numpy.float32]:
    """(height, width) -> (height - 2, width - 2)."""
    around = luma[:-2, 1:-1] + luma[2:, 1:-1] + luma[1:-1, :-2] + luma[1:-1, 2:]
    return around - 4 * luma[1:-1, 1:-1]
