"""Masks of pixels: connected parts, holes, rims. Neighbours are above, below, left and right."""

import numpy
from numpy.typing import NDArray

Mask = NDArray[numpy.bool_]  # (height, width)


def label_parts(mask: Mask) -> tuple[NDArray[numpy.intp], int]:
    """Number the connected parts of a mask from 1 on, in reading order of their first pixels.

    RETURNS: (height, width), 0 where the mask is false; the number of parts.
    """
    # Runs of pixels in a row are joined wherever they touch one in the row above. Where they begin
    # and end, in rows with a column more, in which no run goes on into the next row.
    width = mask.shape[1] + 1
    flat = numpy.zeros(mask.shape[0] * width + 1, dtype=bool)
    flat[1:].reshape(-1, width)[:, :-1] = mask
    begins, ends = numpy.flatnonzero(flat[1:] != flat[:-1]).reshape(-1, 2).T
    joined = list(range(len(begins)))  # of a run: an earlier one of the same part
    first = numpy.searchsorted(ends, begins - width, "right").tolist()
    last = numpy.searchsorted(begins, ends - width, "left").tolist()
    for run, touching in enumerate(map(range, first, last)):
        for above in touching:
            below = run
            # Halve the path to the root; what is on the left is assigned first.
            while joined[above] != above:
                joined[above] = above = joined[joined[above]]
            while joined[below] != below:
                joined[below] = below = joined[joined[below]]
            if above < below:
                joined[below] = above
            else:
                joined[above] = below
    for run, earlier in enumerate(joined):
        joined[run] = joined[earlier]
    roots, numbers = numpy.unique(joined, return_inverse=True)
    parts = numpy.zeros(mask.shape, dtype=numpy.intp)
    parts[mask] = numpy.repeat(numbers + 1, ends - begins)
    return parts, len(roots)


def fill_holes(mask: Mask) -> Mask:
    """The mask, and what is not connected to its edges around it."""
    filled = mask.copy()
    rows, columns = numpy.flatnonzero(mask.any(1)), numpy.flatnonzero(mask.any(0))
    if len(rows):
        box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        parts, _ = label_parts(~numpy.pad(mask[box], 1))
        filled[box] = parts[1:-1, 1:-1] != parts[0, 0]
    return filled


def dilate(mask: Mask, steps: int = 1) -> Mask:
    """The mask, and all pixels up to so many steps from it."""
    grown = mask.copy()
    for _ in range(steps):
        before = grown.copy()
        grown[1:] |= before[:-1]
        grown[:-1] |= before[1:]
        grown[:, 1:] |= before[:, :-1]
        grown[:, :-1] |= before[:, 1:]
    return grown


def find_rim(mask: Mask) -> Mask:
    """The pixels of a mask that have a neighbour outside of it, or of the picture."""
    return mask & dilate(~numpy.pad(mask, 1))[1:-1, 1:-1]
