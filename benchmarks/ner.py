"""Entity scores: what each part of the training is worth, over seeds.

    python benchmarks/ner.py OUT.json CORPUS_DIR [--gold GOLD_DIR] [--seeds 0 1 2] [--jobs 2]
        [--rows ROW ...] [--encoder DIR]

CORPUS_DIR: made by `spacy project run render` (train, tune and dev.jsonl, images/). GOLD_DIR: holds
gold23.train.jsonl and gold23.dev.jsonl, and for some rows the other corpora, which are no part of
this repository; without it, the rows that need them are skipped. Each row is trained by
`spacy train`'s loop on the train part (and the real training cases), without the tune part; no
checkpoint is chosen, the last one is scored on the dev part and on gold23.dev. With --choose, every
fourth real training case is left out, and the tune part and these cases are scored: so are choices
made, never on a dev part. With --keep DIR, trained pipelines stay there, for rows that learn from
others as teachers. --encoder: a Hugging Face folder for the row "another encoder". A result that
OUT.json holds already is not computed again.
"""

import argparse
import json
import statistics
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from time import process_time
from typing import Any

from runs import run_missing, train_last

ROOT = Path(__file__).parents[1]
CONFIGS = ROOT / "configs"
WRITTEN, REAL = "written dev", "gold23.dev (real)"
TUNE, QUARTER = "written tune", "a quarter of gold23.train (real)"
PARTS = (WRITTEN, REAL, TUNE, QUARTER)

OTHERS = ("tcm_abstracts", "tcm_web", "drug_leaflets", "consumer_qa")


@dataclass(frozen=True)
class Row:
    """config: of configs/. real: how often the real training cases are in the training data.
    changes: to the config. others: corpora of configs/joint.cfg trained on beside, and what their
    unmarked text is. augment: one augmentation, by its name. teachers: rows with seeds, as kept by
    --keep, whose mean posteriors it also learns, there and on the bare text of the corpora
    unannotated. times: as many steps as others. other_encoder: that of --encoder."""

    config: str = "ner_cpu.cfg"
    real: int = 1
    changes: dict[str, Any] = field(default_factory=dict)
    others: tuple[str, ...] = ()
    unlabelled: str = "unknown"
    augment: str | None = None
    teachers: tuple[str, ...] = ()
    unannotated: tuple[str, ...] = ()
    times: float = 1.0
    other_encoder: bool = False


NO_LEXICON = {"components.multimodal_ner.model.lexicon": False}
# Trained further, as its learning rate's share says, in half batches.
TRAINED = {"components.transformer.model.learn_rate_scale": 0.1, "training.batcher.size": 2048}
RANDOM = {"random_encoder": True, **TRAINED}
TEACHERS = tuple(f"records + real #{seed}" for seed in range(3))
ROWS: dict[str, Row] = {
    "records": Row(real=0),
    "records + real": Row(),
    "records + real, three times": Row(real=3),
    "records + real, no lexicon": Row(changes=NO_LEXICON),
    "records + real + others, unmarked unknown": Row(others=OTHERS),
    "records + real + others, unmarked outside": Row(others=OTHERS, unlabelled="outside"),
    **{
        f"records + real, augmented by {name}": Row(augment=name)
        for name in ("replacement", "width", "sections", "traditional", "typos")
    },
    "TinyBERT, records + real": Row("tinybert.cfg"),
    "TinyBERT, records + real, twice the steps": Row("tinybert.cfg", times=2),
    # A third of what it sees are bare texts: half as many steps more.
    "TinyBERT, records + real, three teachers, also on bare texts": Row(
        "tinybert.cfg", teachers=TEACHERS, unannotated=("tcm_abstracts", "tcm_web"), times=1.5
    ),
    "another encoder, records + real": Row("tinybert.cfg", other_encoder=True),
    "TinyBERT trained further, records + real": Row("tinybert.cfg", changes=TRAINED),
    "TinyBERT with random weights, records + real": Row("tinybert.cfg", changes=RANDOM),
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
    corpus: Path,
    gold: Path | None,
    name: str,
    seed: int,
    steps: int | None,
    choose: bool,
    keep: Path | None,
    encoder: Path | None,
) -> dict[str, Any]:
    """Runs in a process of its own: one training, and its scores."""
    from spacy_tcm.training.evaluation import evaluate_records
    from spacy_tcm.training.reading import read_records, read_with_images

    row = ROWS[name]
    scored = {WRITTEN: corpus / "dev.jsonl"}
    start = process_time()
    with TemporaryDirectory() as folder:
        out = Path(folder)
        lines = (corpus / "train.jsonl").read_text(encoding="utf8")
        if gold is not None:
            cases = (gold / "gold23.train.jsonl").read_text(encoding="utf8").splitlines(True)
            scored[REAL] = gold / "gold23.dev.jsonl"
            if choose:
                scored = {TUNE: corpus / "tune.jsonl", QUARTER: out / "quarter.jsonl"}
                scored[QUARTER].write_text("".join(cases[::4]), encoding="utf8")
                cases = [case for i, case in enumerate(cases) if i % 4]
            for copy in range(row.real):
                lines += "".join(_renamed(case, f"~{copy}") for case in cases)
        training = out / "train.jsonl"
        training.write_text(lines, encoding="utf8")
        config = make_config(row, training, corpus, gold, seed, out, encoder)
        if row.teachers:
            if keep is None:
                raise SystemExit(f"{name}: its teachers are looked for in --keep.")
            config["initialize"]["components"]["multimodal_ner"]["teachers"] = [
                str(keep / _file_name(teacher)) for teacher in row.teachers
            ]
        steps = round((steps or config["training"]["max_steps"]) * row.times)
        nlp = train_last(config, out, steps)
        seconds = process_time() - start
        if keep is not None:
            nlp.to_disk(keep / _file_name(f"{name} #{seed}"))
        scores = {}
        for part, path in scored.items():
            records = read_with_images([path], image_root=corpus / "images")
            scores[part] = evaluate_records(nlp, records, training=read_records(training))
    return {
        "train_cpu_seconds": round(seconds),
        "steps": nlp.config["training"]["max_steps"],
        **scores,
    }


