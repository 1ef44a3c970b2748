"""Entity scores: what each part of the training is worth, over seeds.

    python benchmarks/ner.py OUT.json CORPUS_DIR [--gold GOLD_DIR] [--seeds 0 1 2] [--jobs 2]
        [--rows ROW ...]

CORPUS_DIR: made by `spacy project run render` (train, tune and dev.jsonl, images/). GOLD_DIR: holds
gold23.train.jsonl and gold23.dev.jsonl, and for the joint rows the other corpora, which are no part
of this repository; without it, the rows that need them are skipped. Each row is trained by
`spacy train`'s loop. Rows that keep the dev part out of training: the best checkpoint is chosen on
the tune part, the dev parts are only scored. Rows trained on everything: nothing is chosen, the
last checkpoint is scored, and only on the real dev part. With --choose, all rows leave out the
tune part, the dev part and every fourth real training case, and the last checkpoint is scored on
the tune part and these cases: so are choices made, never on a dev part. A result that OUT.json
holds already is not computed again.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from time import process_time
from typing import Any

ROOT = Path(__file__).parents[1]
CONFIGS = ROOT / "configs"
WRITTEN, REAL = "written dev", "gold23.dev (real)"
TUNE, QUARTER = "written tune", "a quarter of gold23.train (real)"
PARTS = (WRITTEN, REAL, TUNE, QUARTER)

# Files of assets/records added later; the rows of "written" leave them out.
ADDED = ("classical_cases", "clinic_notes", "modern_cases")
OTHERS = ("tcm_abstracts", "tcm_web", "drug_leaflets", "consumer_qa")


@dataclass(frozen=True)
class Row:
    """config: of configs/. everything: trained also on tune, dev and the real training cases.
    added: with the files `ADDED`. changes: to the config. others: corpora of configs/joint.cfg
    trained on beside, and what their unmarked text is. augment: one augmentation, by its name."""

    config: str = "ner_cpu.cfg"
    everything: bool = False
    added: bool = True
    changes: dict[str, Any] = field(default_factory=dict)
    others: tuple[str, ...] = ()
    unlabelled: str = "unknown"
    augment: str | None = None


NO_LEXICON = {"components.multimodal_ner.model.lexicon": False}
RANDOM = {"random_encoder": True}
ALL = {"everything": True}
ROWS: dict[str, Row] = {
    "written train": Row(added=False),
    "written train, no lexicon": Row(added=False, changes=NO_LEXICON),
    "all written + real": Row(**ALL, added=False),
    "all written + real, no lexicon": Row(**ALL, added=False, changes=NO_LEXICON),
    "records train": Row(),
    "records train, no lexicon": Row(changes=NO_LEXICON),
    "all records + real": Row(**ALL),
    "all records + real, no lexicon": Row(**ALL, changes=NO_LEXICON),
    "all records + real + others, unmarked unknown": Row(**ALL, others=OTHERS),
    "all records + real + others, unmarked outside": Row(
        **ALL, others=OTHERS, unlabelled="outside"
    ),
    **{
        f"all records + real, augmented by {name}": Row(**ALL, augment=name)
        for name in ("replacement", "width", "sections", "traditional", "typos")
    },
    "TinyBERT, all records + real": Row("tinybert.cfg", **ALL),
    "TinyBERT, random weights, all records + real": Row("tinybert.cfg", **ALL, changes=RANDOM),
    "TinyBERT, records train": Row("tinybert.cfg"),
}

AUGMENTATIONS: dict[str, dict[str, Any]] = {
    "replacement": {
        "@misc": "spacy_tcm.entity_replacement.v1",
        "lexicon": str(ROOT / "assets" / "lexicon"),
    },
    "width": {"@misc": "spacy_tcm.width_variants.v1"},
    "sections": {"@misc": "spacy_tcm.section_shuffle.v1"},
    "traditional": {"@misc": "spacy_tcm.traditional_characters.v1"},
    "typos": {
        "@misc": "spacy_tcm.typos.v1",
        "lexicon": str(ROOT / "assets" / "lexicon"),
    },
}


def train_and_score(
    corpus: Path, gold: Path | None, name: str, seed: int, steps: int | None, choose: bool
) -> dict[str, Any]:
    """Runs in a process of its own: one training, scored on both dev parts."""
    import spacy
    import torch
    from spacy.training.initialize import init_nlp
    from spacy.training.loop import train

    from spacy_tcm.training.evaluation import evaluate_records
    from spacy_tcm.training.reading import read_records, read_with_images

    torch.set_num_threads(1)
    row = ROWS[name]
    scored = {WRITTEN: corpus / "dev.jsonl"}
    start = process_time()
    with TemporaryDirectory() as folder:
        out = Path(folder)
        parts = [corpus / "train.jsonl"]
        if choose and gold is not None:
            cases = (gold / "gold23.train.jsonl").read_text(encoding="utf8").splitlines(True)
            parts.append(out / "cases.jsonl")
            parts[-1].write_text("".join(c for i, c in enumerate(cases) if i % 4), encoding="utf8")
            scored = {TUNE: corpus / "tune.jsonl", QUARTER: out / "quarter.jsonl"}
            scored[QUARTER].write_text("".join(cases[::4]), encoding="utf8")
        elif gold is not None:
            scored[REAL] = gold / "gold23.dev.jsonl"
            if row.everything:
                parts += [corpus / "tune.jsonl", scored.pop(WRITTEN), gold / "gold23.train.jsonl"]
        training = out / "train.jsonl"
        training.write_text("".join(_lines(parts, row.added)), encoding="utf8")
        config = make_config(row, training, corpus, gold, seed, out)
        if steps:
            config["training"]["max_steps"] = steps
        nlp = init_nlp(config)
        train(nlp, out, stdout=sys.stderr)
        nlp = spacy.load(out / ("model-last" if row.everything or choose else "model-best"))
        seconds = process_time() - start
        scores = {}
        for part, path in scored.items():
            records = read_with_images([path], image_root=corpus / "images")
            scores[part] = evaluate_records(nlp, records, training=read_records(training))
    return {
        "train_cpu_seconds": round(seconds),
        "steps": nlp.config["training"]["max_steps"],
        **scores,
    }


def make_config(
    row: Row, training: Path, corpus: Path, gold: Path | None, seed: int, out: Path
) -> Any:
    """The config of a row, its paths and changes filled in."""
    from spacy.util import load_config

    from spacy_tcm.tags import LABELS

    changes = dict(row.changes)
    if changes.pop("random_encoder", False):
        changes["paths.encoder"] = str(_randomize(ROOT / "assets" / "encoder", out, seed))
    elif row.config == "tinybert.cfg":
        changes["paths.encoder"] = str(ROOT / "assets" / "encoder")
    overrides = {
        "paths.train": str(training),
        "paths.tune": str(corpus / "tune.jsonl"),
        "paths.images": str(corpus / "images"),
        "paths.lexicon": str(ROOT / "assets" / "lexicon"),
        "system.seed": seed,
        "training.logger.progress_bar": False,
        **changes,
    }
    config = load_config(CONFIGS / row.config, overrides=overrides)
    records = {**config["corpora"]["train"], "seed": seed}
    if row.augment is not None:
        records["augmenter"] = {
            "@misc": "spacy_tcm.augment.v1",
            "steps": {row.augment: AUGMENTATIONS[row.augment]},
            "chances": {row.augment: 0.5},
        }
    if row.augment is not None or row.others:
        others = load_config(CONFIGS / "joint.cfg", interpolate=False)["corpora"]["train"][
            "corpora"
        ]
        mixed = {"records": records}
        for name in row.others:
            mixed[name] = {
                **others[name],
                "path": str(gold / f"{name}.train.jsonl"),
                "unlabelled": row.unlabelled,
                "seed": seed,
            }
        config["corpora"]["train"] = {
            "@readers": "spacy_tcm.MixedCorpus.v1",
            "corpora": mixed,
            "seed": seed,
        }
        config["training"]["max_epochs"] = -1
        config["initialize"]["components"]["multimodal_ner"]["labels"] = list(LABELS)
    return config


def _lines(parts: list[Path], added: bool) -> Iterator[str]:
    for part in parts:
        with part.open(encoding="utf8") as lines:
            for line in lines:
                if added or json.loads(line).get("file") not in ADDED:
                    yield line


def _randomize(encoder: Path, out: Path, seed: int) -> Path:
    """The encoder of the same shape and vocabulary with random weights."""
    import torch
    from transformers import AutoConfig, AutoModel, AutoTokenizer

    torch.manual_seed(seed)
    AutoTokenizer.from_pretrained(encoder).save_pretrained(out / "encoder")
    AutoModel.from_config(AutoConfig.from_pretrained(encoder)).save_pretrained(out / "encoder")
    return out / "encoder"


def summarize(runs: dict[str, Any]) -> dict[str, Any]:
    """Mean and standard deviation over seeds, by row and dev part."""
    summary: dict[str, Any] = {}
    for row in ROWS:
        done = [run for key, run in runs.items() if key.rpartition(" #")[0] == row]
        for part in PARTS:
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
    parser.add_argument("--choose", action="store_true", help="Score on no dev part.")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        row, _, seed = args.one.rpartition(" #")
        result = train_and_score(args.corpus, args.gold, row, int(seed), args.steps, args.choose)
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
            command += ["--choose"] if args.choose else []
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
        found = [f"{p} F {result[p]['exact']['f']:.3f}" for p in PARTS if p in result]
        print(f"{key}: {', '.join(found)}", flush=True)

    keys = [
        f"{row} #{seed}"
        for seed in args.seeds
        for row in args.rows
        if (args.gold or not ROWS[row].everything) and f"{row} #{seed}" not in report["runs"]
    ]
    with ThreadPoolExecutor(args.jobs) as pool:
        list(pool.map(run, keys))


if __name__ == "__main__":
    main()
