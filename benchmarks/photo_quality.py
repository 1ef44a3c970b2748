"""Verdicts on photos made faulty in graded strengths, and false alarms on photos as they are.

    python benchmarks/photo_quality.py OUT.json PHOTOS_DIR [--device DIR] [--wild DIR]
        [--train 60] [--dev 100]

PHOTOS_DIR: holds labels.csv (image, split) and images/. --device: images/ of another device.
--wild: photos of phones, images/ and labels.csv (image, classes). Where there are masks/, they say
where the tongue is, elsewhere the segmenter does. None of this is part of the repository. The
bounds in spacy_tcm/images/quality.py were chosen by what this reports on the split "train", and by
the photos of --device and --wild as they are; nothing was chosen by "dev".
--train, --dev: how many photos of a split are made faulty. A third of "train" is judged as it is.
"""

import argparse
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter
from runs import read_labels, require_labels

from spacy_tcm.images.colour import WARM, relight
from spacy_tcm.images.load import load_tongue_image
from spacy_tcm.images.quality import TONGUE_BOUNDS
from spacy_tcm.images.region import find_region
from spacy_tcm.models.photos import prepare_photos
from spacy_tcm.models.segmenter import SegmenterModel, build_tongue_segmenter
from spacy_tcm.types import PhotoInfo

ROOT = Path(__file__).parents[1]
SEGMENTER = ROOT / "assets" / "tongue" / "segmenter.safetensors"
BATCH = 16
GREEN = (-0.15, 0.15, -0.15)  # log gains, as of a fluorescent lamp
GREY = 150
FRAME = 704  # pixels
SIDE = 256

Pixels = NDArray[numpy.uint8]
Mask = NDArray[numpy.bool_]
Change = Callable[[Pixels, Mask, float], Pixels]


def blur(pixels: Pixels, mask: Mask, share: float) -> Pixels:
    """share: radius, of the photo's width."""
    softened = ImageFilter.GaussianBlur(share * pixels.shape[1])
    return numpy.asarray(Image.fromarray(pixels).filter(softened))


def expose(pixels: Pixels, mask: Mask, stops: float) -> Pixels:
    return relight(pixels, (stops * numpy.log(2),) * 3)


def glare(pixels: Pixels, mask: Mask, share: float) -> Pixels:
    """A white reflection, round, of so much of the tongue's area, in its middle."""
    rows, columns = numpy.nonzero(mask)
    y, x = numpy.ogrid[: mask.shape[0], : mask.shape[1]]
    distance = numpy.hypot(y - rows.mean(), x - columns.mean())
    radius = numpy.quantile(distance[mask], share)
    light = (1 - (distance - radius) / (0.2 * radius)).clip(0, 1)[..., None]
    return (pixels + light * (255.0 - pixels)).astype("uint8")


def under(gains: Sequence[float]) -> Change:
    return lambda pixels, mask, strength: relight(pixels, [strength * gain for gain in gains])


