"""Do heat maps mark what an attribute was told from? By greying what they mark.

    python benchmarks/heat_maps.py OUT.json PHOTOS_DIR TONGUE_MODEL ... [--photos 40]

PHOTOS_DIR: holds labels.csv and images/, no part of this repository. TONGUE_MODEL: trained tongue
pipelines (`tongue.py --keep`). Of each of the first photos of the split "dev" the hottest fifth of
the tongue takes on its mean colour (the deletion test of Petsiuk et al. 2018): the more the score
of the value that was told falls, the more rightly is it marked. Beside ours: Grad-CAM on the last
stage (Selvaraju et al. 2017), and blobs anywhere on the tongue.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy
import torch
from ner import mean_sd
from numpy.typing import NDArray
from runs import read_labels, require_labels

from spacy_tcm.models.heat_maps import find_heat
from spacy_tcm.models.photos import Photo, prepare_photos
from spacy_tcm.models.weights import get_module
from spacy_tcm.tags import COLOUR_ATTRIBUTES

SHARE = 0.2  # of the tongue, greyed
OURS, CAM, BLOBS = "ours", "Grad-CAM, last stage", "blobs anywhere"

Inputs = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def heats(
    model: Any, photo: Photo, inputs: Inputs, told: list[int], attribute: int, target: int
) -> Iterator[tuple[str, NDArray]]:
    """(method, heat) of one attribute; target: its value among all values."""
    from captum.attr import LayerAttribution, LayerGradCam
    from scipy import ndimage

    net, size = get_module(model.layers[0]), photo.mask.shape
    yield OURS, find_heat(model, photo, told)[attribute].astype(float)
    pixels, *others = inputs
    method = LayerGradCam(lambda *given: net(*given)[1], net.described[-1])
    found = method.attribute(
        pixels.clone().requires_grad_(),
        target,
        additional_forward_args=tuple(others),
        relu_attributions=True,
    )
    yield CAM, LayerAttribution.interpolate(found.detach(), size, "bilinear")[0, 0].numpy()
    noise = numpy.random.default_rng(0).normal(size=size)
    yield BLOBS, ndimage.gaussian_filter(noise, 12) + 10


def hottest(heat: NDArray, mask: NDArray[numpy.bool_]) -> NDArray[numpy.intp]:
    """The hottest part of the tongue, as places in the flattened heat."""
    # Where nothing is hot, what comes first must not be taken: ties are broken at random.
    ties = numpy.random.default_rng(0).random(heat.shape) * 1e-9
    return numpy.argsort(-((heat + ties) * mask).ravel())[: int(SHARE * mask.sum())].copy()


def grey(pixels: torch.Tensor, heat: NDArray, mask: NDArray[numpy.bool_]) -> torch.Tensor:
    """The photo, (1, size, size, 3), with the hottest part of its tongue in its mean colour."""
    flat = pixels.clone().reshape(-1, 3)
    flat[hottest(heat, mask)] = flat[mask.ravel()].mean(0)
    return flat.reshape(pixels.shape)


def measure(path: Path, files: list[str], size: int) -> dict[str, dict[str, float]]:
    """Attribute -> method -> mean fall of the score."""
    import spacy

    encoder = spacy.load(path).get_pipe("tongue_encoder")
    model, net = encoder.model, get_module(encoder.model.layers[0]).eval()
    falls: dict[str, dict[str, list[float]]] = {}
    for photo in prepare_photos(files, size, model.get_ref("segmenter")):
        if photo.pixels is None:
            continue
        arrays = (photo.pixels.astype("float32"), photo.mask, photo.colours)
        inputs: Any = tuple(torch.tensor(array)[None] for array in arrays)
        with torch.no_grad():
            scores = net(*inputs)[1][0]
        told = [int(scores[part].argmax()) for _, part in encoder.parts()]
        for i, (name, part) in enumerate(encoder.parts()):
            if name in COLOUR_ATTRIBUTES:  # told from zones, not from a map
                continue
            target = part.start + told[i]
            for method, heat in heats(model, photo, inputs, told, i, target):
                with torch.no_grad():
                    after = net(grey(inputs[0], heat, photo.mask), *inputs[1:])[1][0, target]
                found = falls.setdefault(name, {}).setdefault(method, [])
                found.append(float(scores[target] - after))
    return {n: {m: float(numpy.mean(x)) for m, x in found.items()} for n, found in falls.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("photos_dir", type=Path)
    parser.add_argument("tongue", type=Path, nargs="+")
    parser.add_argument("--photos", type=int, default=40)
    args = parser.parse_args()
    require_labels(args.photos_dir)
    torch.set_num_threads(1)
    names = [row["image"] for row in read_labels(args.photos_dir) if row["split"] == "dev"]
    files = [str(args.photos_dir / "images" / f"{name}.jpg") for name in names[: args.photos]]
    runs = [measure(path, files, 224) for path in args.tongue]
    report = {
        "photos": len(files),
        "seeds": len(runs),
        "falls": {
            name: {method: mean_sd([run[name][method] for run in runs]) for method in found}
            for name, found in runs[0].items()
        },
    }
    args.out.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf8")


if __name__ == "__main__":
    main()
