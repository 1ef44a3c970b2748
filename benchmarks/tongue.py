"""Attributes of real tongue photos: ours beside baselines, and under other lights and cameras.

    python benchmarks/tongue.py OUT.json PHOTOS_DIR [--seeds 0 1 2] [--steps N] [--keep DIR]

PHOTOS_DIR: holds labels.csv (image, one column per attribute, split) and images/; it is no part of
this repository. Everything is trained on the split "train", nothing is chosen on "dev", which is
scored, as it is and changed. Of "train", ours leaves out the share that the config holds out and is
calibrated on it; the baselines learn from all. Baselines: the most frequent value; logistic
regression on Lab statistics of five zones of the tongue, in the light that the photo has. --keep:
where the calibrated pipelines go.
"""

import argparse
import json
from collections import Counter
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy
import torch
from ner import mean_sd
from PIL import Image, ImageFilter
from runs import read_labels, require_labels, train_last
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.preprocessing import StandardScaler
from spacy.util import load_config

from spacy_tcm.images.colour import WARM, relight
from spacy_tcm.models.photos import Photo, prepare_photos
from spacy_tcm.models.segmenter import build_tongue_segmenter
from spacy_tcm.models.tongue import colour_distance
from spacy_tcm.models.weights import get_module
from spacy_tcm.training.evaluation import reliability
from spacy_tcm.training.tongue.calibration import calibrate_tongue
from spacy_tcm.training.tongue.photos import TonguePhotoCorpus

ROOT = Path(__file__).parents[1]
ASSETS = ROOT / "assets" / "tongue"
SIZE = 224  # as configs/tongue.cfg
WANTED = 0.9  # accuracy that "coverage" asks for
PLAIN = "as it is"
OURS, BARE = "ours", "ours, light neither taken back nor simulated"
BASELINE, MAJORITY = "logistic regression on Lab of five zones", "most frequent value"
Told = dict[str, dict[str, Any]]  # attribute -> probabilities, abstained
SETTINGS: dict[str, dict[str, Any]] = {
    OURS: {},
    BARE: {
        "components.tongue_encoder.model.balanced": False,
        "components.tongue_encoder.model.lights": 0,
    },
}


def under(strength: float) -> Callable[[numpy.ndarray], numpy.ndarray]:
    return lambda pixels: relight(pixels, tuple(strength * gain for gain in WARM))


def jpeg(pixels: numpy.ndarray) -> numpy.ndarray:
    data = BytesIO()
    Image.fromarray(pixels).save(data, "JPEG", quality=30)
    return numpy.asarray(Image.open(data))


def through(change: Callable[[Image.Image], Image.Image]) -> Callable:
    return lambda pixels: numpy.asarray(change(Image.fromarray(pixels)))


