"""Named entities by other tools, on the same work: scores, speed, memory, size.

    python benchmarks/peers.py OUT.json CORPUS_DIR --models DIR [--gold GOLD_DIR] [--peers PYTHON]
        [--light PYTHON] [--seconds 330] [--rows ROW ...] [--rounds 5] [--model tcm_multimodal]

CORPUS_DIR: made by `spacy project run render` (train and dev.jsonl, images/). GOLD_DIR: holds
gold23.train.jsonl, trained on too, and gold23.dev.jsonl, scored too; no part of this repository.
--peers: an interpreter with requirements/peers.txt and this package; without it, the rows that need
it are skipped. --light: one with requirements/base.txt, jieba and this package: rows that need no
torch are measured in it, since spaCy loads torch where it is, whether a pipeline needs it or not.

Every row that is trained gets about as many processor seconds; ours takes those of its config.
Texts alone are read, by all. What is trained is kept in DIR; a row that OUT.json holds already is
not trained again. Then all are measured in one run, each in a process of its own and in one thread:
they take turns, a round of the dev texts each. Reported is the median, by processor time, so that
other work on the machine disturbs it little; the peak memory of the process; and the size of what
is stored, of ours without the components that do not find entities.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from runs import read_jsonl, run_missing
from tables import table

ROOT = Path(__file__).parents[1]
WORKER = Path(__file__).with_name("peers_worker.py")
WRITTEN, REAL = "written dev", "gold23.dev (real)"
PARTS = (WRITTEN, REAL)


@dataclass(frozen=True)
class Row:
    """kind, settings: of the worker. peers: needs their environment. light: measured in the light
    one. start: what its weights were before."""

    kind: str
    settings: dict[str, Any] = field(default_factory=dict)
    peers: bool = False
    light: bool = False
    start: str = "no weights"


RANDOM, ENCODER = "random; no public pretraining", "our encoder, else random"
ROWS: dict[str, Row] = {
    "longest match, training entities": Row("dictionary", {"words": "surfaces"}, light=True),
    "longest match, our lexicon": Row("dictionary", {"words": "terms"}, light=True),
    "spaCy EntityRuler on jieba, both": Row("ruler", light=True),
    "spaCy ner (HashEmbedCNN), our tokens": Row(
        "spacy", {"language": "tcm", "encoder": False}, light=True, start=RANDOM
    ),
    "spaCy ner (HashEmbedCNN), characters of zh": Row(
        "spacy", {"language": "zh", "encoder": False}, light=True, start=RANDOM
    ),
    "spacy-transformers ner": Row("spacy", {"language": "tcm", "encoder": True}, start=ENCODER),
    "edsnlp eds.ner_crf": Row("edsnlp", {"cnn": False}, peers=True, start=ENCODER),
    "GLiNER": Row("gliner", peers=True, start=ENCODER),
    "ours, ner_cpu.cfg": Row("ours", {"config": "ner_cpu.cfg"}, start=RANDOM),
    "ours, tcm_multimodal as released": Row(
        "released", light=True, start="trained before, see models/"
    ),
}


class Server:
    """A row's process: a finder of entities."""

    def __init__(self, python: str, kind: str, folder: Path):
        self.process = subprocess.Popen(
            [python, str(WORKER), "serve", kind, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment(),
            encoding="utf8",
        )

    def find(self, texts: list[str]) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(json.dumps(texts), file=self.process.stdin, flush=True)
        return json.loads(self.process.stdout.readline())

    def close(self) -> None:
        self.process.communicate()


def environment() -> dict[str, str]:
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    offline = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    return {**os.environ, **threads, **offline, "PYTHONPATH": str(ROOT)}


def train_and_score(name: str, args: argparse.Namespace) -> dict[str, Any]:
    row = ROWS[name]
    python = args.peers if row.peers else sys.executable
    folder = folder_of(args.models, name)
    folder.mkdir(parents=True, exist_ok=True)
    training = read_jsonl(args.corpus / "train.jsonl")
    scored = {WRITTEN: args.corpus / "dev.jsonl"}
    if args.gold is not None:
        training += read_jsonl(args.gold / "gold23.train.jsonl")
        scored[REAL] = args.gold / "gold23.dev.jsonl"
    settings = {**row.settings, **({"model": args.model} if row.kind == "released" else {})}
    with TemporaryDirectory() as temporary:
        records, job = Path(temporary, "train.jsonl"), Path(temporary, "job.json")
        lines = [json.dumps(record, ensure_ascii=False) + "\n" for record in training]
        records.write_text("".join(lines), encoding="utf8")
        task = {
            "kind": row.kind,
            "settings": settings,
            "records": str(records),
            "corpus": str(args.corpus),
            "lexicon": str(ROOT / "assets" / "lexicon"),
            "encoder": str(ROOT / "assets" / "encoder"),
            "seconds": args.seconds,
            "seed": args.seed,
            "folder": str(folder),
        }
        job.write_text(json.dumps(task), encoding="utf8")
        command = [python, str(WORKER), "train", str(job)]
        subprocess.run(command, check=True, env=environment())
    known = {r["text"][start:end] for r in training for start, end, _ in r["entities"]}
    server = Server(python, row.kind, folder)
    scores = {}
    for part, path in scored.items():
        gold = read_jsonl(path)
        found = server.find([record["text"] for record in gold])["entities"]
        scores[part] = score(gold, found, known)
    server.close()
    took = json.loads((folder / "training.json").read_text(encoding="utf8"))
    disk = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return {"start": row.start, "seed": args.seed, "training": took, "disk_bytes": disk, **scores}


def folder_of(models: Path, name: str) -> Path:
    return models.resolve() / "".join(c if c.isalnum() else "_" for c in name)


def score(
    records: Sequence[dict[str, Any]], found: Sequence[Sequence[Sequence[Any]]], known: set[str]
) -> dict[str, Any]:
    """Of exact spans with their labels. rare: entities whose surface is none of the known."""
    gold = {(i, *entity) for i, r in enumerate(records) for entity in r["entities"]}
    predicted = {(i, *entity) for i, entities in enumerate(found) for entity in entities}
    correct = gold & predicted
    rare = {(i, s, e, label) for i, s, e, label in gold if records[i]["text"][s:e] not in known}
    total = len(gold) + len(predicted)
    return {
        "precision": len(correct) / len(predicted) if predicted else None,
        "recall": len(correct) / len(gold) if gold else None,
        "f": 2 * len(correct) / total if total else None,
        "gold": len(gold),
        "predicted": len(predicted),
        "correct": len(correct),
        "rare_recall": len(rare & correct) / len(rare) if rare else None,
        "rare": len(rare),
    }


def measure(names: Sequence[str], texts: list[str], args: argparse.Namespace) -> dict[str, Any]:
    servers = {}
    for name in names:
        row = ROWS[name]
        python = args.peers if row.peers else args.light if row.light else sys.executable
        servers[name] = Server(python, row.kind, folder_of(args.models, name))
    answers: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for _ in range(args.rounds + 1):
        for name, server in servers.items():
            answers[name].append(server.find(texts))
    found = {}
    for name, server in servers.items():
        server.close()
        timed = answers[name][1:]  # the first warms up
        found[name] = {
            "processor_seconds": [answer["processor"] for answer in timed],
            "wall_seconds": [answer["wall"] for answer in timed],
            "peak_bytes": timed[-1]["peak_bytes"],
        }
    return {"records": len(texts), "characters": sum(map(len, texts)), "rows": found}


def summarize(runs: dict[str, Any]) -> dict[str, Any]:
    return {
        name: {part: run[part]["f"] for part in PARTS if part in run} for name, run in runs.items()
    }


def render(report: dict[str, Any]) -> str:
    """The table: scores of all parts, then what each row needs."""
    speed = report["speed"]
    parts = [part for part in PARTS if any(part in run for run in report["runs"].values())]
    header = ["tool"]
    for part in parts:
        header += [f"{part}: P", "R", "F1", "rare recall"]
    header += [
        "records/s",
        "characters/s",
        "MB memory",
        "MB on disk",
        "training, CPU s",
        "weights before",
    ]
    rows = []
    for name in ROWS:
        run, measured = report["runs"].get(name), speed["rows"].get(name)
        if run is None or measured is None:
            continue
        cells = [name]
        for part in parts:
            values = (run[part][key] for key in ("precision", "recall", "f", "rare_recall"))
            cells += ["–" if value is None else f"{100 * value:.1f}" for value in values]
        seconds = statistics.median(measured["processor_seconds"])
        cells += [f"{speed['records'] / seconds:,.0f}", f"{speed['characters'] / seconds:,.0f}"]
        cells += [f"{size / 2**20:,.1f}" for size in (measured["peak_bytes"], run["disk_bytes"])]
        trained = run["training"]["steps"] > 0
        cells += [f"{run['training']['cpu_seconds']:.0f}" if trained else "–", run["start"]]
        rows.append(cells)
    return table(header, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--gold", type=Path)
    parser.add_argument("--peers")
    parser.add_argument("--light", default=sys.executable)
    parser.add_argument("--model", default="tcm_multimodal")
    parser.add_argument("--rows", nargs="+", choices=[*ROWS], default=[*ROWS])
    parser.add_argument("--seconds", type=float, default=330)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=5, help="0: measure nothing.")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        args.out.write_text(json.dumps(train_and_score(args.one, args)), encoding="utf8")
        return
    arguments = [str(args.corpus)]
    for option in ("models", "gold", "peers", "model", "seconds", "seed"):
        if getattr(args, option) is not None:
            arguments += [f"--{option}", str(getattr(args, option))]
    names = [name for name in args.rows if args.peers or not ROWS[name].peers]
    for name in set(args.rows) - set(names):
        print(f"Skipped, no --peers: {name}")

    def describe(run: dict[str, Any]) -> str:
        return ", ".join(f"{part} F {run[part]['f']:.3f}" for part in PARTS if part in run)

    run_missing(args.out, names, __file__, arguments, summarize, describe, 1)
    if not args.rounds:
        return
    scored = [args.corpus / "dev.jsonl"]
    scored += [args.gold / "gold23.dev.jsonl"] if args.gold else []
    texts = [record["text"] for path in scored for record in read_jsonl(path)]
    report = json.loads(args.out.read_text(encoding="utf8"))
    report["speed"] = measure([n for n in names if n in report["runs"]], texts, args)
    args.out.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf8")
    print(render(report))


if __name__ == "__main__":
    main()