def _renamed(line: str, suffix: str) -> str:
    """A record's line with a longer id: no two records may have the same."""
    record = json.loads(line)
    return json.dumps({**record, "id": record["id"] + suffix}, ensure_ascii=False) + "\n"


def make_config(
    row: Row,
    training: Path,
    corpus: Path,
    gold: Path | None,
    seed: int,
    out: Path,
    other_encoder: Path | None = None,
) -> Any:
    """The config of a row, its paths and changes filled in."""
    from spacy.util import load_config

    from spacy_tcm.tags import LABELS

    changes = dict(row.changes)
    if changes.pop("random_encoder", False):
        changes["paths.encoder"] = str(_randomize(ROOT / "assets" / "encoder", out, seed))
    elif row.other_encoder:
        changes["paths.encoder"] = str(other_encoder)
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
    if row.augment is not None or row.others or row.unannotated:
        others = load_config(CONFIGS / "joint.cfg", interpolate=False)["corpora"]["train"][
            "corpora"
        ]
        mixed = {"records": records}
        for name in (*row.others, *row.unannotated):
            bare = name in row.unannotated
            mixed[name] = {
                **others[name],
                "path": str(gold / f"{name}.train.jsonl"),
                "unlabelled": "unknown" if bare else row.unlabelled,
                "seed": seed,
            }
            if bare:
                mixed[name]["label_map"] = dict.fromkeys(others[name]["label_map"])
        config["corpora"]["train"] = {
            "@readers": "spacy_tcm.MixedCorpus.v1",
            "corpora": mixed,
            "seed": seed,
        }
        config["training"]["max_epochs"] = -1
        config["initialize"]["components"]["multimodal_ner"]["labels"] = list(LABELS)
    return config


def _file_name(key: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in key)


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
                    **{name: mean_sd(v) for name, v in values.items()},
                    "per_label": {
                        label: {
                            "gold": found[0]["per_label"][label]["exact"]["gold"],
                            **{
                                name: mean_sd([s["per_label"][label]["exact"][name] for s in found])
                                for name in ("precision", "recall", "f")
                            },
                        }
                        for label in labels
                        if all(label in s["per_label"] for s in found)
                    },
                }
    return summary


def mean_sd(values: list[float | None]) -> dict[str, float | None]:
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
    parser.add_argument("--keep", type=Path, help="Folder for the trained pipelines.")
    parser.add_argument("--encoder", type=Path, help="For the row of another encoder.")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        row, _, seed = args.one.rpartition(" #")
        result = train_and_score(
            args.corpus, args.gold, row, int(seed), args.steps, args.choose, args.keep, args.encoder
        )
        args.out.write_text(json.dumps(result), encoding="utf8")
        return
    if args.gold is None:
        print(f"No --gold: rows with real cases and the scores on {REAL} are skipped.")
    arguments = [str(args.corpus)]
    arguments += ["--gold", str(args.gold)] if args.gold else []
    arguments += ["--steps", str(args.steps)] if args.steps else []
    arguments += ["--choose"] if args.choose else []
    arguments += ["--keep", str(args.keep)] if args.keep else []
    arguments += ["--encoder", str(args.encoder)] if args.encoder else []
    keys = [
        f"{row} #{seed}"
        for seed in args.seeds
        for row in args.rows
        if (args.gold or not ROWS[row].real) and (args.encoder or not ROWS[row].other_encoder)
    ]

    def describe(result: dict[str, Any]) -> str:
        return ", ".join(f"{p} F {result[p]['exact']['f']:.3f}" for p in PARTS if p in result)

    run_missing(args.out, keys, __file__, arguments, summarize, describe, args.jobs)


if __name__ == "__main__":
    main()
