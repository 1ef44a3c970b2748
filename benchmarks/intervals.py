"""Intervals of F1 and tests of differences, from counts of each record."""

from collections.abc import Sequence
from typing import Any

import numpy

Counts = Sequence[Sequence[int]]
DRAWS = 2000


def sums(counts: Counts) -> dict[str, Any]:
    """counts: of each record, entities of the gold, predicted, right, rare ones, rare right."""
    gold, predicted, right, rare, rare_right = numpy.asarray(counts).sum(0).tolist()
    return {
        "gold": gold,
        "precision": right / predicted if predicted else None,
        "recall": right / gold if gold else None,
        "f": _f(numpy.array([gold, predicted, right])).item(),
        "rare_gold": rare,
        "rare_recall": rare_right / rare if rare else None,
    }


def _f(total: Any) -> Any:
    """total: (..., gold, predicted and right ones, ...)."""
    return 2 * total[..., 2] / numpy.maximum(total[..., 0] + total[..., 1], 1)


def interval(
    counts: Counts, groups: Sequence[str] | None = None, level: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap of micro F1 over records (Efron & Tibshirani 1993, chapter 13).

    groups: what each record is of; then groups are drawn, whole, instead of records."""
    table = numpy.asarray(counts)
    if groups is not None:
        of = numpy.asarray(groups)
        table = numpy.array([table[of == name].sum(0) for name in numpy.unique(of)])
    generator = numpy.random.default_rng(seed)
    drawn = [_f(table[generator.integers(0, len(table), len(table))].sum(0)) for _ in range(DRAWS)]
    low, high = numpy.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def compare(counts: Counts, others: Counts, seed: int = 0) -> dict[str, float]:
    """Difference of micro F1 of two systems on the same records, its bootstrap interval, and p of
    the approximate randomization test, two-sided (Noreen 1989): outputs are swapped record by
    record."""
    a, b = numpy.asarray(counts), numpy.asarray(others)
    if (a[:, 0] != b[:, 0]).any():
        raise ValueError("not the same records")
    generator = numpy.random.default_rng(seed)
    found = float(_f(a.sum(0)) - _f(b.sum(0)))
    drawn, as_far = [], 0
    for _ in range(DRAWS):
        rows = generator.integers(0, len(a), len(a))
        drawn.append(_f(a[rows].sum(0)) - _f(b[rows].sum(0)))
        swap = generator.random(len(a))[:, None] < 0.5
        swapped = _f(numpy.where(swap, b, a).sum(0)) - _f(numpy.where(swap, a, b).sum(0))
        as_far += abs(swapped) >= abs(found) - 1e-12
    low, high = numpy.quantile(drawn, [0.025, 0.975])
    return {"difference": found, "low": low, "high": high, "p": (as_far + 1) / (DRAWS + 1)}
