"""The predicted memory of nets beside the measured one, and the calibration of the prediction.

    python benchmarks/byte_model.py OUT.json [--plot docs/byte_model.png]
        [--calibration spacy_tcm/resources/memory.json]

Nets of random inner widths (10 to 100 %), batches and sizes, in inference and in training (two
steps of Adam), each in a process of its own on one thread. Measured is what the peak of resident
memory rises by, from before the net is built; with a GPU, the peak of torch's allocator. A line is
fitted for each kind of net and mode on some nets, and tried on others, of which one batch and size
was not fitted. Then random budgets, each with random widths that just fit by the calibrated model.
Linux only.
"""

import argparse
import ctypes
import gc
import json
import multiprocessing
import os
import platform
import random
import statistics
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

# (batch, side in pixels or length in subwords); the last is not fitted.
SHAPES = {
    "resnet": ((1, 224), (2, 128), (4, 160), (2, 192)),
    "efficientnet": ((1, 224), (4, 192), (8, 192), (6, 160)),
    "text": ((1, 128), (8, 64), (16, 128), (4, 256)),
}
FITTED = 3  # nets of random widths a shape; one more is held out
BUDGETS = 20
# Memory that is freed goes back to the system. By default, the C library keeps some blocks below
# 32 MB for later, how many depends on their order, and the peak can be half as high again.
MALLOC = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "65536"}
MODES = ("inference", "training")


def make_net(kind: str, widths: list[int] | None = None) -> Any:
    from spacy_tcm.compress.memory import with_widths
    from spacy_tcm.nets.efficientnet import LITE0
    from spacy_tcm.nets.resnet import RESNET50
    from spacy_tcm.nets.text_encoder import TextEncoder, TextEncoderArch
    from spacy_tcm.nets.tongue import HeadsArch, TongueArch, TongueNet, pooled_size

    arch: Any
    if kind == "text":
        arch = TextEncoderArch(8000, 512, 2, 312, 26, ((12, 1200),) * 4)
    else:
        trunk = RESNET50 if kind == "resnet" else LITE0
        arch = TongueArch(trunk, 312, HeadsArch(pooled_size(trunk), 40, (5, 3), (False, True)))
    arch = arch if widths is None else with_widths(arch, widths)
    return (TextEncoder if kind == "text" else TongueNet)(arch)


def apart(function: Callable[..., Any], tasks: list[tuple], jobs: int) -> list[Any]:
    """Each in a process forked from this one, which has imported all and run nothing backwards."""
    context = multiprocessing.get_context("fork")
    results = []
    for start in range(0, len(tasks), jobs):
        running = []
        for task in tasks[start : start + jobs]:
            receiver, sender = context.Pipe(duplex=False)
            process = context.Process(target=_answer, args=(sender, function, task))
            process.start()
            sender.close()
            running.append((receiver, process))
        for receiver, process in running:
            results.append(receiver.recv())
            process.join()
    return results


def _answer(sender: Any, function: Callable[..., Any], task: tuple) -> None:
    sender.send(function(*task))


