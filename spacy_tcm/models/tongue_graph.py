"""The photo's Thinc models of a deployed pipeline: `models.tongue` and `models.segmenter` with
OpenVINO graphs for their nets. `compress.deploy_tongue` fills them."""

import numpy
from numpy.typing import NDArray
from spacy.tokens import Doc
from thinc.api import Model

from spacy_tcm.errors import Errors, ModelError
from spacy_tcm.models.graphs import wrap_graph
from spacy_tcm.models.photos import Photo
from spacy_tcm.models.segmenter import SegmenterModel, check_image_size
from spacy_tcm.models.tongue import TongueModel, encode_docs


def build_tongue_graph(
    width: int = 128,
    image_size: int = 224,
    segmenter: SegmenterModel | None = None,
    balanced: bool = True,
) -> TongueModel:
    """Architecture ``spacy_tcm.TongueGraph.v1``. Arguments: see `models.tongue`.

    Its ref ``net`` is the layer of the graph: pixels (1, size, size, 3) uint8 RGB, mask (1, size,
    size) bool, colours (1, colours) -> regions (1, regions, width), scores (1, sum of values). One
    photo at a time: in larger batches each takes longer, and none may depend on its company.
    """
    net = wrap_graph("TongueNet")
    photos: Model = Model("tongue_photos", _encode_photos, layers=[net])
    return Model(
        "tongue",
        _forward,
        init=_init,
        layers=[photos] if segmenter is None else [photos, segmenter],
        refs={"net": net, "segmenter": segmenter},
        dims={"nO": width},
        params={"colour_mean": None, "colour_variance": None},
        attrs={
            "deployed": True,
            "image_size": image_size,
            "balanced": balanced,
            "n_regions": 0,
            "n_values": [],
        },
    )


def build_segmenter_graph(image_size: int = 160) -> SegmenterModel:
    """Architecture ``spacy_tcm.SegmenterGraph.v1``. Its ref ``net`` is the layer of the graph:
    pixels (1, side, side, 3) uint8 RGB -> probabilities (1, side, side)."""
    check_image_size(image_size)
    net = wrap_graph("TongueSegmenter")
    return Model(
        "tongue_segmenter",
        _segment,
        init=_init,
        layers=[net],
        refs={"net": net},
        attrs={"image_size": image_size},
    )


def graph_inputs(photo: Photo) -> list[NDArray]:
    """What the graph of ``spacy_tcm.TongueGraph.v1`` is called with for a usable photo."""
    assert photo.pixels is not None
    return [photo.pixels[None], photo.mask[None], photo.colours[None]]


def _init(model: Model, X=None, Y=None) -> None:
    raise ModelError(Errors.E470)


def _forward(model: TongueModel, docs: list[Doc], is_train: bool):
    if is_train:
        raise ModelError(Errors.E470)
    return encode_docs(model, docs, is_train)


def _encode_photos(model: Model, photos: list[Photo], is_train: bool):
    found = [model.layers[0].predict(graph_inputs(photo)) for photo in photos]
    regions, scores = (numpy.concatenate(parts) for parts in zip(*found, strict=True))
    return (regions, scores), lambda d: photos


def _segment(model: SegmenterModel, photos: NDArray[numpy.uint8], is_train: bool):
    net = model.layers[0]
    found = [net.predict([photos[i : i + 1]])[0] for i in range(len(photos))]
    return numpy.concatenate(found), lambda d: photos
