"""From a map of tongue probabilities to one tongue: its mask, its square, what is odd about it."""

from dataclasses import dataclass

import numpy
from numpy.typing import NDArray

from spacy_tcm.images.mask import fill_holes, label_parts

MARGIN = 0.08  # around the tongue, of its longer side: tooth marks are at its edge
# What a net finds of a tongue that the photo cuts through ends a little before the edge.
BAND = 1 / 32  # of the square's side


@dataclass(frozen=True, eq=False)
class TongueRegion:
    """One tongue in a square photo.

    mask: (side, side) bool, the largest connected part, holes filled.
    share: of the photo's content (without padding) that it covers.
    second_share, second_certainty: of the next largest part, its size over the largest, and the
        mean probability inside it; 0 if there is none.
    at_edge: how much of the lower, left or right edge of the content it takes, the most of the
        three, over the root of its area. At the upper edge there is the mouth.
    certainty: mean probability inside, 0 to 1.
    roundness: the shorter over the longer axis of the ellipse with its second moments, 0 to 1.
    """

    mask: NDArray[numpy.bool_]
    share: float
    second_share: float
    second_certainty: float
    at_edge: float
    certainty: float
    roundness: float

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
    parts, n_parts = label_parts((probability >= threshold) & content)
    if not n_parts:
        return None
    sizes = numpy.bincount(parts.ravel())[1:]
    largest, *others = (int(part) for part in numpy.argsort(-sizes, kind="stable")[:2])
    mask = fill_holes(parts == largest + 1)
    return TongueRegion(
        mask,
        share=float(mask.sum() / max(1, content.sum())),
        second_share=float(sizes[others[0]] / sizes[largest]) if others else 0.0,
        second_certainty=float(probability[parts == others[0] + 1].mean()) if others else 0.0,
        at_edge=_at_edge(mask, content),
        certainty=float(probability[mask].mean()),
        roundness=_roundness(mask),
    )


def _at_edge(mask: NDArray[numpy.bool_], content: NDArray[numpy.bool_]) -> float:
    rows, columns = numpy.flatnonzero(content.any(1)), numpy.flatnonzero(content.any(0))
    band = max(1, round(BAND * len(mask)))
    inside = mask[: rows[-1] + 1, columns[0] : columns[-1] + 1]
    longest = max(
        inside[-band:].any(0).sum(), inside[:, :band].any(1).sum(), inside[:, -band:].any(1).sum()
    )
    return float(longest / numpy.sqrt(mask.sum()))


def _roundness(mask: NDArray[numpy.bool_]) -> float:
    places = [numpy.arange(length) for length in mask.shape]
    counts = [mask.sum(1), mask.sum(0)]
    y, x = (p - p @ n / n.sum() for p, n in zip(places, counts, strict=True))
    crossed = y @ mask.astype(float) @ x
    moments = numpy.array([[counts[0] @ y**2, crossed], [crossed, counts[1] @ x**2]])
    # A pixel is a square, not a point: it has a twelfth of its side's square.
    shortest, longest = numpy.linalg.eigvalsh(moments / counts[0].sum() + numpy.eye(2) / 12)
    return float(numpy.sqrt(shortest / longest))


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
