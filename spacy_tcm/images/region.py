"""From a map of tongue probabilities to one tongue: its mask, its square, what is odd about it."""

from dataclasses import dataclass

import numpy
from numpy.typing import NDArray

MARGIN = 0.08  # around the tongue, of its longer side: tooth marks are at its edge


@dataclass(frozen=True, eq=False)
class TongueRegion:
    """One tongue in a square photo.

    mask: (side, side) bool, the largest connected part, holes filled.
    share: of the photo's content (without padding) that it covers.
    second_share: the next largest part, over the largest.
    at_edge: share of its outline that runs along the edge of the content.
    certainty: mean probability inside, 0 to 1.
    """

    mask: NDArray[numpy.bool_]
    share: float
    second_share: float
    at_edge: float
    certainty: float

    def square(self) -> tuple[int, int, int]:
        """(top, left, side) of the square around the tongue, with a margin; may leave the photo."""
        rows, columns = numpy.flatnonzero(self.mask.any(1)), numpy.flatnonzero(self.mask.any(0))
        height, width = rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1
        side = max(1, round(max(height, width) * (1 + 2 * MARGIN)))
        top = round((rows[0] + rows[-1] + 1 - side) / 2)
        left = round((columns[0] + columns[-1] + 1 - side) / 2)
        return top, left, side


def find_region(
    probability: NDArray[numpy.float32], content: NDArray[numpy.bool_], threshold: float = 0.5
) -> TongueRegion | None:
    """probability: (side, side), 0 to 1. content: likewise, false where the photo was padded.
    RETURNS: None if no pixel of the content reaches the threshold."""
    from scipy import ndimage

    parts, n_parts = ndimage.label((probability >= threshold) & content)
    if not n_parts:
        return None
    sizes = numpy.bincount(parts.ravel())[1:]
    largest = int(sizes.argmax())
    mask = ndimage.binary_fill_holes(parts == largest + 1)
    outline = mask & ~ndimage.binary_erosion(mask)
    inner = ndimage.binary_erosion(content, iterations=2)
    return TongueRegion(
        mask,
        share=float(mask.sum() / max(1, content.sum())),
        second_share=float(sorted(sizes)[-2] / sizes[largest]) if n_parts > 1 else 0.0,
        at_edge=float((outline & ~inner).sum() / max(1, outline.sum())),
        certainty=float(probability[mask].mean()),
    )


def cut_square(plane: NDArray, square: tuple[int, int, int], fill: int = 0) -> NDArray:
    """The part of an image (height, width, ...) inside a square; what lies outside is fill."""
    top, left, side = square
    out = numpy.full((side, side, *plane.shape[2:]), fill, dtype=plane.dtype)
    rows = slice(max(0, top), min(plane.shape[0], top + side))
    columns = slice(max(0, left), min(plane.shape[1], left + side))
    if rows.start < rows.stop and columns.start < columns.stop:
        out[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left] = plane[
            rows, columns
        ]
    return out
