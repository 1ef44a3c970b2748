"""Speed and memory of every row of the published tables, in one run against BERT-Large's shape.

    python benchmarks/shapes.py OUT.json CORPUS_DIR [--rows ROW ...] [--images DIR] [--rounds 3]
        [--count 24] [--few 4] [--threads 1] [--light PYTHON]

CORPUS_DIR: made by `spacy project run render`. Rows are the pipelines of `experiments.py` with
random weights, networks alone of `deployed_worker.py`, and tcm_multimodal if it is installed, each
in a process of its own; a group of them takes turns with BERT-Large, a round each, with photos
where a row looks at them (--images, else the rendered ones of CORPUS_DIR, as JPEGs of 1000 x 800
pixels). --light: of an environment with requirements/base.txt, this package and tcm_multimodal,
which runs there: spaCy loads torch where it is. Rule components are left out: rows differ in what
finds the entities. BERT-Large reads few
records, so rows compare by characters. Accuracy of the same rows: `experiments.py`. A row that
OUT.json holds already is not measured again.
"""

import argparse
import json
import multiprocessing
import os
import platform
import statistics
import sys
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import experiments
from deployed import PIPELINE, Settings, Worker, prepare
from deployed_worker import LARGE, LARGE_16, NETS
from photo_speed import apart

DEPLOYED = "tcm_multimodal"
# Rows at a time: each is a process that stays.
GROUP = 5
# These are of a shape whose networks are measured alone.
ALONE = ("BERT-Large", "MobileBERT")


def rows() -> list[str]:
    found = [DEPLOYED, f"{DEPLOYED}, text alone"] if find_spec(DEPLOYED) else []
    found += [name for name in NETS if name not in (LARGE, LARGE_16)]
    return found + [name for name in experiments.ROWS if name not in ALONE]


def build(name: str, corpus: Path, out: Path) -> None:
    """Write the pipeline of a row of `experiments.py`, untrained. In a process of its own."""
    from spacy.training.initialize import init_nlp

    from spacy_tcm.tags import LABELS

    config = experiments.make_config(name, corpus / "tune.jsonl", corpus, 0, out, None)
    config["initialize"]["components"]["multimodal_ner"]["labels"] = list(LABELS)
    init_nlp(config).to_disk(out / "model")


def measure(names: list[str], corpus: Path, settings: Settings) -> dict[str, Any]:
    """A group of rows, by turns with BERT-Large."""
    threads = settings.threads[0]
    taken: dict[str, list[dict[str, Any]]] = {LARGE: [], **{name: [] for name in names}}
    peaks: dict[str, int] = {}
    with ExitStack() as stack:
        workers = {LARGE: (stack.enter_context(Worker(settings, LARGE, threads)), {})}
        for name in names:
            row, model, python, asked = PIPELINE, "", "", {}
            if name in NETS:
                row = name
            elif name.startswith(DEPLOYED):
                model, python = DEPLOYED, settings.python
                asked = {"photos": name == DEPLOYED, "rules": False}
            else:
                out = Path(stack.enter_context(TemporaryDirectory()))
                context = multiprocessing.get_context("spawn")
                process = context.Process(target=build, args=(name, corpus, out))
                process.start()
                process.join()
                model = str(out / "model")
                asked = {"photos": experiments.ROWS[name].photo, "rules": False}
            workers[name] = (
                stack.enter_context(Worker(settings, row, threads, model, python)),
                asked,
            )
        for number in range(settings.rounds + 1):
            for name, (worker, asked) in workers.items():
                answer = worker.ask("round", **asked)
                if number:  # the first warms up
                    taken[name].append(answer)
                print(f"{name}: {answer['seconds']:.2f} s", flush=True)
        for name, (worker, _) in workers.items():
            peaks[name] = worker.ask("peak")["peak_bytes"]
    reference = [a["characters"] / a["seconds"] for a in taken[LARGE]]
    return {
        name: {
            "seconds": [a["seconds"] for a in answers],
            "records": answers[0]["records"],
            "characters": answers[0]["characters"],
            "cpu_seconds_per_record": statistics.median(
                a["cpu_seconds"] / a["records"] for a in answers
            ),
            "records_per_second": statistics.median(a["records"] / a["seconds"] for a in answers),
            "times_as_fast": statistics.median(
                a["characters"] / a["seconds"] / r for a, r in zip(answers, reference, strict=True)
            ),
            "peak_bytes": peaks[name],
            "share_of_peak": peaks[name] / peaks[LARGE],
        }
        for name, answers in taken.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--rows", nargs="+", choices=rows(), default=rows())
    parser.add_argument("--images", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--count", type=int, default=24, help="Records of the rows.")
    parser.add_argument("--few", type=int, default=4, help="Records of BERT-Large.")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--light", default="", help="Python that tcm_multimodal runs in.")
    args = parser.parse_args()
    report = json.loads(args.out.read_text(encoding="utf8")) if args.out.exists() else {}
    found = report.setdefault(str(args.threads), {})
    missing = [name for name in args.rows if name not in found]
    with TemporaryDirectory() as folder:
        images = args.images or args.corpus / "images"
        data = apart(prepare, args.corpus / "train.jsonl", images, args.count, args.few, folder)
        if report.get("data", data) != data:
            sys.exit(f"{args.out} has rows of other records: give the same --count and --few.")
        report["data"] = data
        report["rounds"] = args.rounds
        report["system"] = {
            "python": platform.python_version(),
            "machine": platform.machine(),
            "cpus": os.cpu_count(),
        }
        settings = Settings(
            model=DEPLOYED,
            full=None,
            python=args.light,
            wheel=None,
            annotated={},
            photos=None,
            rounds=args.rounds,
            folder=Path(folder),
            threads=(args.threads,),
            many=report["data"]["many"]["records"],
            images=True,
        )
        for at in range(0, len(missing), GROUP):
            found.update(measure(missing[at : at + GROUP], args.corpus, settings))
            text = json.dumps(report, indent=1, ensure_ascii=False)
            args.out.write_text(text + "\n", encoding="utf8")


if __name__ == "__main__":
    main()
