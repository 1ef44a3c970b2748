"""The trained rows of the published tables (1, 3, 6, 7), on simulated hospitals held out.

    python benchmarks/experiments.py OUT.json CORPUS_DIR [--gold GOLD_DIR] [--rows ROW ...]
        [--folds 0 1 2 3 4] [--seeds 0] [--steps 400] [--weights ROW=NAME ...] [--jobs 1]

CORPUS_DIR: made by `spacy project run render` (train, tune and dev.jsonl, images/): all three parts
are put together and split anew by `hospitals.py`. GOLD_DIR: holds gold23.train.jsonl, trained on in
every run, and gold23.dev.jsonl, scored too; no part of this repository. Each run trains on the
other folds by `spacy train`'s loop and scores its last checkpoint; nothing is chosen. NAME: a
Hugging Face folder or, with internet, a hub name, whose weights a row begins with; without it, a
row whose encoder is not the one of this repository begins at random. A result that OUT.json holds
already is not computed again. Kept are counts of each record, so that intervals and differences
can be tested (`intervals.py`).
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from time import process_time
from typing import Any

from hospitals import hold_out, hospital, make_folds
from intervals import compare, interval, sums
from runs import read_jsonl, run_missing, train_last

ROOT = Path(__file__).parents[1]
CONFIGS, ASSETS = ROOT / "configs", ROOT / "assets"
NER = "components.multimodal_ner.model."
OURS = "ours"
HELD_OUT, REAL = "held-out hospitals", "gold23.dev (real)"
VOCABULARY = 21_128  # of the Chinese BERT


@dataclass(frozen=True)
class Row:
    """config: of configs/. changes: to it. photo: whether it looks at photos. tongue: a config
    whose tongue encoder it takes. encoder: the shape of its text encoder, other than ours."""

    config: str = "tinybert.cfg"
    changes: dict[str, Any] = field(default_factory=dict)
    photo: bool = True
    tongue: str | None = None
    encoder: str | None = None


# Wide enough to be divided by 4, 8 and 12: 312 of TinyBERT and 120 of the characters.
DIVISIBLE = {f"{NER}tok2vec.*.characters.{part}.width": 120 for part in ("embed", "encode")}
ROWS: dict[str, Row] = {
    OURS: Row(),
    "text alone": Row(photo=False),
    "no lexicon": Row(changes={f"{NER}lexicon": False}),
    "no gate": Row(changes={f"{NER}gate": False}),
    "CNN-BiLSTM": Row("ner_cpu.cfg", {f"{NER}lexicon": False}, photo=False),
    "text + EfficientNet": Row(tongue="photos_cpu.cfg"),
    "MobileBERT": Row(encoder="mobilebert"),
    "BERT-Large": Row(encoder="bert-large", photo=False),
    **{f"LSTM hidden {n}": Row(changes={f"{NER}hidden": n}) for n in (64, 128, 192, 256)},
    **{f"{n} heads": Row(changes={f"{NER}heads": n, **DIVISIBLE}) for n in (4, 8, 12)},
}
# What trains for days without a GPU is asked for by name.
ASKED = ("BERT-Large",)


def read_parts(corpus: Path) -> list[dict[str, Any]]:
    parts = ("train", "tune", "dev")
    return [record for part in parts for record in read_jsonl(corpus / f"{part}.jsonl")]


def train_and_score(
    corpus: Path,
    gold: Path | None,
    name: str,
    fold: int,
    seed: int,
    steps: int | None,
    weights: str | None,
) -> dict[str, Any]:
    """Runs in a process of its own: one training, and the counts of each record."""
    from spacy_tcm.training.evaluation import entity_surfaces

    training, held = hold_out(read_parts(corpus), fold)
    scored = {HELD_OUT: held}
    if gold is not None:
        training += read_jsonl(gold / "gold23.train.jsonl")
        scored[REAL] = read_jsonl(gold / "gold23.dev.jsonl")
    known = entity_surfaces(training)
    start = process_time()
    with TemporaryDirectory() as folder:
        out = Path(folder)
        path = out / "train.jsonl"
        lines = [json.dumps(record, ensure_ascii=False) + "\n" for record in training]
        path.write_text("".join(lines), encoding="utf8")
        nlp = train_last(make_config(name, path, corpus, seed, out, weights), out, steps)
        seconds = process_time() - start
        return {
            "train_cpu_seconds": round(seconds),
            "training_records": len(training),
            "steps": nlp.config["training"]["max_steps"],
            "weights": weights,
            "counts": {
                part: {
                    "hospital": [hospital(record) if part == HELD_OUT else "" for record in some],
                    "counts": count(nlp, some, corpus / "images", known),
                }
                for part, some in scored.items()
            },
        }


def count(
    nlp: Any, records: Sequence[dict[str, Any]], images: Path, known: Any
) -> list[tuple[int, ...]]:
    """Of each record: entities of the gold, predicted, exactly right; of those whose surface is
    unknown, of the gold and right."""
    docs = []
    for record in records:
        doc = nlp.make_doc(record["text"])
        if record.get("image"):
            doc._.tongue_image = str(images / record["image"])
        docs.append((doc, record))
    counts = []
    rules = [name for name in nlp.pipe_names if name.startswith("tcm_")]
    with nlp.select_pipes(disable=rules):
        for doc, record in nlp.pipe(docs, as_tuples=True):
            gold = {tuple(entity) for entity in record["entities"]}
            found = {(ent.start_char, ent.end_char, ent.label_) for ent in doc.ents}
            rare = {e for e in gold if record["text"][e[0] : e[1]] not in known}
            right = gold & found
            counts.append((len(gold), len(found), len(right), len(rare), len(rare & right)))
    return counts


def make_config(
    name: str, training: Path, corpus: Path, seed: int, out: Path, weights: str | None
) -> Any:
    """The config of a row, its paths and changes filled in."""
    from spacy.util import load_config

    row = ROWS[name]
    overrides = {
        "paths.train": str(training),
        "paths.tune": str(corpus / "tune.jsonl"),
        "paths.images": str(corpus / "images"),
        "paths.lexicon": str(ASSETS / "lexicon"),
        "system.seed": seed,
        "training.logger.progress_bar": False,
        "corpora.dev.limit": 5,  # for the log
        **row.changes,
    }
    if row.config == "tinybert.cfg":
        ours = ASSETS / "encoder"
        other = _make_encoder(row.encoder, ours, out / "encoder", seed) if row.encoder else ours
        overrides["paths.encoder"] = weights or str(other)
    config = load_config(CONFIGS / row.config, overrides=overrides)
    if not row.photo:
        config["nlp"]["pipeline"].remove("tongue_encoder")
        del config["components"]["tongue_encoder"]
        config["components"]["multimodal_ner"]["model"]["tongue"] = None
    elif row.tongue:
        other = load_config(CONFIGS / row.tongue, interpolate=False)["components"]["tongue_encoder"]
        other["model"]["weights"] = str(ASSETS / "tongue" / "trunk.safetensors")
        other["model"]["segmenter"] = None  # a rendered photo shows nothing but the tongue
        other["model"]["lights"] = 0
        config["components"]["tongue_encoder"] = other
    return config


def _make_encoder(kind: str, ours: Path, out: Path, seed: int) -> Path:
    """An encoder of a published shape with random weights, and the tokenizer of ours."""
    import torch
    from transformers import AutoTokenizer, BertModel, MobileBertConfig, MobileBertModel

    from spacy_tcm.training.pretraining.encoder import EncoderShape

    torch.manual_seed(seed)
    AutoTokenizer.from_pretrained(ours).save_pretrained(out)
    if kind == "mobilebert":
        net: Any = MobileBertModel(MobileBertConfig(vocab_size=VOCABULARY))
    else:
        net = BertModel(EncoderShape(1024, 24, 16, 4096).config(VOCABULARY))
    net.save_pretrained(out)
    return out


# By fold: name of a mark -> which of its records have it.
Marks = Sequence[Mapping[str, Sequence[bool]]]


def mark(records: Sequence[dict[str, Any]], read: Sequence[dict[str, Any]]) -> Marks:
    """Of the records held out: "unread", our encoder has not read them; "photo", they have one."""
    known = {record["id"] for record in read}
    folds = [hold_out(records, fold)[1] for fold in range(len(make_folds(records)))]
    return [
        {
            "unread": [record["id"] not in known for record in held],
            "photo": [bool(record.get("image")) for record in held],
        }
        for held in folds
    ]


def summarize(runs: dict[str, Any], marks: Marks) -> dict[str, Any]:
    """By row and part: F1 of all its runs' counts together, with an interval; rare recall; scores
    by hospital; and the difference from ours on the runs that both have, of the records of each
    mark, too."""
    summary: dict[str, Any] = {}
    for name in ROWS:
        done, ours = (
            {key.split(" | ", 1)[1]: run for key, run in runs.items() if key.startswith(f"{row} |")}
            for row in (name, OURS)
        )
        for part in (HELD_OUT, REAL):
            some = {key: run["counts"][part] for key, run in done.items() if part in run["counts"]}
            if not some:
                continue
            by_record = _by_record(some, part)
            counts = [*by_record.values()]
            entry = {
                "runs": sorted(some),
                "records": len(counts),
                **sums(counts),
                "interval": interval(counts),
                "train_cpu_seconds": sum(run["train_cpu_seconds"] for run in done.values()),
            }
            if part == HELD_OUT:
                names = {int(key.split()[1]): run["hospital"] for key, run in some.items()}
                of = [names[fold][place] for fold, place in by_record]
                entry["interval_by_hospital"] = interval(counts, of)
                entry["hospitals"] = _by_hospital(counts, of)
            both = sorted(set(some) & set(ours))
            if name != OURS and both:
                theirs = _by_record({key: some[key] for key in both}, part)
                own = _by_record({key: ours[key]["counts"][part] for key in both}, part)
                entry["against_ours"] = _compare(theirs, own, [*own]) | {"runs": both}
                for kind in marks[0] if part == HELD_OUT else ():
                    chosen = [at for at in own if marks[at[0]][kind][at[1]]]
                    if chosen:
                        entry["against_ours"][kind] = _compare(theirs, own, chosen)
            summary.setdefault(name, {})[part] = entry
    return summary


# Of a record: its fold, 0 if it is in none, and its place there.
Place = tuple[int, int]


def _by_record(runs: dict[str, Any], part: str) -> dict[Place, list[int]]:
    """Counts of each record, of all runs that scored it together: what is drawn anew for an
    interval are records, which several scores of one do not make more."""
    found: dict[Place, list[int]] = {}
    for key, run in runs.items():
        fold = int(key.split()[1]) if part == HELD_OUT else 0
        for place, counts in enumerate(run["counts"]):
            before = found.setdefault((fold, place), [0] * len(counts))
            found[fold, place] = [a + b for a, b in zip(before, counts, strict=True)]
    return found


def _compare(
    theirs: dict[Place, list[int]], own: dict[Place, list[int]], places: list[Place]
) -> dict[str, Any]:
    a, b = ([counts[at] for at in places] for counts in (theirs, own))
    recalls = [sums(counts)["rare_recall"] for counts in (a, b)]
    rare = None if None in recalls else recalls[0] - recalls[1]
    return {"records": len(places), **compare(a, b), "rare_recall": rare}


def _by_hospital(counts: Sequence[list[int]], of: Sequence[str]) -> dict[str, Any]:
    found: dict[str, list[Any]] = {}
    for name, some in zip(of, counts, strict=True):
        found.setdefault(name, []).append(some)
    return {name: {"records": len(some), **sums(some)} for name, some in sorted(found.items())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--gold", type=Path)
    known = [name for name in ROWS if name not in ASKED]
    parser.add_argument("--rows", nargs="+", choices=[*ROWS], default=known)
    parser.add_argument("--folds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--weights", nargs="+", default=[], metavar="ROW=NAME")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    weights = dict(item.split("=", 1) for item in args.weights)
    if args.one:
        row, fold, seed = args.one.split(" | ")
        numbers = int(fold.split()[1]), int(seed.split()[1])
        result = train_and_score(
            args.corpus, args.gold, row, *numbers, args.steps, weights.get(row)
        )
        args.out.write_text(json.dumps(result), encoding="utf8")
        return
    if args.gold is None:
        print(f"No --gold: no real cases are trained on, and {REAL} is not scored.")
    arguments = [str(args.corpus), "--steps", str(args.steps)]
    arguments += ["--gold", str(args.gold)] if args.gold else []
    arguments += ["--weights", *args.weights] if args.weights else []
    before = json.loads(args.out.read_text("utf8"))["runs"] if args.out.exists() else {}
    if {run["steps"] for run in before.values()} - {args.steps}:
        sys.exit(f"{args.out} has runs of other steps: rows would not compare.")
    records = read_parts(args.corpus)
    for number, names in enumerate(make_folds(records)):
        print(f"fold {number}: {'; '.join(names)}")
    run_missing(
        args.out,
        [f"{r} | fold {f} | seed {s}" for s in args.seeds for f in args.folds for r in args.rows],
        __file__,
        arguments,
        partial(summarize, marks=mark(records, read_jsonl(args.corpus / "train.jsonl"))),
        lambda result: (
            ", ".join(
                f"{part} F {sums(run['counts'])['f']:.3f}" for part, run in result["counts"].items()
            )
            + f", {result['train_cpu_seconds']} s"
        ),
        args.jobs,
    )


if __name__ == "__main__":
    main()