LIGHTS = (PLAIN, "warm", "cool", "very warm", "very cool")
CHANGES: dict[str, Callable[[numpy.ndarray], numpy.ndarray]] = {
    PLAIN: lambda pixels: pixels,
    "warm": under(0.5),
    "cool": under(-0.5),
    "very warm": under(1.0),
    "very cool": under(-1.0),
    "blurred": through(lambda image: image.filter(ImageFilter.GaussianBlur(1.5))),
    "JPEG quality 30": jpeg,
    "turned by 15°": through(lambda image: image.rotate(15, Image.Resampling.BILINEAR)),
    "half size": through(lambda image: image.resize((image.width // 2, image.height // 2))),
}


def train(photos: Path, row: str, seed: int, steps: int | None, limit: int | None) -> Any:
    """The pipeline, not calibrated yet."""
    overrides = {
        "paths.labels": str(photos / "labels.csv"),
        "system.seed": seed,
        "components.tongue_encoder.model.weights": str(ASSETS / "trunk.safetensors"),
        "components.tongue_encoder.model.segmenter.weights": str(ASSETS / "segmenter.safetensors"),
        "training.logger.progress_bar": False,
        "corpora.train.limit": limit or 0,
        "corpora.dev.limit": 20,  # for the log
        **SETTINGS[row],
    }
    config = load_config(ROOT / "configs" / "tongue.cfg", overrides=overrides)
    with TemporaryDirectory() as folder:
        return train_last(config, Path(folder), steps)


def calibrate(nlp: Any, photos: Path) -> dict[str, Any]:
    settings = load_config(ROOT / "configs" / "tongue.cfg")["corpora"]["dev"]
    labels = str(photos / "labels.csv")
    corpus = TonguePhotoCorpus(
        labels, split=settings["split"], held_out=settings["held_out"], part=settings["part"]
    )
    return calibrate_tongue(nlp, corpus(nlp), target=WANTED)


def predict(encoder: Any, photos: Sequence[Photo]) -> list[Told]:
    """Per photo, what it is described by; {} where the photo is rejected."""
    net = get_module(encoder.model.layers[0]).eval()
    found: list[Told] = []
    for photo in photos:
        if photo.pixels is None:
            found.append({})
            continue
        with torch.no_grad():
            if "looked" not in photo.seen:
                pixels, mask = (torch.from_numpy(a[None]) for a in (photo.pixels, photo.mask))
                photo.seen["looked"] = net.look(pixels, mask)
            colours = torch.from_numpy(photo.colours[None])
            _, scores = net.judge(*photo.seen["looked"], colours)
        distance = colour_distance(encoder.model, photo)
        found.append(encoder.describe(scores[0].numpy(), distance))
    return found


def score(predicted: Sequence[Told], rows: Sequence[dict[str, str]], name: str) -> dict[str, Any]:
    """Of one attribute. A rejected photo counts as wrong, and as not covered."""
    gold = [row[name] for row in rows if row[name]]
    found = [
        max(p[name]["probabilities"].items(), key=lambda item: item[1]) if name in p else ("", 0.0)
        for p, row in zip(predicted, rows, strict=True)
        if row[name]
    ]
    told = [
        name in p and not p[name]["abstained"]
        for p, row in zip(predicted, rows, strict=True)
        if row[name]
    ]
    right = [value == truth for (value, _), truth in zip(found, gold, strict=True)]
    order = numpy.argsort([-p for _, p in found], kind="stable")
    running = numpy.cumsum(numpy.array(right)[order]) / numpy.arange(1, len(right) + 1)
    enough = numpy.flatnonzero(running >= WANTED)
    sure = [(p, ok) for (_, p), ok in zip(found, right, strict=True)]
    return {
        "photos": len(gold),
        "rejected": sum(value == "" for value, _ in found),
        "accuracy": float(numpy.mean(right)),
        "macro_f": float(
            f1_score(gold, [v for v, _ in found], average="macro", labels=sorted(set(gold)))
        ),
        "calibration_error": reliability(sure)["expected_calibration_error"],
        "coverage": float((enough[-1] + 1) / len(right)) if len(enough) else 0.0,
        "told": float(numpy.mean(told)),
        "told_accuracy": float(numpy.mean(numpy.array(right)[told])) if any(told) else None,
    }


def baselines(
    train: tuple[list[Photo], list[dict[str, str]]], changed: dict[str, list[Photo]], name: str
) -> dict[str, list[Told]]:
    """Predictions of the two baselines, which never abstain: of the first for "as it is", of the
    second for each."""
    pairs = [(p.colours, row[name]) for p, row in zip(*train, strict=True) if len(p.colours)]
    x = numpy.array([colours for colours, value in pairs if value])
    y = [value for _, value in pairs if value]
    scaler = StandardScaler().fit(x)
    model = LogisticRegression(max_iter=2000).fit(scaler.transform(x), y)
    most = Counter(y)
    usual = {name: _surely({v: n / len(y) for v, n in most.items()})}
    found: dict[str, list[Told]] = {MAJORITY: [usual for _ in changed[PLAIN]]}

    def tell(photo: Photo) -> Told:
        if not len(photo.colours):
            return {}
        p = model.predict_proba(scaler.transform(photo.colours[None]))[0]
        return {name: _surely(dict(zip(model.classes_, p, strict=True)))}

    for change, photos in changed.items():
        found[change] = [tell(photo) for photo in photos]
    return found


def _surely(probabilities: dict[str, float]) -> dict[str, Any]:
    return {"probabilities": probabilities, "abstained": False}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int)
    parser.add_argument("--limit", type=int, help="Photos of each split, for a trial.")
    parser.add_argument("--keep", type=Path, help="Folder for the pipelines.")
    args = parser.parse_args()
    require_labels(args.photos)
    torch.set_num_threads(1)
    rows = read_labels(args.photos)
    parts = {s: [r for r in rows if r["split"] == s][: args.limit] for s in ("train", "dev")}
    names = [name for name in rows[0] if name not in ("image", "split")]
    files = {
        s: [str(args.photos / "images" / f"{r['image']}.jpg") for r in parts[s]] for s in parts
    }
    originals = [numpy.asarray(Image.open(path).convert("RGB")) for path in files["dev"]]
    segmenter = build_tongue_segmenter(str(ASSETS / "segmenter.safetensors"))
    segmenter.initialize()
    results: dict[str, Any] = {}
    fitted: dict[str, list[dict[str, Any]]] = {OURS: [], BARE: []}

    def prepare(changes: Sequence[str], balanced: bool) -> dict[str, list[Photo]]:
        return {
            change: prepare_photos(
                [CHANGES[change](photo) for photo in originals], SIZE, segmenter, balanced=balanced
            )
            for change in changes
        }

    for row, balanced, changes in ((OURS, True, tuple(CHANGES)), (BARE, False, LIGHTS)):
        changed = prepare(changes, balanced)
        runs = []
        for seed in args.seeds:
            nlp = train(args.photos, row, seed, args.steps, args.limit)
            encoder = nlp.get_pipe("tongue_encoder")
            before = predict(encoder, changed[PLAIN])
            fitted[row].append(calibrate(nlp, args.photos))
            if args.keep and row == OURS:
                args.keep.mkdir(parents=True, exist_ok=True)
                nlp.to_disk(args.keep / f"seed{seed}")
            predicted = {change: predict(encoder, photos) for change, photos in changed.items()}
            runs.append(
                {
                    change: {name: score(p, parts["dev"], name) for name in names}
                    for change, p in predicted.items()
                }
            )
            for name, found in runs[-1][PLAIN].items():
                error = score(before, parts["dev"], name)["calibration_error"]
                found["calibration_error_before"] = error
            print(row, seed, {n: round(s["accuracy"], 3) for n, s in runs[-1][PLAIN].items()})
        results[row] = {
            change: {name: merge([run[change][name] for run in runs]) for name in names}
            for change in changes
        }
        if row == BARE:
            learned = prepare_photos(files["train"], SIZE, segmenter, balanced=False)
            found = {n: baselines((learned, parts["train"]), changed, n) for n in names}
            for title, keys in ((BASELINE, LIGHTS), (MAJORITY, (PLAIN,))):
                results[title] = {
                    change: {
                        name: merge(
                            [
                                score(
                                    found[name][MAJORITY if title == MAJORITY else change],
                                    parts["dev"],
                                    name,
                                )
                            ]
                        )
                        for name in names
                    }
                    for change in keys
                }
        report = {
            "seeds": len(args.seeds),
            "attributes": names,
            "rows": results,
            "calibration": fitted,
        }
        args.out.write_text(
            json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf8"
        )


def merge(scores: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Over seeds."""
    counts = {name: scores[0][name] for name in ("photos", "rejected")}
    figures = [name for name in scores[0] if name not in counts]
    return {**counts, **{name: mean_sd([s[name] for s in scores]) for name in figures}}


if __name__ == "__main__":
    main()
