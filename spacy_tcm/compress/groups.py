"""Channels of a unit in groups, ranked: what an action keeps, as widths, indices and gates."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import torch
from torch import Tensor, nn

# Widths are multiples of it where a unit is wide enough: narrower ones are no faster.
MULTIPLE = 16


class UnitLike(Protocol):
    """width: its channels, or its attention heads. size: features per channel; over 1 for heads."""

    @property
    def name(self) -> str: ...
    @property
    def width(self) -> int: ...
    @property
    def size(self) -> int: ...


class Prunable(Protocol):
    """What the search asks of `spacy_tcm.compress.units.PrunableNet`."""

    @property
    def net(self) -> nn.Module: ...
    @property
    def units(self) -> Sequence[UnitLike]: ...
    def gated(self, gates: Any) -> AbstractContextManager: ...
    def features(self) -> list[Tensor]: ...
    def descriptors(self) -> Tensor: ...


class Bytes(Protocol):
    """What the search asks of `spacy_tcm.compress.memory.ByteModel`: bytes, by the units' widths.
    Neither falls when a width grows."""

    def peak(self, widths: Sequence[int]) -> int: ...
    def weights(self, widths: Sequence[int]) -> int: ...


def widths_of(unit: UnitLike, actions: int) -> list[int]:
    """The width that each action keeps, rising; the last keeps all. There are as many actions as
    the unit has channels or heads, at most ``actions``."""
    n = min(actions, unit.width)
    found = [-(-unit.width * (a + 1) // n) for a in range(n)]
    if unit.size == 1 and unit.width >= 2 * MULTIPLE:
        found = [max(MULTIPLE, round(w / MULTIPLE) * MULTIPLE) for w in found[:-1]]
        found = [min(w, unit.width) for w in found] + [unit.width]
    return found


def step_of(units: Sequence[UnitLike]) -> int:
    """What widths chosen by importance are multiples of: 1 if a unit is too narrow for more."""
    narrow = any(unit.size == 1 and unit.width < 2 * MULTIPLE for unit in units)
    return 1 if narrow else MULTIPLE


def rank(importance: Tensor) -> Tensor:
    """Channels, the most important first; of equals the first first."""
    return importance.argsort(descending=True, stable=True)


def kept_of(order: Tensor, width: int) -> Tensor:
    """The channels that stay, rising: the first ``width`` of those ranked."""
    return order[:width].sort().values


def gate_of(action: Tensor, widths: Sequence[int], order: Tensor) -> Tensor:
    """1 on the channels that an action keeps, 0 on the others, (rows, channels); differentiable.

    action: one-hot, (rows, actions or more). widths: of the actions. order: see :func:`rank`.
    """
    place = torch.arange(len(order), device=action.device)
    keeps = place < torch.tensor(widths, device=action.device)[:, None]
    ranked = action[:, : len(widths)] @ keeps.to(action)
    return ranked[:, order.to(action.device).argsort()]


def mask_of(kept: Tensor, width: int, device: torch.device | None = None) -> Tensor:
    """1 on the kept channels, (width,)."""
    return torch.zeros(width, device=device).index_fill_(0, kept.to(device or kept.device), 1.0)


def group_means(importance: Tensor, order: Tensor, widths: Sequence[int], actions: int) -> Tensor:
    """Mean importance of each group of a unit, at least 0, their sum 1, (actions,); 0 where there
    is none."""
    ranked = importance[order].clamp(min=0)
    found = torch.zeros(actions)
    for a, (start, end) in enumerate(zip([0, *widths], widths, strict=False)):
        if end > start:
            found[a] = ranked[start:end].mean()
    return found / found.sum().clamp(min=1e-12)
