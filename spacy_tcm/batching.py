"""Batches of bounded size: padding must not make memory grow with (records x longest record)."""

from collections.abc import Iterator, Sequence


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
