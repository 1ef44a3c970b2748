"""Pruning by importance alone down to a number of bytes: what a learned policy must beat."""

from collections.abc import Callable, Sequence

import torch
from torch import LongTensor, Tensor

from spacy_tcm.compress.groups import Prunable, UnitLike
from spacy_tcm.errors import BudgetInfeasibleError

_SHARES = 256  # steps in which the uniform share falls


def uniform_or_global(
    prunable: Prunable,
    importances: Sequence[Tensor],
    peak: Callable[[Sequence[int]], int],
    budget: int,
    step: int = 16,
    uniform: bool = False,
) -> list[LongTensor]:
    """Which choices of each unit stay so that the net fits, the most important ones.

    Widths that are not whole are multiples of `step` (heads: of 1), and at least one of it stays.
    By default the groups of least mean importance go first, whichever unit they are in; uniform:
    of each unit the same share.

    importances: as `PrunableNet.importances` gives them. peak: bytes of the net of such widths,
    monotone. RAISES BudgetInfeasibleError: even the least widths do not fit.
    """
    units = prunable.units
    steps = [step if unit.size == 1 else 1 for unit in units]
    least = [min(s, unit.width) for s, unit in zip(steps, units, strict=True)]
    if peak(least) > budget:
        raise BudgetInfeasibleError(budget, peak(least))
    if uniform:
        widths = _shrink_alike(units, steps, least, peak, budget)
    else:
        widths = _shrink_least(units, steps, importances, peak, budget)
    return [
        torch.LongTensor(sorted(values.argsort(descending=True, stable=True)[:width].tolist()))
        for values, width in zip(importances, widths, strict=True)
    ]


def _shrink_alike(
    units: Sequence[UnitLike],
    steps: list[int],
    least: list[int],
    peak: Callable[[Sequence[int]], int],
    budget: int,
) -> list[int]:
    for share in range(_SHARES, -1, -1):
        widths = [
            unit.width
            if share == _SHARES
            else max(lowest, unit.width * share // (_SHARES * step) * step)
            for unit, step, lowest in zip(units, steps, least, strict=True)
        ]
        if peak(widths) <= budget:
            break
    return widths


def _shrink_least(
    units: Sequence[UnitLike],
    steps: list[int],
    importances: Sequence[Tensor],
    peak: Callable[[Sequence[int]], int],
    budget: int,
) -> list[int]:
    """Groups of `step` choices; the first to go makes the width a multiple of it."""
    groups = []
    for i, (unit, step, values) in enumerate(zip(units, steps, importances, strict=True)):
        ascending = (values.double() / unit.size).sort().values
        width = unit.width
        while width > step:
            left = (width - 1) // step * step
            removed = ascending[unit.width - width : unit.width - left]
            groups.append((removed.mean().item(), i, left))
            width = left
    widths = [unit.width for unit in units]
    # Of one unit the means ascend, so that its groups come in order.
    for _, i, left in sorted(groups, key=lambda group: (group[0], group[1], -group[2])):
        if peak(widths) <= budget:
            break
        widths[i] = left
    return widths
