"""Does a pruned tongue net look where the whole one looks? Heat maps of both, side by side.

    python benchmarks/heat_maps_pruned.py OUT.json PICTURE.png TRAINED PHOTOS_DIR [--keep 0.6 0.4]
        [--method taylor] [--steps 400] [--rounds 200] [--photos 80] [--limit N] [--shown FILE ...]

TRAINED: a pipeline with a `tongue_encoder`. PHOTOS_DIR: labels.csv and images/, no part of this
repository; the net is pruned by photos of the split "train", as in compression.py, so that its
inner widths keep these shares of their bytes, and maps are compared on the first of "dev".
PICTURE.png: maps of photos that may be shown; rendered ones unless --shown. --limit: training
photos at most.

Of each attribute told from maps, for the value that the whole net tells: the correlation with the
whole net's map over the tongue; how much of both hottest fifths they share (intersection over
union); how much of the heat lies on the tongue; and how far the net's own score falls where the
hottest fifth of its map is greyed, as in heat_maps.py. Blobs anywhere say what chance does.
"""

import argparse
import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from io import BytesIO
from pathlib import Path
from typing import Any

import compression
import numpy
import torch
from heat_maps import BLOBS, grey, hottest
from numpy.typing import NDArray
from runs import read_labels, require_labels

from spacy_tcm.images.heat import draw_heat, share_by_zone
from spacy_tcm.models.heat_maps import heat_of
from spacy_tcm.models.photos import Photo, prepare_photos

WHOLE = "whole"
SHOWN = (3, 8, 10)  # seeds of rendered tongues
COLOURS = 128  # of the picture's palette

Nets = Mapping[str, Any]


def prune(task: Any, keep: float, args: argparse.Namespace) -> tuple[Any, list[int]]:
    """The net whose inner widths keep a share of their bytes, tuned, and these widths."""
    from spacy_tcm.compress.memory import ByteModel
    from spacy_tcm.compress.units import prunable

    net = deepcopy(task.net)
    units = prunable(net)
    memory = compression.InnerBytes(ByteModel.of(net, 1, compression.SIZE["tongue"]), "weights")
    budget = int(keep * memory.whole)
    kept = compression.choose(units, task, memory, budget, args.method, 0, args.rounds)
    small = units.slice(kept)
    compression.tune(small, task, "tongue", args.steps, 0)
    return small.eval(), [len(some) for some in kept]


def compare(nets: Nets, photo: Photo, attribute: int) -> dict[str, dict[str, float]]:
    """net -> measure, of one photo; nets: the whole one first. Empty where nothing in the photo
    speaks for what that one tells."""
    from scipy import ndimage

    whole = nets[WHOLE]
    value = told(whole, photo)[attribute]
    target = sum(whole.heads.arch.n_values[:attribute]) + value
    maps = {name: heat_of(net, photo, attribute, value) for name, net in nets.items()}
    noise = numpy.random.default_rng(0).normal(size=photo.mask.shape)
    maps[BLOBS] = ndimage.gaussian_filter(noise, 12) + 10
    reference = maps[WHOLE]
    if not reference[photo.mask].any():
        return {}
    return {
        name: {
            **alike(reference, heat, photo.mask),
            "on_tongue": float(heat[photo.mask].sum() / max(heat.sum(), 1e-12)),
            "fall": fall(nets.get(name, whole), photo, heat, target),
            "same_value": float(told(nets.get(name, whole), photo)[attribute] == value),
        }
        for name, heat in maps.items()
    }


def alike(one: NDArray, other: NDArray, mask: NDArray[numpy.bool_]) -> dict[str, float]:
    """Over the tongue; a map without any heat is like none."""
    flat = [heat[mask].astype(float) for heat in (one, other)]
    constant = any(heat.std() == 0 for heat in flat)
    parts = [set(hottest(heat, mask).tolist()) for heat in (one, other)]
    return {
        "correlation": 0.0 if constant else float(numpy.corrcoef(*flat)[0, 1]),
        "overlap": len(parts[0] & parts[1]) / len(parts[0] | parts[1]),
    }


def scores(net: Any, photo: Photo, pixels: torch.Tensor | None = None) -> torch.Tensor:
    """(sum of values,). pixels: (1, size, size, 3), in place of the photo's own."""
    shown = torch.tensor(photo.pixels)[None].float() if pixels is None else pixels
    with torch.no_grad():
        return net(shown, torch.tensor(photo.mask)[None], torch.tensor(photo.colours)[None])[1][0]


def told(net: Any, photo: Photo) -> list[int]:
    """The number of the most probable value, by attribute."""
    sizes = list(net.heads.arch.n_values)
    return [int(part.argmax()) for part in scores(net, photo).split(sizes)]