def read_status(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise OSError(field)


def work(
    kind: str, widths: list[int] | None, batch: int, size: int, mode: str, device: str
) -> None:
    import torch

    from spacy_tcm.compress.memory import make_inputs, run

    training = mode == "training"
    with torch.device(device):
        net = make_net(kind, widths).train(training)
        inputs = make_inputs(net.arch, batch, size)
        optimizer = torch.optim.Adam(net.parameters(), 1e-4) if training else None
        for _ in range(2):
            run(net, inputs, training)
            if optimizer is not None:
                optimizer.step()
                optimizer.zero_grad()


def measure(kind: str, widths: list[int], batch: int, size: int, mode: str, device: str) -> int:
    """Bytes that the peak rises by."""
    least = [2] * len(widths)
    work(kind, least, 2, 64, mode, device)  # loads kernels
    gc.collect()
    if device == "cuda":
        import torch

        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        work(kind, widths, batch, size, mode, device)
        return torch.cuda.max_memory_allocated() - before
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = read_status("RssAnon")
    work(kind, widths, batch, size, mode, device)
    # Pages of the libraries' own files are no memory of the net. The second step needs no new ones.
    return read_status("VmHWM") - read_status("RssFile") - before


def make_model(kind: str, batch: int, size: int, mode: str) -> Any:
    from spacy_tcm.compress.memory import ByteModel

    return ByteModel.of(make_net(kind), batch, size, mode == "training")


def r_squared(measured: list[float], found: list[float]) -> float:
    mean = statistics.fmean(measured)
    rest = sum((m - f) ** 2 for m, f in zip(measured, found, strict=True))
    return 1 - rest / sum((m - mean) ** 2 for m in measured)


def random_widths(full: tuple[int, ...], share: float, rng: random.Random) -> list[int]:
    """Each between a tenth and all of the full one, around a share."""
    shares = (min(1.0, max(0.1, share * rng.uniform(0.5, 1.5))) for _ in full)
    return [max(1, round(width * part)) for width, part in zip(full, shares, strict=True)]


def fitting_widths(model: Any, budget: int, rng: random.Random) -> list[int]:
    """Random widths, as wide as the budget allows: units grow in random steps and order."""
    widths = [1] * len(model.widths)
    growing = list(range(len(widths)))
    while growing:
        unit = rng.choice(growing)
        more = max(1, round(model.widths[unit] * rng.uniform(0.02, 0.2)))
        wider = list(widths)
        wider[unit] = min(model.widths[unit], widths[unit] + more)
        if model.peak(wider) <= budget:
            widths = wider
        if wider[unit] != widths[unit] or widths[unit] == model.widths[unit]:
            growing.remove(unit)
    return widths


def draw(report: dict[str, Any], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(9, 4.5), constrained_layout=True)
    for axis, mode in zip(axes, MODES, strict=True):
        for colour, kind in zip(("tab:blue", "tab:orange", "tab:green"), SHAPES, strict=True):
            row = report["fits"][f"{kind} {mode}"]
            for part, style in (("fitted", {"marker": "o"}), ("held_out", {"marker": "^"})):
                points = [p for p in row["points"] if p["part"] == part]
                axis.scatter(
                    [p["predicted"] / 1e6 for p in points],
                    [p["measured"] / 1e6 for p in points],
                    s=18,
                    facecolors=colour if part == "fitted" else "none",
                    edgecolors=colour,
                    label=f"{kind}, held out: R² = {row['r2_held_out']:.3f}"
                    if part == "held_out"
                    else f"{kind}, fitted: R² = {row['r2_fitted']:.3f}",
                    **style,
                )
        ends = [max(axis.get_xlim()[0], 5), axis.get_xlim()[1]]
        axis.plot(ends, ends, color="grey", linewidth=0.8, zorder=0, label="measured = predicted")
        axis.set(title=mode, xlabel="predicted (MB)", ylabel="measured (MB)")
        axis.set(xscale="log", yscale="log")
        axis.legend(fontsize=7)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--calibration", type=Path)
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time")
    args = parser.parse_args()
    if not MALLOC.items() <= os.environ.items():  # is read when a process begins
        env = {**os.environ, **MALLOC, "OMP_NUM_THREADS": "1"}
        os.execve(sys.executable, [sys.executable, *sys.argv], env)

    import torch

    from spacy_tcm.compress.memory import Calibration, trace

    torch.set_num_threads(1)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    trace(make_net("text"), 1, 8)  # imports what tracing needs
    rng = random.Random(7)
    report: dict[str, Any] = {
        "device": device,
        "machine": platform.machine(),
        "torch": torch.__version__,
        "malloc": MALLOC,
        "fits": {},
    }
    calibrations: dict[str, Calibration] = {}
    rows = [(kind, mode) for kind in SHAPES for mode in MODES]
    tasks = [(kind, *shape, mode) for kind, mode in rows for shape in SHAPES[kind]]
    models = dict(zip(tasks, apart(make_model, tasks, args.jobs), strict=True))
    print("models are made", flush=True)
    points = []
    for (kind, batch, size, mode), model in models.items():
        seen = (batch, size) != SHAPES[kind][-1]
        parts = ["fitted"] * FITTED * seen + ["held_out"] * (1 if seen else FITTED)
        for number, part in enumerate(parts):
            widths = random_widths(model.widths, (number + rng.random()) / len(parts), rng)
            point = {"net": f"{kind} {mode}", "part": part, "batch": batch, "size": size}
            point["task"] = (kind, widths, batch, size, mode, device)
            points.append({**point, "predicted": model.peak(widths)})
    found = apart(measure, [point.pop("task") for point in points], args.jobs)
    for point, bytes_ in zip(points, found, strict=True):
        point["measured"] = bytes_
    for kind, mode in rows:
        ours = [p for p in points if p["net"] == f"{kind} {mode}"]
        parts = {part: [p for p in ours if p["part"] == part] for part in ("fitted", "held_out")}
        pairs = {
            part: ([p["predicted"] for p in some], [p["measured"] for p in some])
            for part, some in parts.items()
        }
        calibration = calibrations[f"{kind} {mode}"] = Calibration.fit(*pairs["fitted"])
        line = replace(calibration, margin=0.0)
        row = asdict(calibration)
        for part, (predicted, measured) in pairs.items():
            row[f"r2_{part}"] = r_squared(measured, [line.apply(p) for p in predicted])
        print(f"{kind} {mode}", json.dumps(row), flush=True)
        report["fits"][f"{kind} {mode}"] = {**row, "points": ours}
    budgets = []
    for number in range(BUDGETS):
        kind, mode = rows[number % len(rows)]
        batch, size = rng.choice(SHAPES[kind])
        model = models[kind, batch, size, mode]
        model.calibration = calibrations[f"{kind} {mode}"]
        least, full = model.peak([1] * len(model.widths)), model.peak(model.widths)
        budget = round(least + rng.random() * (full - least))
        widths = fitting_widths(model, budget, rng)
        row = {"net": f"{kind} {mode}", "batch": batch, "size": size, "budget": budget}
        row["task"] = (kind, widths, batch, size, mode, device)
        budgets.append({**row, "full": full, "predicted": model.peak(widths)})
    found = apart(measure, [row.pop("task") for row in budgets], args.jobs)
    for row, bytes_ in zip(budgets, found, strict=True):
        row["measured"] = bytes_
        print(row, flush=True)
    report["budgets"] = budgets
    report["within_budget"] = sum(row["measured"] <= row["budget"] for row in budgets)
    print(f"measured <= budget: {report['within_budget']} of {len(budgets)}")
    args.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf8")
    if args.calibration:
        data = {key: asdict(calibration) for key, calibration in calibrations.items()}
        args.calibration.write_text(json.dumps(data, indent=1) + "\n", encoding="utf8")
    if args.plot:
        draw(report, args.plot)


if __name__ == "__main__":
    main()
