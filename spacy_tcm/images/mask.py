"""Masks of pixels: connected parts, holes, rims. Neighbours are above, below, left and right."""

import numpy
from numpy.typing import NDArray

Mask = NDArray[numpy.bool_]  # (height, width)


def label_parts(mask: Mask) -> tuple[NDArray[numpy.intp], int]:
    """Number the connected parts of a mask from 1 on, in reading order of their first pixels.

    RETURNS: (height, width), 0 where the mask is false; the number of parts.
    """
    # Runs of pixels in a row are joined wherever they touch one in the row above.
    begins = mask.copy()
    begins[:, 1:] &= ~mask[:, :-1]
    runs = numpy.cumsum(begins).reshape(mask.shape) * mask
    touching = mask[:-1] & mask[1:]
    touching[:, 1:] &= ~touching[:, :-1]
    joined = list(range(int(begins.sum()) + 1))  # of a run: an earlier one of the same part
    for above, below in zip(runs[:-1][touching].tolist(), runs[1:][touching].tolist(), strict=True):
        # Halve the path to the root; what is on the left is assigned first.
        while joined[above] != above:
            joined[above] = above = joined[joined[above]]
        while joined[below] != below:
            joined[below] = below = joined[joined[below]]
        joined[max(above, below)] = min(above, below)
    for run, earlier in enumerate(joined):
        joined[run] = joined[earlier]
    _, numbers = numpy.unique(joined, return_inverse=True)
    return numbers[runs], int(numbers.max())


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
