"""What a tongue photo costs: its steps, our net beside ResNet-50, a phone's large JPEG, memory.

    python benchmarks/photo_speed.py OUT.json [PHOTOS_DIR] [--photos 32] [--rounds 3]

PHOTOS_DIR: holds images/, and is no part of this repository; without it, photos are rendered.
Ours is `configs/tongue.cfg`; ResNet-50 that of `configs/multimodal.cfg`, which reads the whole
photo: random weights, which changes neither speed nor memory. Rows take turns over the same
photos, on one thread. Reported are ratios of processor time, by their median over photos (of
steps and JPEG) or over batches (of nets), and the peak memory of a process of its own for each row.
"""

import argparse
import json
import multiprocessing
import platform
import resource
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from time import process_time
from typing import Any
from unittest.mock import patch

ROOT = Path(__file__).parents[1]
ASSETS = ROOT / "assets" / "tongue"
BATCH = 16
SIDE = 512  # what spacy_tcm.models.photos asks for; importing it would import torch
LARGE = (4000, 3000)  # pixels: a phone's 12 megapixels
OURS, RESNET = "EfficientNet-Lite0, tongue found and cut out (ours)", "ResNet-50, whole photo"
CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    OURS: (
        "tongue.cfg",
        {
            "components.tongue_encoder.model.weights": str(ASSETS / "trunk.safetensors"),
            "components.tongue_encoder.model.segmenter.weights": str(
                ASSETS / "segmenter.safetensors"
            ),
        },
    ),
    RESNET: ("multimodal.cfg", {}),
}
REDUCED, FULL = "12 megapixels, decoded at reduced size (ours)", "12 megapixels, decoded in full"


