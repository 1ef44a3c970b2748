"""The net that finds the tongue, as a Thinc layer: photos -> probabilities."""

from pathlib import Path
from typing import Any

import numpy
from numpy.typing import NDArray
from thinc.api import Model

from spacy_tcm.errors import Errors, ModelError
from spacy_tcm.models.weights import (
    fingerprint,
    get_module,
    read_module,
    set_module,
    wrap_torch,
)

SegmenterModel = Model[NDArray[numpy.uint8], NDArray[numpy.float32]]

KIND = "TongueSegmenter"  # in the header of its weights
BATCH = 16  # photos at a time


def build_tongue_segmenter(weights: str | None = None, image_size: int = 160) -> SegmenterModel:
    """Architecture ``spacy_tcm.TongueSegmenter.v1``: (photos, side, side, 3) uint8 RGB ->
    (photos, side, side), the probability that a pixel is of the tongue.

    It is never trained with a pipeline. weights: a file that ``python -m spacy_tcm segmenter`` has
    written, read at initialisation. image_size: side in pixels, a multiple of 16.
    """
    check_image_size(image_size)
    return Model(
        "tongue_segmenter",
        _forward,
        init=_init,
        layers=[wrap_torch(KIND, build_net)],
        attrs={"image_size": image_size, "weights": weights or "", "fingerprint": ""},
    )


def check_image_size(side: int) -> None:
    """RAISES ModelError: the net cannot halve photos of this side four times."""
    if side < 16 or side % 16:
        raise ModelError(Errors.E452.format(size=side))


def build_net(arch: dict[str, Any]):
    from spacy_tcm.nets.segment import SegmentArch, SegmentNet

    return SegmentNet(SegmentArch.from_dict(arch))


def _init(model: SegmenterModel, X=None, Y=None) -> None:
    if not model.attrs["weights"]:
        raise ModelError(Errors.E453)
    path = Path(model.attrs["weights"])
    module = read_module(path, kind=KIND, build=build_net)
    set_module(model.layers[0], module)
    model.attrs["fingerprint"] = fingerprint(module)


def _forward(model: SegmenterModel, photos: NDArray[numpy.uint8], is_train: bool):
    import torch

    net = get_module(model.layers[0]).eval()
    device = next(net.parameters()).device
    found = numpy.zeros(photos.shape[:3], dtype="float32")
    with torch.no_grad():
        for start in range(0, len(photos), BATCH):
            part = slice(start, start + BATCH)
            found[part] = net(torch.from_numpy(photos[part]).to(device)).sigmoid().cpu().numpy()
    return found, lambda d: photos
