"""Entity scores of the small pipeline, with and without lexicon features, over seeds.

    python benchmarks/ner.py OUT.json CORPUS_DIR [--gold GOLD_DIR] [--seeds 0 1 2] [--jobs 2]

CORPUS_DIR: made by `spacy project run render` (train, tune and dev.jsonl, images/). GOLD_DIR: holds
gold23.train.jsonl and gold23.dev.jsonl, real cases that are not part of this repository; without
it, the rows that need them are skipped. Each row is trained by `spacy train` with
configs/ner_cpu.cfg. Rows of the train part: the best checkpoint is chosen on the tune part, the
dev parts are only scored. Rows of all written records: nothing is chosen, the last checkpoint is
scored, and only on the real dev part. A result that OUT.json holds already is not computed again.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from time import process_time
from typing import Any

ROOT = Path(__file__).parents[1]
WRITTEN, REAL = "written dev", "gold23.dev (real)"
NO_LEXICON = {"components.multimodal_ner.model.lexicon": False}
# Row -> trained on all written records and the real cases, changes to the config.
ROWS: dict[str, tuple[bool, dict[str, Any]]] = {
    "written train": (False, {}),
    "written train, no lexicon": (False, NO_LEXICON),
    "all written + real": (True, {}),
    "all written + real, no lexicon": (True, NO_LEXICON),
}


def train_and_score(
    corpus: Path, gold: Path | None, row: str, seed: int, steps: int | None
) -> dict[str, Any]:
    """Runs in a process of its own: one training, scored on both dev parts."""
    import spacy
    import torch
    from spacy.training.initialize import init_nlp
    from spacy.training.loop import train
    from spacy.util import load_config

    from spacy_tcm.training.evaluation import evaluate_records
    from spacy_tcm.training.reading import read_records, read_with_images

    torch.set_num_threads(1)
    everything, changes = ROWS[row]
    parts = [corpus / "train.jsonl"]
    scored = {WRITTEN: corpus / "dev.jsonl"}
    if gold is not None:
        scored[REAL] = gold / "gold23.dev.jsonl"
        if everything:
            parts += [corpus / "tune.jsonl", scored.pop(WRITTEN), gold / "gold23.train.jsonl"]
    overrides = {
        "paths.train": [str(part) for part in parts],
        "paths.tune": str(corpus / "tune.jsonl"),
        "paths.images": str(corpus / "images"),
        "paths.lexicon": str(ROOT / "assets" / "lexicon"),
        "system.seed": seed,
        "training.logger.progress_bar": False,
        **({"training.max_steps": steps} if steps else {}),
        **changes,
    }
    start = process_time()
    with TemporaryDirectory() as out:
        nlp = init_nlp(load_config(ROOT / "configs" / "ner_cpu.cfg", overrides=overrides))
        train(nlp, Path(out), stdout=sys.stderr)
        nlp = spacy.load(Path(out) / ("model-last" if everything else "model-best"))
        seconds = process_time() - start
        scores = {}
        for name, path in scored.items():
            records = read_with_images([path], image_root=corpus / "images")
            scores[name] = evaluate_records(nlp, records, training=read_records(parts))
    return {
        "train_cpu_seconds": round(seconds),
        "steps": nlp.config["training"]["max_steps"],
        **scores,
    }


def summarize(runs: dict[str, Any]) -> dict[str, Any]:
    """Mean and standard deviation over seeds, by row and dev part."""
    summary: dict[str, Any] = {}
    for row in ROWS:
        done = [run for key, run in runs.items() if key.rpartition(" #")[0] == row]
        for part in (WRITTEN, REAL):
            found = [run[part] for run in done if part in run]
            if found:
                values = {
                    "precision": [s["exact"]["precision"] for s in found],
                    "recall": [s["exact"]["recall"] for s in found],
                    "f": [s["exact"]["f"] for s in found],
                    "overlap_f": [s["overlap"]["f"] for s in found],
                    "macro_f": [s["macro_f"] for s in found],
                    "rare_recall": [s["rare"]["recall"] for s in found],
                }
                labels = sorted({label for s in found for label in s["per_label"]})
                summary.setdefault(row, {})[part] = {
                    "seeds": len(found),
                    **{name: _mean_sd(v) for name, v in values.items()},
                    "per_label": {
                        label: {
                            "gold": found[0]["per_label"][label]["exact"]["gold"],
                            **{
                                name: _mean_sd(
                                    [s["per_label"][label]["exact"][name] for s in found]
                                )
                                for name in ("precision", "recall", "f")
                            },
                        }
                        for label in labels
                        if all(label in s["per_label"] for s in found)
                    },
                }
    return summary


def _mean_sd(values: list[float | None]) -> dict[str, float | None]:
    known = [v for v in values if v is not None]
    if not known:
        return {"mean": None, "sd": None}
    sd = statistics.stdev(known) if len(known) > 1 else None
    return {"mean": statistics.fmean(known), "sd": sd}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--gold", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rows", nargs="+", choices=[*ROWS], default=[*ROWS])
    parser.add_argument("--steps", type=int, help="Other than the config's, for a trial.")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        row, _, seed = args.one.rpartition(" #")
        result = train_and_score(args.corpus, args.gold, row, int(seed), args.steps)
        args.out.write_text(json.dumps(result), encoding="utf8")
        return
    if args.gold is None:
        print(f"No --gold: rows with real cases and the scores on {REAL} are skipped.")
    report = json.loads(args.out.read_text(encoding="utf8")) if args.out.exists() else {"runs": {}}
    lock = Lock()

    def run(key: str) -> None:
        with TemporaryDirectory() as folder:
            part = Path(folder) / "result.json"
            command = [sys.executable, __file__, str(part), str(args.corpus), "--one", key]
            command += ["--gold", str(args.gold)] if args.gold else []
            command += ["--steps", str(args.steps)] if args.steps else []
            env = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
            subprocess.run(command, check=True, env=env)
            result = json.loads(part.read_text(encoding="utf8"))
        with lock:
            report["runs"][key] = result
            report["summary"] = summarize(report["runs"])
            report["system"] = {
                "python": platform.python_version(),
                "machine": platform.machine(),
                "cpus": os.cpu_count(),
                **{p: version(p) for p in ("spacy-tcm", "spacy", "thinc", "torch", "numpy")},
            }
            args.out.write_text(json.dumps(report, indent=1, ensure_ascii=False), encoding="utf8")
        found = [f"{p} F {result[p]['exact']['f']:.3f}" for p in (WRITTEN, REAL) if p in result]
        print(f"{key}: {', '.join(found)}", flush=True)

    keys = [
        f"{row} #{seed}"
        for seed in args.seeds
        for row in args.rows
        if (args.gold or not ROWS[row][0]) and f"{row} #{seed}" not in report["runs"]
    ]
    with ThreadPoolExecutor(args.jobs) as pool:
        list(pool.map(run, keys))


if __name__ == "__main__":
    main()
