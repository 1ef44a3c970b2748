"""How time and memory grow with the length of a record, the number of records, of lexicon terms
and of labels.

    python benchmarks/growth.py OUT.json RECORDS.jsonl [--model tcm_multimodal] [--rounds 3]
        [--picture FILE.png] [--only SERIES ...]

Each point is a process of its own: it warms up, then takes the median of the rounds, and tells its
peak memory. Lengths: one record cut from the joined texts. Records: as they come, of 100 lengths
evenly, in nlp.pipe. Terms: 500 pieces of the text and random ones, of two to six characters,
matched over the same 200,000 characters. Labels: decoding of 64 texts of 128 tokens from random
scores. A slope is that of log time over log size (least squares): 1 is linear; that of the last
half of the points is told too, since at first fixed costs count. Series in OUT.json already are
kept, unless named by --only.
"""

import argparse
import json
import multiprocessing
import os
import platform
import random
import statistics
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy
from deployed import evenly
from deployed_worker import peak_bytes

LENGTH, RECORDS, TERMS, LABELS = "characters of a record", "records", "lexicon terms", "labels"
SIZES = {
    LENGTH: (100, 300, 1_000, 3_000, 10_000, 30_000, 50_000),
    RECORDS: (10, 30, 100, 300, 1_000),
    TERMS: (1_000, 10_000, 100_000, 1_000_000),
    LABELS: (5, 10, 23, 50, 100),
}


def of_length(size: int, texts: list[str], model: str) -> Callable[[], Any]:
    import spacy

    nlp = spacy.load(model)
    text = "".join(texts)
    text = (text * (size // len(text) + 1))[:size]
    return lambda: nlp(text)


def of_records(size: int, texts: list[str], model: str) -> Callable[[], Any]:
    import spacy

    nlp = spacy.load(model)
    some = evenly(texts, 100, len)
    texts = (some * (size // len(some) + 1))[:size]

    def run() -> None:
        for _ in nlp.pipe(texts):
            pass

    return run


def of_terms(size: int, texts: list[str], model: str) -> Callable[[], Any]:
    from spacy_tcm.lexicon import Lexicon

    draw = random.Random(0)
    text = "".join(texts)[:200_000]
    # Half of the fewest are pieces of the text, so that there is as much to find by all sizes.
    terms: set[str] = set()
    while len(terms) < SIZES[TERMS][0] // 2:
        start = draw.randrange(len(text) - 6)
        piece = text[start : start + draw.randint(2, 6)]
        if all("\u4e00" <= c <= "\u9fff" for c in piece):
            terms.add(piece)
    while len(terms) < size:
        length = draw.randint(2, 6)
        terms.add("".join(chr(draw.randint(0x4E00, 0x9FA5)) for _ in range(length)))
    lexicon = Lexicon()
    lexicon.add_terms((term, "SYMPTOM") for term in sorted(terms))
    return lambda: lexicon.matches(text)


def of_labels(size: int, texts: list[str], model: str) -> Callable[[], Any]:
    from spacy_tcm.decoding import Potentials, best_paths
    from spacy_tcm.tags import legal_transitions

    generator = numpy.random.default_rng(0)
    start, end, legal = map(numpy.array, legal_transitions(size))
    potentials = Potentials(
        *(
            numpy.where(may, generator.standard_normal(may.shape), -10_000.0)
            for may in (start, legal, end)
        )
    )
    emissions = generator.standard_normal((64, 128, len(start))).astype("f")
    return lambda: best_paths(potentials, emissions, [128] * 64)


SERIES = {LENGTH: of_length, RECORDS: of_records, TERMS: of_terms, LABELS: of_labels}


def serve(
    pipe: Connection, series: str, size: int, texts: list[str], model: str, rounds: int
) -> None:
    """In a process of its own: one point."""
    run = SERIES[series](size, texts, model)
    run()
    seconds = []
    for _ in range(rounds):
        start = perf_counter()
        run()
        seconds.append(perf_counter() - start)
    pipe.send({"size": size, "seconds": seconds, "peak_bytes": peak_bytes()})


def measure(series: str, texts: list[str], model: str, rounds: int) -> dict[str, Any]:
    context = multiprocessing.get_context("spawn")
    points = []
    for size in SIZES[series]:
        pipe, theirs = context.Pipe()
        process = context.Process(target=serve, args=(theirs, series, size, texts, model, rounds))
        process.start()
        theirs.close()
        try:
            points.append(pipe.recv())
        except EOFError:
            raise SystemExit(f"{series} {size}: the process ended without a result.") from None
        process.join()
        print(f"{series} {size}: {statistics.median(points[-1]['seconds']):.4f} s", flush=True)
    half = points[len(points) // 2 :]
    return {"points": points, "slope": slope(points), "slope_of_last_half": slope(half)}


def slope(points: list[dict[str, Any]]) -> float:
    """Of log time over log size."""
    sizes = numpy.log([point["size"] for point in points])
    times = numpy.log([statistics.median(point["seconds"]) for point in points])
    return float(numpy.polyfit(sizes, times, 1)[0])


def draw(report: dict[str, Any], path: Path) -> None:
    from matplotlib import pyplot

    series = [name for name in SERIES if name in report["series"]]
    rows = (len(series) + 1) // 2
    figure, axes = pyplot.subplots(rows, 2, figsize=(9, 3.2 * rows), squeeze=False)
    for axis, name in zip(axes.flat, series, strict=False):
        found = report["series"][name]
        sizes = [point["size"] for point in found["points"]]
        times = [statistics.median(point["seconds"]) for point in found["points"]]
        axis.loglog(sizes, times, "o-", color="tab:blue")
        axis.set_xlabel(name)
        axis.set_ylabel("seconds", color="tab:blue")
        axis.set_title(f"slope {found['slope_of_last_half']:.2f} (last half)", fontsize=10)
        memory = axis.twinx()
        peaks = [point["peak_bytes"] / 2**20 for point in found["points"]]
        memory.semilogx(sizes, peaks, "s--", color="tab:orange")
        memory.set_ylim(0, 1.2 * max(peaks))
        memory.set_ylabel("peak memory, MB", color="tab:orange")
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("records", type=Path)
    parser.add_argument("--model", default="tcm_multimodal")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--only", nargs="+", choices=[*SERIES])
    args = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    lines = args.records.read_text(encoding="utf8").splitlines()
    texts = [json.loads(line)["text"] for line in lines]
    new = {"series": {}, "machine": platform.machine(), "rounds": args.rounds}
    report = json.loads(args.out.read_text(encoding="utf8")) if args.out.exists() else new
    for name in args.only or [name for name in SERIES if name not in report["series"]]:
        report["series"][name] = measure(name, texts, args.model, args.rounds)
        text = json.dumps(report, indent=1, ensure_ascii=False)
        args.out.write_text(text + "\n", encoding="utf8")
    if args.picture is not None:
        draw(report, args.picture)


if __name__ == "__main__":
    main()