def write_photos(folder: str, source: str | None, wanted: int) -> tuple[list[str], str]:
    """RETURNS: paths of photos, and of a large one. Runs in a process of its own, as all below."""
    from PIL import Image

    from spacy_tcm.images.render import random_attributes, render_tongue, save_rendered

    if source is None:
        paths = [f"{folder}/{seed}.jpg" for seed in range(wanted)]
        for seed, path in enumerate(paths):
            attributes = random_attributes(seed)
            save_rendered(render_tongue(attributes, seed=seed), path, attributes)
    else:
        found = sorted(map(str, (Path(source) / "images").iterdir()))
        paths = found[:: max(1, len(found) // wanted)][:wanted]
    large = f"{folder}/large.jpg"
    with Image.open(paths[0]) as photo:
        photo.convert("RGB").resize(LARGE).save(large, quality=92)
    return paths, large


def load_large(path: str, reduced: bool) -> Any:
    from PIL.JpegImagePlugin import JpegImageFile

    from spacy_tcm.images.load import load_tongue_image

    if reduced:
        return load_tongue_image(path, SIDE).pixels
    with patch.object(JpegImageFile, "draft", lambda *_: None):
        return load_tongue_image(path, SIDE).pixels


def make_encoder(row: str) -> Any:
    import spacy
    import torch
    from spacy.util import load_config

    torch.set_num_threads(1)
    file, overrides = CONFIGS[row]
    config = load_config(ROOT / "configs" / file, overrides=overrides).interpolate()
    part = dict(config["components"]["tongue_encoder"])
    nlp = spacy.blank("tcm")
    encoder = nlp.add_pipe(part.pop("factory"), config=part)
    nlp.initialize()
    return encoder


def look(encoder: Any, paths: Sequence[str], batch: int) -> None:
    from spacy.tokens import Doc

    for start in range(0, len(paths), batch):
        docs = [Doc(encoder.vocab) for _ in paths[start : start + batch]]
        for doc, path in zip(docs, paths[start:], strict=False):
            doc._.tongue_image = path
        encoder.predict(docs)


def seconds(action: Callable[..., Any], *arguments: Any) -> float:
    start = process_time()
    action(*arguments)
    return process_time() - start


def measure_nets(paths: list[str], rounds: int) -> dict[str, float]:
    """Time as multiples of ours, photo by photo."""
    encoders = {row: make_encoder(row) for row in CONFIGS}
    found: dict[str, list[float]] = {}
    for number in range(rounds + 1):
        for start in range(0, len(paths), BATCH):
            part = paths[start : start + BATCH]
            taken = {
                f"{row}, {size} at a time": seconds(look, encoder, part, size)
                for row, encoder in encoders.items()
                for size in (1, BATCH)
            }
            if number:  # the first warms up
                for row, time in taken.items():
                    found.setdefault(row, []).append(time / taken[f"{OURS}, 1 at a time"])
    return {row: statistics.median(ratios) for row, ratios in found.items()}


def measure_steps(paths: list[str]) -> dict[str, float]:
    """Shares of the time of one photo in ours."""
    from spacy_tcm.images.load import load_tongue_image
    from spacy_tcm.models.photos import prepare_photos

    encoder = make_encoder(OURS)
    segmenter = encoder.model.get_ref("segmenter")
    found: dict[str, list[float]] = {}
    for number, path in enumerate([paths[0], *paths]):
        small = load_tongue_image(path, segmenter.attrs["image_size"]).pixels
        loading = seconds(load_tongue_image, path, SIDE)
        finding = seconds(segmenter.predict, small[None])
        preparing = seconds(prepare_photos, [path], encoder.model.attrs["image_size"], segmenter)
        whole = seconds(look, encoder, [path], 1)
        steps = {
            "read, decode, reduce": loading,
            "find the tongue": finding,
            "cut out, judge, take back the light, measure colours": preparing - loading - finding,
            "trunk and heads": whole - preparing,
        }
        if number:  # the first warms up
            for step, time in steps.items():
                found.setdefault(step, []).append(time / whole)
    return {step: statistics.median(shares) for step, shares in found.items()}


def measure_large(large: str, paths: list[str], rounds: int) -> dict[str, float]:
    """Decoding, as multiples of the time of the median photo in ours."""
    encoder = make_encoder(OURS)
    look(encoder, paths[:1], 1)
    photos = [seconds(look, encoder, [path], 1) for path in paths]
    whole = statistics.median(photos)
    found: dict[str, list[float]] = {REDUCED: [], FULL: []}
    for _ in range(rounds):
        for row, times in found.items():
            times.append(seconds(load_large, large, row == REDUCED) / whole)
    return {row: statistics.median(times) for row, times in found.items()}


def peak(row: str, paths: list[str], large: str) -> int:
    """Bytes. row: of CONFIGS, with a batch size, or of a large photo."""
    if row in (REDUCED, FULL):
        load_large(large, row == REDUCED)
    else:
        name, size = row.rsplit(", ", 1)
        look(make_encoder(name), paths, int(size.split()[0]))
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def apart(function: Callable[..., Any], *arguments: Any) -> Any:
    """In a fresh process: what the system reports as its peak begins with what its parent has."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("photos_dir", nargs="?")
    parser.add_argument("--photos", type=int, default=2 * BATCH)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    if args.photos_dir and not (Path(args.photos_dir) / "images").is_dir():
        raise SystemExit(f"Skipped: there is no images/ in {args.photos_dir}.")
    with TemporaryDirectory() as folder:
        paths, large = apart(write_photos, folder, args.photos_dir, args.photos)
        nets = apart(measure_nets, paths, args.rounds)
        rows = [*nets, REDUCED, FULL]
        report = {
            "photos": len(paths),
            "rendered": args.photos_dir is None,
            "machine": platform.machine(),
            "steps": apart(measure_steps, paths),
            "nets": nets,
            "large": apart(measure_large, large, paths, args.rounds),
            "peak_bytes": {row: apart(peak, row, paths[:BATCH], large) for row in rows},
        }
    args.out.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf8")


if __name__ == "__main__":
    main()
