"""What a compression came to, in words and pictures."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from spacy_tcm.compress.groups import UnitLike
from spacy_tcm.compress.search import POLICY, REFINED, SearchResult

MB = 1e6

_MODES = """\
Static pruning, as done here, cuts channels and heads out of the nets: stored bytes, memory and
computation all fall. Dynamic pruning (`spacy_tcm.compress.dynamic`) lets the policy choose anew for
each photo or text: only computation falls, stored bytes stay what they were, since every channel is
needed by some photo or text.
"""


def write_report(report: dict[str, Any], out: Path) -> None:
    """``report.json`` and ``report.md``. report: ``settings``; ``budgets``, by parts: ``budget``,
    ``budget_of`` (``peak`` or ``process``), ``peak`` of the tensors, ``process`` that runs them and
    ``weights`` before and after in bytes, ``method``, ``candidates``, ``units``,
    ``history``, and ``dynamic`` by part; ``scores`` and ``attributes``, by stage; ``int8``, by
    graph; ``model_bytes``, of the files."""
    out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(report, ensure_ascii=False, indent=1)
    (out / "report.json").write_text(text + "\n", encoding="utf-8")
    (out / "report.md").write_text(to_markdown(report), encoding="utf-8")


def to_markdown(report: dict[str, Any]) -> str:
    lines = ["# Compression", ""]
    for parts, found in report["budgets"].items():
        peak, process, weights = found["peak"], found["process"], found["weights"]
        of_process = found["budget_of"] == "process"
        lines += [
            f"## {parts.replace('+', ' and ')}",
            "",
            f"Budget {_mb(found['budget'])}: weights of all nets, and the activations of that net "
            f"which has most, with {report['settings']['batch']} photos or texts at once"
            + (", as a process takes them." if of_process else ", tensors alone."),
            "",
            "| | before | predicted after | traced after |",
            "|---|---|---|---|",
            "| peak of the tensors | "
            f"{_mb(peak['before'])} | {_mb(peak['predicted'])} | {_mb(peak['measured'])} |",
            f"| peak of a process | {_mb(process['before'])} | {_mb(process['predicted'])} | |",
            f"| weights | {_mb(weights['before'])} | | {_mb(weights['after'])} |",
            "",
            "Traced: the tensors of the pruned nets, and all that is alive while they run. A "
            "process: what torch takes on top of itself, at most, by the calibration of "
            "`benchmarks/byte_model.py`. The loss of several nets is the sum of theirs.",
            "",
            *_winner(found),
            "",
            "| unit | whole | kept | |",
            "|---|---|---|---|",
            *(
                f"| {u['name']} | {u['width']} | {u['kept']} | {u['kept'] / u['width']:.0%} |"
                for u in found["units"]
            ),
            "",
            f"Pictures: `widths_{parts}.png`, `search_{parts}.png`.",
            "",
        ]
    lines += ["## Static and dynamic", "", _MODES]
    for found in report["budgets"].values():
        lines += [
            f"- {part}, dynamic: loss {d['loss']:.4f} with {_percent(d['computation'])} of the "
            f"multiplications and {_percent(d['stored'])} of the stored bytes."
            for part, d in found["dynamic"].items()
        ]
    lines.append("")
    lines += _scores(report)
    if report["int8"]:
        lines += ["## INT8", "", "| graph | before | after | layers in INT8 | in fp32 |"]
        lines += ["|---|---|---|---|---|"]
        lines += [
            f"| {g['graph']} | {_mb(g['size_before'])} | {_mb(g['size_after'])} | "
            f"{len(g['quantised'])} | {len(g['kept'])} |"
            for g in report["int8"]
        ]
        lines.append("")
    lines.append(f"The compressed pipeline takes {_mb(report['model_bytes'])} on disk.")
    return "\n".join(lines) + "\n"


def _winner(found: dict[str, Any]) -> list[str]:
    """Which method is best at equal bytes, in plain words."""
    ordered = sorted(found["candidates"].items(), key=lambda each: each[1]["loss"])
    lines = ["| method | loss before fine-tuning | peak |", "|---|---|---|"]
    lines += [f"| {name} | {c['loss']:.4f} | {_mb(c['peak'])} |" for name, c in ordered]
    names = [name for name, _ in ordered]
    if POLICY not in names:
        return [*lines, "", f"No search was asked for: the widths are those of {found['method']}."]
    losses = {name: c["loss"] for name, c in ordered}
    others = {n: x for n, x in losses.items() if n not in (POLICY, REFINED)}
    if others:
        name = min(others, key=lambda n: others[n])
        word = "better" if losses[POLICY] < others[name] else "no better"
        lines += [
            "",
            f"In the same budget, the policy alone ({losses[POLICY]:.4f}) is **{word}** than the "
            f"best choice by importance alone, {name} ({others[name]:.4f}).",
        ]
    return [*lines, "", f"**What was made is the choice of: {found['method']}.**"]


def _scores(report: dict[str, Any]) -> list[str]:
    lines = []
    rows = [(stage, s) for stage, s in report["scores"].items() if s is not None]
    if rows:
        lines += ["## Entities", "", "| pipeline | records | F | macro F |", "|---|---|---|---|"]
        lines += [
            f"| {stage} | {s['records']} | {_percent(s['f'])} | {_percent(s['macro_f'])} |"
            for stage, s in rows
        ]
        lines.append("")
    if report.get("attributes"):
        lines += ["## Attributes of the photos", ""]
        lines += [
            f"- {stage}: {_percent(share)} of the values as told before"
            for stage, share in report["attributes"].items()
        ]
        lines.append("")
    return lines


def _mb(size: float) -> str:
    return f"{size / MB:.2f} MB"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"


def draw(found: SearchResult, units: Sequence[UnitLike], widths: Path, course: Path) -> None:
    """Two pictures: kept widths by unit; reward, and bytes, over the rounds (none without a
    search)."""
    widths.parent.mkdir(parents=True, exist_ok=True)
    _draw_widths(found, units, widths)
    if any("reward" in entry for entry in found.history):
        _draw_course(found, course)


def _draw_widths(found: SearchResult, units: Sequence[UnitLike], path: Path) -> None:
    figure = Figure(figsize=(8, 1.2 + 0.25 * len(units)), layout="constrained")
    axes = figure.subplots()
    places = range(len(units))
    shares = [100 * w / unit.width for w, unit in zip(found.best.widths, units, strict=True)]
    axes.barh(places, [100] * len(units), color="#dddddd", label="whole")
    axes.barh(places, shares, color="#4477aa", label="kept")
    for place, (w, unit) in enumerate(zip(found.best.widths, units, strict=True)):
        axes.text(101, place, f"{w} of {unit.width}", va="center", fontsize=8)
    axes.set_yticks(places, [unit.name for unit in units], fontsize=8)
    axes.invert_yaxis()
    axes.set(xlim=(0, 118), xlabel="% of the channels or heads", title=found.best.method)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12 - 1 / len(units)), ncols=2)
    figure.savefig(path, dpi=120)


def _draw_course(found: SearchResult, path: Path) -> None:
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    entries = [entry for entry in found.history if "reward" in entry]
    rounds = [entry["round"] for entry in entries]
    rewards = [entry["reward"] for entry in entries]
    left.plot(rounds, rewards, ".", color="#aaaaaa", label="a round")
    left.plot(rounds, _running_mean(rewards), color="#4477aa", label="running mean")
    left.set(xlabel="round", ylabel="reward")
    right.plot(rounds, [entry["peak"] / MB for entry in entries], ".", color="#4477aa")
    right.axhline(found.budget / MB, color="#cc3311", label="budget")
    right.axhline(found.whole_peak / MB, color="#888888", linestyle="--", label="whole")
    right.set(xlabel="round", ylabel="predicted peak, MB")
    right.set_ylim(0, 1.05 * found.whole_peak / MB)
    for axes in (left, right):
        axes.legend(loc="lower right")
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)


def _running_mean(values: Sequence[float], stays: float = 0.9) -> list[float]:
    means: list[float] = []
    for value in values:
        means.append(value if not means else stays * means[-1] + (1 - stays) * value)
    return means
