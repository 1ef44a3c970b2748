"""What a tongue photo adds to named entities, with the gate and without, by number of heads.

    python benchmarks/fusion.py OUT.json CORPUS_DIR PHOTOS_DIR [--seeds 0 1 2] [--steps N]

CORPUS_DIR: made by `spacy project run render` (train, tune and dev.jsonl). PHOTOS_DIR: holds
labels.csv and images/, no part of this repository. Records that describe a tongue are trained on
with a real photo of the split "train" whose labels agree with them, one in five with one whose
labels do not. Scored on the dev part, which no choice is made on, with photos of the split "dev":
as written; with the TONGUE entities made illegible (blurred); with them left out (omitted);
without photo, with one that agrees and with one that does not. `gate`: how far it stands open, mean
of the tokens. A result that OUT.json holds already is not computed again.
"""

import argparse
import json
import random
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy
from ner import mean_sd
from pairs import draw, read_photos, record_values
from runs import read_jsonl, require_labels, run_missing, train_last

ROOT = Path(__file__).parents[1]
ASSETS = ROOT / "assets"
WIDTH = 120  # of a token, for 4, 8 and 12 heads
NO_PHOTO, AGREES, DISAGREES = "no photo", "agreeing photo", "disagreeing photo"
WRITTEN, BLURRED, OMITTED = "as written", "blurred", "omitted"
KEPT = "舌质苔体脉"  # what blurring leaves legible
TEXT_ALONE = "text alone"
NER = "components.multimodal_ner.model."
ROWS: dict[str, dict[str, Any]] = {
    "gate, 4 heads": {},
    TEXT_ALONE: {},
    "no gate, 4 heads": {f"{NER}gate": False},
    "gate, 8 heads": {f"{NER}heads": 8},
    "gate, 12 heads": {f"{NER}heads": 12},
}


def pair(
    records: Sequence[dict[str, Any]], photos: list[dict[str, str]], seed: int
) -> list[dict[str, Any]]:
    """The records, each that describes a tongue with the photo of one: four in five agree."""
    from spacy_tcm.fields.tongue import TongueGrammar

    grammar, generator = TongueGrammar.from_path(), random.Random(seed)
    paired = []
    for record in records:
        values = record_values(record, grammar)
        agree = generator.random() >= 0.2
        photo = draw(photos, values, grammar, generator, agree=agree) if values else None
        kept = {k: v for k, v in record.items() if k not in ("image", "tongue")}
        paired.append(kept if photo is None else {**kept, "image": Path(photo["image"]).name})
    return paired


def blur(record: dict[str, Any]) -> dict[str, Any]:
    """The record with all of its TONGUE entities illegible but for what says that they are one."""
    text = list(record["text"])
    for start, end, label in record["entities"]:
        if label == "TONGUE":
            text[start:end] = [c if c in KEPT else "□" for c in text[start:end]]
    return {**record, "text": "".join(text)}


def omit(record: dict[str, Any]) -> dict[str, Any]:
    """The record without its TONGUE entities and what separates them from what follows."""
    text, entities, at = [], [], 0
    shift = 0
    for start, end, label in sorted(record["entities"]):
        if label == "TONGUE":
            stop = end + 1 if record["text"][end : end + 1] in ("，", "、", "；", ",") else end
            text.append(record["text"][at:start])
            shift += stop - start
            at = stop
        else:
            entities.append([start - shift, end - shift, label])
    text.append(record["text"][at:])
    return {**record, "text": "".join(text), "entities": entities}


def train_and_score(
    corpus: Path, photos: Path, name: str, seed: int, steps: int | None
) -> dict[str, Any]:
    """Runs in a process of its own: one training, and its scores."""
    with TemporaryDirectory() as folder:
        out = Path(folder)
        training = pair(read_jsonl(corpus / "train.jsonl"), read_photos(photos, "train"), seed)
        path = out / "train.jsonl"
        lines = [json.dumps(record, ensure_ascii=False) + "\n" for record in training]
        path.write_text("".join(lines), encoding="utf8")
        nlp = train_last(make_config(name, path, corpus, photos, seed), out, steps)
    return {
        "paired": sum("image" in record for record in training),
        "steps": nlp.config["training"]["max_steps"],
        **score(nlp, read_jsonl(corpus / "dev.jsonl"), read_photos(photos, "dev"), name),
    }


