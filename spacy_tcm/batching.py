"""Batches of bounded size, since padding must not make memory grow with (records x longest record),
and workers that share them."""

import contextlib
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from thinc.compat import has_torch, torch

# Tokens of one padded batch in prediction: about 0.2 GB with 23 labels.
MAX_PADDED = 16384


def group_by_length(lengths: Sequence[int], max_padded: int) -> Iterator[list[int]]:
    """Group items of similar length.

    lengths: tokens of each item. max_padded: most tokens of a group, padding included; an item
        longer than that is a group alone.
    YIELDS: indices into lengths, shortest items first; each index comes exactly once.
    """
    group: list[int] = []
    for i in sorted(range(len(lengths)), key=lengths.__getitem__):
        if group and lengths[i] * (len(group) + 1) > max_padded:
            yield group
            group = []
        group.append(i)
    if group:
        yield group


class Stretch(NamedTuple):
    """A part of a long text: read from start to end, of which the results from first to last are
    used, so that each of these was read with what stands around it."""

    start: int
    end: int
    first: int
    last: int


def cut_stretches(length: int, size: int, context: int) -> list[Stretch]:
    """Stretches whose used parts join to the whole text.

    size: most tokens of a used part. context: tokens read before and behind it, as far as
        there are any. A text of up to size tokens is one stretch; no tokens, none.
    """
    count = -(-length // size)
    bounds = [i * length // count for i in range(count + 1)] if count else [0]
    return [
        Stretch(max(0, first - context), min(length, last + context), first, last)
        for first, last in pairwise(bounds)
    ]


@contextlib.contextmanager
def forkable_torch(n_process: int) -> Iterator[None]:
    """With worker processes, torch computes in one thread meanwhile: a forked worker would wait for
    ever for the threads that torch started here before, often while the pipeline was loaded."""
    if n_process == 1 or not has_torch:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