def fall(net: Any, photo: Photo, heat: NDArray, target: int) -> float:
    """Of a score, where the hottest part of the tongue is greyed."""
    painted = grey(torch.tensor(photo.pixels)[None].float(), heat, photo.mask)
    return float((scores(net, photo) - scores(net, photo, painted))[target])


def measure(
    nets: Nets, photos: Sequence[Photo], attributes: Sequence[str]
) -> dict[str, dict[str, dict[str, float]]]:
    """attribute -> net -> measure -> mean over photos, with their count."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for number, name in told_from_maps(nets[WHOLE], attributes):
        rows = [row for photo in photos if (row := compare(nets, photo, number))]
        found[name] = {
            net: {
                "photos": len(rows),
                **{m: statistics.mean(row[net][m] for row in rows) for m in rows[0][net]},
            }
            for net in rows[0]
        }
    return found


def told_from_maps(net: Any, attributes: Sequence[str]) -> Iterator[tuple[int, str]]:
    """The others are told from colours alone, which no pruning changes."""
    for i, name in enumerate(attributes):
        if not net.heads.arch.by_colour[i]:
            yield i, name


def draw(
    nets: Nets, photos: Sequence[Photo], attributes: Mapping[str, Sequence[str]], path: Path
) -> None:
    """Photos in rows; beside each, for each attribute, the maps of all nets."""
    from matplotlib.figure import Figure
    from PIL import Image

    shown = list(told_from_maps(nets[WHOLE], list(attributes)))
    columns = 1 + len(shown) * len(nets)
    figure = Figure((1.5 * columns, 1.75 * len(photos)), layout="constrained")
    axes = figure.subplots(len(photos), columns, squeeze=False)
    for photo, row in zip(photos, axes, strict=True):
        assert photo.pixels is not None
        pictures = [(photo.pixels, "photo")]
        values = told(nets[WHOLE], photo)
        for i, name in shown:
            for title, net in nets.items():
                heat = heat_of(net, photo, i, values[i]) * photo.mask
                heat = (255 * heat / max(heat.max(), 1e-12)).astype("uint8")
                zones = share_by_zone(heat, photo.mask)
                most = f"\nmost at: {max(zones, key=zones.__getitem__)}" if zones else ""
                label = f"{name}: {attributes[name][values[i]]}\n{title}{most}"
                pictures.append((draw_heat(photo.pixels, heat, photo.mask), label))
        for axis, (picture, label) in zip(row, pictures, strict=True):
            axis.imshow(picture)
            axis.set_title(label, fontsize=6.5)
            axis.axis("off")
    buffer = BytesIO()
    figure.savefig(buffer, dpi=100, format="png")
    Image.open(buffer).convert("RGB").quantize(COLOURS).save(path, optimize=True)


def rendered() -> list[NDArray[numpy.uint8]]:
    from spacy_tcm.images.render import random_attributes, render_tongue

    return [render_tongue(random_attributes(seed), size=352, seed=seed) for seed in SHOWN]


def usable(encoder: Any, images: Sequence[object]) -> list[Photo]:
    model = encoder.model
    photos = prepare_photos(images, model.attrs["image_size"], model.get_ref("segmenter"))
    return [photo for photo in photos if photo.pixels is not None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("trained")
    parser.add_argument("photos_dir", type=Path)
    parser.add_argument("--keep", type=float, nargs="+", default=[0.6, 0.4])
    parser.add_argument("--method", choices=compression.METHODS, default="taylor")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--photos", type=int, default=80)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--shown", nargs="+")
    args = parser.parse_args()
    args.photos, n_photos = args.photos_dir, args.photos  # as compression.py names them
    require_labels(args.photos)
    import spacy

    nlp = spacy.load(args.trained)
    encoder: Any = nlp.get_pipe("tongue_encoder")
    task = compression.make_task("tongue", nlp, args)
    nets: dict[str, Any] = {WHOLE: task.net}
    widths: dict[str, list[int]] = {}
    for keep in args.keep:
        name = f"{keep:.0%} kept".replace("%", " %")
        nets[name], widths[name] = prune(task, keep, args)
    draw(nets, usable(encoder, args.shown or rendered()), encoder.attributes, args.picture)
    rows = [row for row in read_labels(args.photos) if row["split"] == "dev"][:n_photos]
    photos = usable(encoder, [compression.photo_path(args.photos, row) for row in rows])
    report = {
        "photos": len(photos),
        "settings": {name: getattr(args, name) for name in ("method", "steps", "rounds")},
        "learned_from": len(task.photos),
        "widths": widths,
        "attributes": measure(nets, photos, list(encoder.attributes)),
    }
    args.out.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf8")


if __name__ == "__main__":
    main()
