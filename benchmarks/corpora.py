"""Other corpora, by their own labels: one pipeline for everything, beside one for each alone.

    python benchmarks/corpora.py OUT.json CORPUS_DIR DATA_DIR [--config tinybert.cfg] [--steps N]
        [--seeds 0 1 2] [--rows ROW ...] [--jobs 2]

CORPUS_DIR: as for ner.py. DATA_DIR: holds the train and dev parts of the corpora, which are no part
of this repository. "alone": trained on the corpus's own labels, unmarked text outside.
"everything": one training on our records, gold23.train and all corpora through the label maps of
configs/joint.cfg, unmarked text of the corpora unknown. Scored on the corpus's dev part: exact
spans, of the labels that the map knows; a label of ours counts as one of theirs if the map allows
it. Nothing is chosen: the last checkpoint is scored. What OUT.json holds is not computed again.
"""

import argparse
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from time import process_time
from typing import Any

from ner import CONFIGS, OTHERS, Row, make_config, mean_sd
from runs import run_missing, train_last

SCORED = OTHERS[:3]
EVERYTHING = "everything"
ROWS = [EVERYTHING, *(f"{name} alone" for name in SCORED)]

# Own label -> the labels of a prediction that count as it.
Accepts = dict[str, set[str]]


def read_maps() -> dict[str, Accepts]:
    """The label maps of configs/joint.cfg, without what they drop."""
    from spacy.util import load_config

    config = load_config(CONFIGS / "joint.cfg", interpolate=False)
    return {
        name: {
            own: {ours} if isinstance(ours, str) else set(ours)
            for own, ours in config["corpora"]["train"]["corpora"][name]["label_map"].items()
            if ours is not None
        }
        for name in OTHERS
    }


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf8").splitlines()]


def score(nlp: Any, records: list[dict[str, Any]], accepts: Accepts) -> dict[str, Any]:
    """Exact spans of the labels in accepts."""
    counted = set().union(*accepts.values())
    right = gold = predicted = 0
    docs = nlp.pipe(record["text"] for record in records)
    for doc, record in zip(docs, records, strict=True):
        found = {(e.start_char, e.end_char): e.label_ for e in doc.ents if e.label_ in counted}
        marked = [(s, e, label) for s, e, label in record["entities"] if label in accepts]
        right += sum(found.get((s, e)) in accepts[label] for s, e, label in marked)
        gold += len(marked)
        predicted += len(found)
    precision, recall = right / max(1, predicted), right / max(1, gold)
    return {
        "precision": precision,
        "recall": recall,
        "f": 2 * right / max(1, gold + predicted),
        "gold": gold,
        "predicted": predicted,
    }


def train_and_score(args: argparse.Namespace, name: str, seed: int) -> dict[str, Any]:
    """Runs in a process of its own."""
    maps = read_maps()
    start = process_time()
    with TemporaryDirectory() as folder:
        out = Path(folder)
        training = out / "train.jsonl"
        trained_on = name.removesuffix(" alone")
        if name == EVERYTHING:
            parts = [args.corpus / "train.jsonl", args.data / "gold23.train.jsonl"]
            lines = "".join(part.read_text(encoding="utf8") for part in parts)
            training.write_text(lines, encoding="utf8")
            row = Row(args.config, others=OTHERS)
            config = make_config(row, training, args.corpus, args.data, seed, out)
        else:
            records = read(args.data / f"{trained_on}.train.jsonl")
            labels = sorted({label for r in records for *_, label in r["entities"]})
            lines = "".join(json.dumps({**r, "labels": labels}) + "\n" for r in records)
            training.write_text(lines, encoding="utf8")
            config = make_config(Row(args.config), training, args.corpus, args.data, seed, out)
            config["initialize"]["components"]["multimodal_ner"]["labels"] = labels
        config["training"]["eval_frequency"] = args.steps or config["training"]["max_steps"]
        nlp = train_last(config, out, args.steps)
        seconds = round(process_time() - start)
        scores = {}
        for corpus in SCORED if name == EVERYTHING else (trained_on,):
            own = {label: {label} for label in maps[corpus]}
            accepts = maps[corpus] if name == EVERYTHING else own
            scores[corpus] = score(nlp, read(args.data / f"{corpus}.dev.jsonl"), accepts)
    return {
        "config": args.config,
        "steps": nlp.config["training"]["max_steps"],
        "train_cpu_seconds": seconds,
        **scores,
    }


def summarize(runs: dict[str, Any]) -> dict[str, Any]:
    """Mean and standard deviation over seeds: corpus -> row -> score."""
    summary: dict[str, Any] = {}
    for corpus in SCORED:
        for row in ROWS:
            done = [r for key, r in runs.items() if key.rpartition(" #")[0] == row]
            found = [run[corpus] for run in done if corpus in run]
            if found:
                summary.setdefault(corpus, {})[row] = {
                    "seeds": len(found),
                    "gold": found[0]["gold"],
                    **{n: mean_sd([s[n] for s in found]) for n in ("precision", "recall", "f")},
                }
    return summary


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--config", default="tinybert.cfg")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=ROWS)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        row, _, seed = args.one.rpartition(" #")
        result = train_and_score(args, row, int(seed))
        args.out.write_text(json.dumps(result), encoding="utf8")
        return
    if not (args.data / f"{SCORED[0]}.train.jsonl").is_file():
        raise SystemExit(f"Skipped: the corpora are not in {args.data}.")
    arguments = [str(args.corpus), str(args.data), "--config", args.config]
    arguments += ["--steps", str(args.steps)] if args.steps else []
    keys = [f"{row} #{seed}" for seed in args.seeds for row in args.rows]

    def describe(result: dict[str, Any]) -> str:
        return ", ".join(f"{c} F {result[c]['f']:.3f}" for c in SCORED if c in result)

    run_missing(args.out, keys, __file__, arguments, summarize, describe, args.jobs)


if __name__ == "__main__":
    main()
