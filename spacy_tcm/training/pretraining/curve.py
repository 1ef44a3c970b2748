"""The picture of a run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure


def draw_curve(history: Sequence[dict[str, Any]], path: Path, loss: str) -> None:
    """Loss, and held-out pseudo-perplexity, against subwords seen.

    history: entries with ``tokens``, ``loss`` and, some of them, ``domain_perplexity`` and
        ``general_perplexity``.
    loss: what to call it.
    """
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot([e["tokens"] / 1e6 for e in history], [e["loss"] for e in history])
    left.set(xlabel="million subwords seen", ylabel=loss)
    for kind in ("domain", "general"):
        found = [e for e in history if f"{kind}_perplexity" in e]
        if found:
            x = [e["tokens"] / 1e6 for e in found]
            right.plot(x, [e[f"{kind}_perplexity"] for e in found], "o-", label=f"{kind} texts")
            right.legend()
    right.set(xlabel="million subwords seen", ylabel="held-out pseudo-perplexity", yscale="log")
    for axes in (left, right):
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