def make_config(name: str, training: Path, corpus: Path, photos: Path, seed: int) -> Any:
    from spacy.util import load_config

    overrides = {
        "paths.train": str(training),
        "paths.tune": str(corpus / "tune.jsonl"),
        "paths.images": str(photos / "images"),
        "paths.lexicon": str(ASSETS / "lexicon"),
        "system.seed": seed,
        "training.logger.progress_bar": False,
        "components.multimodal_ner.model.tok2vec.embed.width": WIDTH,
        "corpora.dev.limit": 5,  # for the log
        **ROWS[name],
    }
    config = load_config(ROOT / "configs" / "ner_cpu.cfg", overrides=overrides)
    if name == TEXT_ALONE:
        config["nlp"]["pipeline"] = ["multimodal_ner"]
        del config["components"]["tongue_encoder"]
        config["components"]["multimodal_ner"]["model"]["tongue"] = None
        return config
    encoder = load_config(ROOT / "configs" / "tongue.cfg")["components"]["tongue_encoder"]
    model = encoder["model"]
    model["weights"] = str(ASSETS / "tongue" / "trunk.safetensors")
    model["segmenter"]["weights"] = str(ASSETS / "tongue" / "segmenter.safetensors")
    model["lights"] = 0
    config["components"]["tongue_encoder"] = encoder
    return config


def score(
    nlp: Any, records: Sequence[dict[str, Any]], photos: list[dict[str, str]], name: str
) -> dict[str, Any]:
    """By text and photo: F1 of all entities and of TONGUE; the gate at TONGUE tokens and others."""
    from spacy_tcm.fields.tongue import TongueGrammar

    grammar, generator = TongueGrammar.from_path(), random.Random(0)
    cases = []
    for record in records:
        values = record_values(record, grammar)
        shown = {NO_PHOTO: None}
        for agree, title in ((True, AGREES), (False, DISAGREES)):
            photo = draw(photos, values, grammar, generator, agree=agree)
            shown[title] = None if photo is None else photo["image"]
        if all(shown[title] for title in (AGREES, DISAGREES)):
            texts = {WRITTEN: record, BLURRED: blur(record), OMITTED: omit(record)}
            cases += [
                (text, photo, texts[text], image)
                for photo, image in shown.items()
                if name != TEXT_ALONE or photo == NO_PHOTO
                for text in texts
            ]
    found: dict[str, dict[str, list]] = {}
    docs = []
    for text, photo, record, image in cases:
        doc = nlp.make_doc(record["text"])
        doc._.tongue_image = image
        docs.append((doc, (text, photo, record)))
    for doc, (text, photo, record) in nlp.pipe(docs, as_tuples=True):
        part = found.setdefault(f"{text}, {photo}", {"gold": [], "found": [], "at": [], "off": []})
        number = len(part["gold"])
        part["gold"].append({(number, *entity) for entity in map(tuple, record["entities"])})
        part["found"].append({(number, e.start_char, e.end_char, e.label_) for e in doc.ents})
        if doc._.tongue["status"] == "ok":
            (gates,) = nlp.get_pipe("multimodal_ner").model.predict([doc]).gates
            at = numpy.zeros(len(doc), dtype=bool)
            for ent in doc.ents:
                at[ent.start : ent.end] |= ent.label_ == "TONGUE"
            part["at"] += gates[at].tolist()
            part["off"] += gates[~at].tolist()
    return {
        "records": len(cases) // len(found),
        "scores": {
            title: {
                "f": _f(part),
                "tongue_f": _f(part, "TONGUE"),
                "gate_at_tongue": float(numpy.mean(part["at"])) if part["at"] else None,
                "gate_elsewhere": float(numpy.mean(part["off"])) if part["off"] else None,
            }
            for title, part in found.items()
        },
    }


def _f(part: dict[str, list], label: str | None = None) -> float | None:
    gold = {e for some in part["gold"] for e in some if label in (None, e[3])}
    found = {e for some in part["found"] for e in some if label in (None, e[3])}
    return 2 * len(gold & found) / (len(gold) + len(found)) if gold else None


def summarize(runs: dict[str, Any]) -> dict[str, Any]:
    summary: dict[str, Any] = {}
    for row in ROWS:
        some = [run for key, run in runs.items() if key.split(" #")[0] == row]
        for title in some[0]["scores"] if some else ():
            scores = [run["scores"][title] for run in some]
            summary.setdefault(row, {})[title] = {
                name: mean_sd([s[name] for s in scores]) if scores[0][name] is not None else None
                for name in scores[0]
            } | {"seeds": len(some)}
    return summary


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    require_labels(args.photos)
    if args.one:
        row, seed = args.one.split(" #")
        result = train_and_score(args.corpus, args.photos, row, int(seed), args.steps)
        args.out.write_text(json.dumps(result), encoding="utf8")
        return
    run_missing(
        args.out,
        [f"{row} #{seed}" for seed in args.seeds for row in ROWS],
        __file__,
        [str(args.corpus), str(args.photos), *(["--steps", str(args.steps)] if args.steps else [])],
        summarize,
        lambda result: str(
            {title: round(100 * s["f"], 1) for title, s in result["scores"].items()}
        ),
        args.jobs,
    )


if __name__ == "__main__":
    main()