def shrink(pixels: Pixels, mask: Mask, share: float) -> Pixels:
    """So much of the length of a larger picture, whose rest goes on as at the photo's edge."""
    small = _small(pixels, share)
    pads = [((FRAME - length) // 2, -((length - FRAME) // 2)) for length in small.shape[:2]]
    return numpy.pad(small, (*pads, (0, 0)), mode="edge")


def frame(pixels: Pixels, mask: Mask, share: float) -> Pixels:
    """So much of the length of a grey picture."""
    small = _small(pixels, share)
    pads = [((FRAME - length) // 2, -((length - FRAME) // 2)) for length in small.shape[:2]]
    return numpy.pad(small, (*pads, (0, 0)), constant_values=GREY)


def _small(pixels: Pixels, share: float) -> Pixels:
    scale = share * FRAME / max(pixels.shape)
    width, height = (max(1, round(scale * length)) for length in pixels.shape[1::-1])
    small = Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)
    return numpy.asarray(small)


def cut_tip(pixels: Pixels, mask: Mask, share: float) -> Pixels:
    rows = numpy.flatnonzero(mask.any(1))
    return pixels[: round(rows[-1] + 1 - share * len(rows))]


def cut_side(pixels: Pixels, mask: Mask, share: float) -> Pixels:
    columns = numpy.flatnonzero(mask.any(0))
    return numpy.ascontiguousarray(pixels[:, round(columns[0] + share * len(columns)) :])


FAR = "far away"  # only of photos with a face around the tongue, which goes on
# Fault -> what its strength is, how it is made, in which strengths, which reasons are right.
FAULTS: dict[str, tuple[str, Change, tuple[float, ...], set[str]]] = {
    "blurred": ("radius, of the width", blur, (0.002, 0.004, 0.006, 0.01, 0.02), {"blurred"}),
    "too dark": ("stops", expose, (-1, -2, -3, -4), {"tongue_too_dark", "too_dark"}),
    "too bright": (
        "stops",
        expose,
        (0.5, 1, 1.5, 2, 3),
        {"tongue_too_bright", "clipped", "too_bright"},
    ),
    "glare": ("of the tongue's area", glare, (0.05, 0.1, 0.2, 0.4), {"clipped"}),
    "warm": ("lamps of 4000 K", under(WARM), (1, 2, 3, 4), {"colour_cast"}),
    "cool": ("as far to the other side", under(WARM), (-1, -2, -3, -4), {"colour_cast"}),
    "green": ("fluorescent lamps", under(GREEN), (1, 2, 3, 4), {"colour_cast"}),
    FAR: ("of its length", shrink, (0.7, 0.5, 0.4, 0.3, 0.2), {"tongue_too_small"}),
    "in a grey frame": ("of its length", frame, (0.8, 0.5, 0.2), {"tongue_too_small"}),
    "tip cut off": ("of the tongue's length", cut_tip, (0.05, 0.1, 0.2, 0.4), {"cut_off"}),
    "side cut off": ("of the tongue's width", cut_side, (0.05, 0.1, 0.2, 0.4), {"cut_off"}),
}
SECOND = "a second tongue"
SECOND_SIZES = (1.0, 0.7, 0.5)
NO_TONGUE = {"no_tongue", "blank", "grayscale", "too_dark", "too_bright"}


def put_beside(pixels: Pixels, other: Pixels, scale: float) -> Pixels:
    """Two photos side by side, the other at this share of the first one's height."""
    height = pixels.shape[0]
    lower = round(scale * height)
    width = round(other.shape[1] * lower / other.shape[0])
    second = Image.fromarray(other).resize((width, lower), Image.Resampling.BICUBIC)
    picture = Image.new("RGB", (pixels.shape[1] + width, height), (GREY,) * 3)
    picture.paste(Image.fromarray(pixels), (0, 0))
    picture.paste(second, (pixels.shape[1], height - lower))
    return numpy.asarray(picture)


def parts_without(pixels: Pixels, mask: Mask) -> Iterator[Pixels]:
    """Parts above, below, left and right of the tongue: lips, chin, cheeks, clothes."""
    rows, columns = numpy.flatnonzero(mask.any(1)), numpy.flatnonzero(mask.any(0))
    gap = 4
    for part in (
        pixels[: max(0, rows[0] - gap)],
        pixels[rows[-1] + gap :],
        pixels[:, : max(0, columns[0] - gap)],
        pixels[:, columns[-1] + gap :],
    ):
        height, width = part.shape[:2]
        if min(height, width) < 48:
            continue
        longest = 2 * min(height, width)
        top, left = max(0, height - longest) // 2, max(0, width - longest) // 2
        part = part[top : top + longest, left : left + longest]
        if (part.max(2) > 24).mean() > 0.5:  # not the padding of a photo
            yield numpy.ascontiguousarray(part)


def noise(seed: int) -> Pixels:
    return numpy.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 3)).astype("uint8")


def skin(seed: int) -> Pixels:
    """An even piece of skin, lit from one side."""
    generator = numpy.random.default_rng(seed)
    colour = generator.uniform((170, 110, 80), (230, 170, 140))
    ramp = numpy.linspace(0.6, 1, SIDE)[:, None, None]
    return (colour * ramp + generator.normal(0, 6, (SIDE, SIDE, 3))).clip(0, 255).astype("uint8")


def gradient(seed: int) -> Pixels:
    ends = numpy.random.default_rng(seed).uniform(0, 255, (2, 1, 1, 3))
    ramp = numpy.linspace(0, 1, SIDE)[None, :, None]
    return numpy.tile(ends[0] + ramp * (ends[1] - ends[0]), (SIDE, 1, 1)).astype("uint8")


def writing(seed: int) -> Pixels:
    generator = numpy.random.default_rng(seed)
    page = Image.new("RGB", (SIDE, SIDE), (250, 245, 225))
    draw = ImageDraw.Draw(page)
    for line in range(12, SIDE - 12, 16):
        for start in range(10, SIDE - 12, 12):
            width = int(generator.integers(2, 10))
            draw.rectangle((start, line, start + width, line + 8), (40, 40, 90))
    return numpy.asarray(page)


def ball(seed: int) -> Pixels:
    """Red and round, before a wall."""
    generator = numpy.random.default_rng(seed)
    y, x = numpy.mgrid[:SIDE, :SIDE] / SIDE - generator.uniform(0.4, 0.6, (2, 1, 1))
    distance = numpy.hypot(y, x)[..., None]
    colour = generator.uniform((170, 20, 20), (230, 60, 60))
    found = numpy.where(distance < 0.3, colour * (1.1 - 1.5 * distance), (120.0, 140.0, 110.0))
    return (found + generator.normal(0, 6, (SIDE, SIDE, 3))).clip(0, 255).astype("uint8")


OTHERS: dict[str, Callable[[int], Pixels]] = {
    "noise": noise,
    "skin": skin,
    "gradient": gradient,
    "writing": writing,
    "red ball": ball,
}


def judge(images: Sequence[Any], segmenter: SegmenterModel) -> list[PhotoInfo]:
    found = []
    for start in range(0, len(images), BATCH):
        photos = prepare_photos(images[start : start + BATCH], 32, segmenter)
        found += [photo.info for photo in photos]
    return found


def read_pixels(path: Path) -> Pixels:
    with Image.open(path) as file:
        return numpy.asarray(file.convert("RGB"))


def find_mask(path: Path, pixels: Pixels, segmenter: SegmenterModel) -> Mask:
    """From masks/ beside images/, else from the segmenter; all false where there is no tongue."""
    drawn = path.parents[1] / "masks" / f"{path.stem}.png"
    if drawn.exists():
        mask = read_pixels(drawn).max(2)
        return mask > mask.max() // 2
    loaded = load_tongue_image(pixels, segmenter.attrs["image_size"])
    if loaded.pixels is None:
        return numpy.zeros(pixels.shape[:2], dtype=bool)
    top, left, height, width = loaded.content
    part = (slice(top, top + height), slice(left, left + width))
    content = numpy.zeros(loaded.pixels.shape[:2], dtype=bool)
    content[part] = True
    region = find_region(segmenter.predict(loaded.pixels[None])[0], content)
    if region is None:
        return numpy.zeros(pixels.shape[:2], dtype=bool)
    found = Image.fromarray(region.mask[part]).resize(pixels.shape[1::-1])
    return numpy.asarray(found)


def count(infos: Sequence[PhotoInfo], right: set[str]) -> dict[str, Any]:
    return {
        "photos": len(infos),
        "rejected": sum(info.status == "rejected" for info in infos),
        "right": sum(bool(right & set(info.reasons)) for info in infos),
    }


def spoil(
    paths: Sequence[Path], faults: Sequence[str], segmenter: SegmenterModel
) -> list[dict[str, Any]]:
    """A row per fault and strength."""
    photos = [read_pixels(path) for path in paths]
    masks = [find_mask(*both, segmenter) for both in zip(paths, photos, strict=True)]
    seen = [both for both in zip(photos, masks, strict=True) if both[1].any()]
    rows = []
    for fault in faults:
        if fault == SECOND:
            rows += put_together(photos, segmenter)
            continue
        meaning, change, strengths, right = FAULTS[fault]
        for strength in strengths:
            changed = [change(pixels, mask, strength) for pixels, mask in seen]
            row = {"fault": fault, "meaning": meaning, "strength": strength}
            rows.append(row | count(judge(changed, segmenter), right))
    return rows


def put_together(photos: list[Pixels], segmenter: SegmenterModel) -> list[dict[str, Any]]:
    rows = []
    following = photos[1:] + photos[:1]
    for scale in SECOND_SIZES:
        pairs = zip(photos, following, strict=True)
        infos = judge([put_beside(one, other, scale) for one, other in pairs], segmenter)
        row = {"fault": SECOND, "meaning": "of its height", "strength": scale}
        rows.append(row | count(infos, {"several_tongues"}))
    return rows


def without_tongue(paths: Sequence[Path], segmenter: SegmenterModel) -> dict[str, Any]:
    parts: list[Pixels] = []
    for path in paths:
        pixels = read_pixels(path)
        mask = find_mask(path, pixels, segmenter)
        if mask.any():
            parts += parts_without(pixels, mask)
    return count(judge(parts, segmenter), NO_TONGUE)


def untouched(infos: Sequence[PhotoInfo]) -> dict[str, Any]:
    """Rejections, and how far the photos reach in what is measured."""
    measured = [info.quality for info in infos if "tongue_share" in info.quality]
    names = sorted({name for _, name, _, _ in TONGUE_BOUNDS})
    return {
        "photos": len(infos),
        "rejected": sum(info.status == "rejected" for info in infos),
        "reasons": dict(Counter(reason for info in infos for reason in info.reasons)),
        "reach": {n: [f(q[n] for q in measured) for f in (min, max)] for n in names if measured},
    }


def by_class(infos: Sequence[PhotoInfo], classes: Sequence[str]) -> dict[str, Any]:
    """classes: of a photo, separated by |."""
    found: dict[str, list[PhotoInfo]] = {}
    for info, names in zip(infos, classes, strict=True):
        for name in names.split("|"):
            found.setdefault(name, []).append(info)
    return {
        name: {
            "photos": len(part),
            "reasons": dict(Counter(reason for info in part for reason in info.reasons)),
        }
        for name, part in sorted(found.items())
    }


def evenly(paths: Sequence[Path], wanted: int) -> list[Path]:
    """At most so many, from all over."""
    return list(paths)[:: max(1, -(-len(paths) // max(1, wanted)))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--device", type=Path)
    parser.add_argument("--wild", type=Path)
    parser.add_argument("--train", type=int, default=60)
    parser.add_argument("--dev", type=int, default=100)
    args = parser.parse_args()
    require_labels(args.photos)
    torch.set_num_threads(1)
    segmenter = build_tongue_segmenter(str(SEGMENTER))
    segmenter.initialize()
    sets: dict[str, list[Path]] = {"train": [], "dev": []}
    for row in read_labels(args.photos):
        sets[row["split"]].append(args.photos / "images" / f"{row['image']}.jpg")
    faults = [fault for fault in FAULTS if fault != FAR] + [SECOND]
    spoiled = {
        split: spoil(evenly(sets[split], wanted), faults, segmenter)
        for split, wanted in (("train", args.train), ("dev", args.dev))
    }
    sets["train"] = sets["train"][::3]
    if args.device:
        sets["device"] = sorted((args.device / "images").iterdir())
        spoiled["device"] = spoil(evenly(sets["device"], args.dev), [FAR], segmenter)
    wild = read_labels(args.wild) if args.wild else []
    if wild:
        sets["wild"] = [args.wild / "images" / f"{row['image']}.jpg" for row in wild]
    judged = {name: judge([str(path) for path in paths], segmenter) for name, paths in sets.items()}
    parts = {name: without_tongue(evenly(paths, 150), segmenter) for name, paths in sets.items()}
    drawn = {
        kind: judge([make(seed) for seed in range(10)], segmenter) for kind, make in OTHERS.items()
    }
    report = {
        "bounds": [
            [*bound[:3], None if bound[3] == numpy.inf else bound[3]] for bound in TONGUE_BOUNDS
        ],
        "untouched": {name: untouched(infos) for name, infos in judged.items()},
        "classes": by_class(judged["wild"], [row["classes"] for row in wild]) if wild else {},
        "faults": spoiled,
        "no_tongue": {"parts": parts, "drawn": {k: count(v, NO_TONGUE) for k, v in drawn.items()}},
    }
    text = json.dumps(report, indent=1, ensure_ascii=False, default=float)
    args.out.write_text(text + "\n", encoding="utf8")


if __name__ == "__main__":
    main()
