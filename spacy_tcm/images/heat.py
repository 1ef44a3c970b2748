"""A heat map of a tongue, (height, width) uint8: in words, and as a picture."""

import numpy
from numpy.typing import NDArray

from spacy_tcm.images.colour import ZONES, find_zones
from spacy_tcm.images.mask import find_rim

OPACITY = 0.7  # of the heat where it is greatest


def share_by_zone(heat: NDArray[numpy.uint8], mask: NDArray[numpy.bool_]) -> dict[str, float]:
    """How much of the heat lies in each of `ZONES`; sums to 1.

    mask: where the tongue is. RETURNS: {} if there is no heat.
    """
    found = (find_zones(mask) * heat).sum((1, 2), dtype=float)
    total = found.sum()
    if not total:
        return {}
    return {name: float(share) for name, share in zip(ZONES, found / total, strict=True)}


def draw_heat(
    photo: NDArray[numpy.uint8], heat: NDArray[numpy.uint8], mask: NDArray[numpy.bool_]
) -> NDArray[numpy.uint8]:
    """The heat over the photo, and the tongue's outline: (height, width, 3) RGB."""
    from matplotlib import colormaps

    shown = numpy.sqrt(heat / 255)  # what is faint is seen beside a single hot spot
    colours = 255 * colormaps["viridis"](shown)[..., :3]
    opacity = OPACITY * shown[..., None]
    picture = (photo * (1 - opacity) + colours * opacity + 0.5).astype("uint8")
    picture[find_rim(mask)] = 255
    return picture
