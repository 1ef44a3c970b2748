"""The photo's Thinc model: docs -> TongueFeatures."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, cast

import numpy
from spacy.tokens import Doc
from thinc.api import ArgsKwargs, Model, torch2xp, xp2torch
from thinc.types import Ints1d

from spacy_tcm.errors import Errors, ModelError
from spacy_tcm.images.load import LoadedImage, load_tongue_image
from spacy_tcm.models.weights import get_module, set_module, wrap_torch
from spacy_tcm.types import PhotoInfo, TongueFeatures

TongueModel = Model[list[Doc], TongueFeatures]


def build_tongue_resnet(
    width: int = 128,
    image_size: int = 224,
    stem: int = 64,
    inner: Sequence[int] = (64, 128, 256, 512),
    depths: Sequence[int] = (3, 4, 6, 3),
    freeze_norm: bool = False,
    weights: str | None = None,
) -> TongueModel:
    """Architecture ``spacy_tcm.TongueResNet.v1``. The defaults are ResNet-50 at 224 pixels.

    width: of a region vector. image_size: photos are fitted into this many pixels square; must
    be a multiple of the net's stride (32 for four stages). inner, depths: inner width and number
    of bottlenecks of each stage. freeze_norm: leave batch-norm statistics as loaded. weights: a
    safetensors file with torchvision's parameter names, read at initialisation, None for random.
    """
    stride = 2 ** (len(depths) + 1)
    if len(inner) != len(depths) or image_size % stride:
        raise ModelError(
            Errors.E404.format(size=image_size, stride=stride, inner=len(inner), depths=len(depths))
        )
    return Model(
        "tongue_resnet",
        _forward,
        init=_init,
        layers=[
            wrap_torch("TongueNet", _build, convert_inputs=_to_torch, convert_outputs=_from_torch)
        ],
        dims={"nO": width},
        attrs={
            "image_size": image_size,
            "n_regions": (image_size // stride) ** 2,
            "resnet": [stem, list(inner), list(depths)],
            "freeze_norm": freeze_norm,
            "weights": weights or "",
            "n_values": [],
        },
    )


def _build(arch: dict[str, Any]):
    from spacy_tcm.nets.tongue import TongueArch, TongueNet

    return TongueNet(TongueArch.from_dict(arch))


def _init(model: TongueModel, X=None, Y=None) -> None:
    """New weights: random, or the published ones of ``weights``."""
    from spacy_tcm.nets.resnet import bottleneck_arch
    from spacy_tcm.nets.tongue import TongueArch, TongueNet

    n_values = tuple(model.attrs["n_values"])
    resnet = bottleneck_arch(*model.attrs["resnet"])
    arch = TongueArch(resnet, model.get_dim("nO"), n_values, model.attrs["freeze_norm"])
    module = TongueNet(arch)
    if model.attrs["weights"]:
        from safetensors.torch import load_file

        tensors = load_file(model.attrs["weights"])
        module.backbone.load_state_dict(
            {k: v for k, v in tensors.items() if not k.startswith("fc.")}, strict=True
        )
    set_module(model.layers[0], module)


def _forward(model: TongueModel, docs: list[Doc], is_train: bool):
    ops, net = model.ops, model.layers[0]
    size = model.attrs["image_size"]
    # Windows of one record carry the same photo: decode and encode it once.
    photos: dict[Any, int] = {}
    pixels: list[numpy.ndarray] = []
    info = []
    row = numpy.full(len(docs), -1, dtype="i")
    known: dict[Any, PhotoInfo] = {}
    for i, doc in enumerate(docs):
        image = doc._.tongue_image
        key = image if isinstance(image, str | bytes) else id(image)
        if key not in known:
            # Training sees each photo in every epoch; in use, a file may change between calls.
            load = _load_once if is_train and isinstance(image, str) else load_tongue_image
            loaded = load(image, size)
            known[key] = PhotoInfo(loaded.status, tuple(loaded.reasons), dict(loaded.quality))
            if loaded.pixels is not None and loaded.status == "ok":
                photos[key] = len(pixels)
                pixels.append(loaded.pixels)
        info.append(known[key])
        row[i] = photos.get(key, -1)
    present = row >= 0
    regions: Any = ops.alloc3f(len(docs), model.attrs["n_regions"], model.get_dim("nO"))
    scores: Any = ops.alloc2f(len(docs), sum(model.attrs["n_values"]))
    if not pixels:
        return TongueFeatures(regions, present, scores, info), lambda d: docs
    (unique_regions, unique_scores), backprop_net = net(numpy.stack(pixels), is_train)
    where = row[present]
    regions[present] = unique_regions[where]
    scores[present] = unique_scores[where]

    def backprop(d: tuple[Any, Any]):
        """d: gradients of regions and of scores, shaped like them."""
        d_regions, d_scores = d
        d_unique = ops.alloc3f(*unique_regions.shape)
        d_unique_scores = ops.alloc2f(*unique_scores.shape)
        index = cast(Ints1d, ops.asarray(cast(Any, where)))
        ops.scatter_add(d_unique, index, d_regions[present])
        ops.scatter_add(d_unique_scores, index, d_scores[present])
        backprop_net((d_unique, d_unique_scores))
        return docs

    return TongueFeatures(regions, present, scores, info), backprop


@lru_cache(maxsize=512)
def _load_once(path: str, size: int) -> LoadedImage:
    return load_tongue_image(path, size)


def _to_torch(model: Model, pixels: numpy.ndarray, is_train: bool):
    import torch

    device = next(get_module(model).parameters()).device
    x = torch.from_numpy(pixels).to(device)
    return ArgsKwargs(args=(x,), kwargs={}), lambda d: []


def _from_torch(model: Model, inputs_outputs, is_train: bool):
    _, (regions, scores) = inputs_outputs

    def backprop(d):
        return ArgsKwargs(
            args=((regions, scores),),
            kwargs={"grad_tensors": tuple(xp2torch(x, device=regions.device) for x in d)},
        )

    return (torch2xp(regions.detach()), torch2xp(scores.detach())), backprop
