"""The photo's Thinc model: docs -> TongueFeatures."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy
from spacy.tokens import Doc
from thinc.api import ArgsKwargs, Model, torch2xp, xp2torch

from spacy_tcm.errors import Errors, ModelError
from spacy_tcm.images.colour import N_COLOURS
from spacy_tcm.models.photos import KEPT, Photo, prepare_photos
from spacy_tcm.models.segmenter import SegmenterModel
from spacy_tcm.models.weights import (
    fingerprint,
    get_module,
    read_about,
    read_module,
    set_module,
    wrap_torch,
    write_module,
)
from spacy_tcm.types import TongueFeatures

TongueModel = Model[list[Doc], TongueFeatures]
HEADS = "TongueHeads"  # in the header of their file


def build_tongue_resnet(
    width: int = 128,
    image_size: int = 224,
    stem: int = 64,
    inner: Sequence[int] = (64, 128, 256, 512),
    depths: Sequence[int] = (3, 4, 6, 3),
    freeze_norm: bool = False,
    weights: str | None = None,
    segmenter: SegmenterModel | None = None,
    balanced: bool = True,
    dropout: float = 0.0,
    colour_dropout: float = 0.0,
    lights: int = 0,
) -> TongueModel:
    """Architecture ``spacy_tcm.TongueResNet.v1``. The defaults are ResNet-50 at 224 pixels.

    width: of a region vector. image_size: photos are fitted into this many pixels square; must
    be a multiple of the net's stride (32 for four stages). inner, depths: inner width and number
    of bottlenecks of each stage. freeze_norm: leave batch-norm statistics as loaded. weights: a
    safetensors file with torchvision's parameter names, read at initialisation, None for random.
    segmenter: finds the tongue, which is then cut out; None takes the whole photo for it.
    balanced: take back a light that is far from usual (`spacy_tcm.images.colour`). dropout,
    colour_dropout: of the features that attributes are told from. lights: in training, show each
    photo also under so many simulated lights.
    """
    stride = 2 ** (len(depths) + 1)
    if len(inner) != len(depths) or image_size % stride:
        raise ModelError(
            Errors.E404.format(size=image_size, stride=stride, inner=len(inner), depths=len(depths))
        )
    shape = [stem, list(inner), list(depths)]
    trunk = {"kind": "resnet", "shape": shape, "freeze_norm": freeze_norm}
    return _build(
        width,
        image_size,
        stride,
        trunk,
        weights,
        segmenter,
        balanced,
        (dropout, colour_dropout),
        lights,
    )


def build_tongue_efficientnet(
    width: int = 128,
    image_size: int = 224,
    frozen: bool = True,
    weights: str | None = None,
    segmenter: SegmenterModel | None = None,
    balanced: bool = True,
    dropout: float = 0.5,
    colour_dropout: float = 0.1,
    lights: int = 0,
) -> TongueModel:
    """Architecture ``spacy_tcm.TongueEfficientNet.v1``: EfficientNet-Lite0 up to a sixteenth.

    image_size: a multiple of 16. frozen: train nothing but the heads. weights: a safetensors file
    with timm's parameter names. Others: see :func:`build_tongue_resnet`.
    """
    stride = 16
    if image_size % stride:
        raise ModelError(Errors.E404.format(size=image_size, stride=stride, inner=0, depths=0))
    trunk = {"kind": "efficientnet", "frozen": frozen}
    return _build(
        width,
        image_size,
        stride,
        trunk,
        weights,
        segmenter,
        balanced,
        (dropout, colour_dropout),
        lights,
    )


def _build(
    width: int,
    image_size: int,
    stride: int,
    trunk: dict[str, Any],
    weights: str | None,
    segmenter: SegmenterModel | None,
    balanced: bool,
    dropouts: tuple[float, float],
    lights: int,
) -> TongueModel:
    net = wrap_torch("TongueNet", _build_net, convert_inputs=_to_torch, convert_outputs=_from_torch)
    return Model(
        "tongue",
        encode_docs,
        init=_init,
        layers=[net] if segmenter is None else [net, segmenter],
        refs={"segmenter": segmenter},
        dims={"nO": width},
        attrs={
            "image_size": image_size,
            "n_regions": (image_size // stride) ** 2,
            "trunk": trunk,
            "balanced": balanced,
            "dropouts": dropouts,
            "lights": lights,
            "weights": weights or "",
            "heads_frozen": False,
            "n_values": [],
            "by_colour": [],
        },
    )


def _build_net(arch: dict[str, Any]):
    from spacy_tcm.nets.tongue import TongueArch, TongueNet

    return TongueNet(TongueArch.from_dict(arch))


def _init(model: TongueModel, X=None, Y=None) -> None:
    """New weights: random, or the published ones of ``weights``."""
    from spacy_tcm.nets.efficientnet import LITE0
    from spacy_tcm.nets.resnet import bottleneck_arch
    from spacy_tcm.nets.tongue import HeadsArch, TongueArch, TongueNet, pooled_size

    segmenter = model.maybe_get_ref("segmenter")
    if segmenter is not None:
        segmenter.initialize()
    trunk = model.attrs["trunk"]
    dropout, colour_dropout = model.attrs["dropouts"]
    trunk_arch = bottleneck_arch(*trunk["shape"]) if trunk["kind"] == "resnet" else LITE0
    arch = TongueArch(
        trunk_arch,
        model.get_dim("nO"),
        HeadsArch(
            pooled_size(trunk_arch),
            N_COLOURS,
            tuple(model.attrs["n_values"]),
            tuple(model.attrs["by_colour"]),
            dropout,
            colour_dropout,
        ),
        freeze_norm=trunk.get("freeze_norm", False),
        frozen=trunk.get("frozen", False),
        heads_frozen=model.attrs["heads_frozen"],
    )
    module = TongueNet(arch)
    if model.attrs["weights"]:
        _load_trunk(module.trunk, Path(model.attrs["weights"]))
    set_module(model.layers[0], module)
    if arch.frozen:
        model.layers[0].attrs["fingerprint"] = fingerprint(module.trunk)


def colour_distance(model: TongueModel, photo: Photo) -> float:
    """How far a photo's colours are from those learned from: the root mean square of its colour
    statistics' standard scores, about 1 for photos like them."""
    mean, variance = colour_norm(model)
    return float(numpy.sqrt(((photo.colours - mean) ** 2 / variance).mean()))


def colour_norm(model: TongueModel) -> tuple[Any, Any]:
    """Mean and variance of the colour statistics learned from, (statistics,) each."""
    if is_deployed(model):
        return model.get_param("colour_mean"), model.get_param("colour_variance")
    norm = get_module(model.layers[0]).heads.by_colour.norm
    return norm.running_mean.cpu().numpy(), norm.running_var.cpu().numpy() + norm.eps


def is_deployed(model: TongueModel) -> bool:
    """Whether its nets are graphs (`models.tongue_graph`), which cannot be trained or explained."""
    return bool(model.attrs.get("deployed"))


def write_heads(model: TongueModel, path: Path, about: dict[str, Any]) -> None:
    """Save what tells the attributes, for :func:`read_heads`. about: what they are, JSON-able."""
    net = get_module(model.layers[0])
    about = {**about, "trunk": fingerprint(net.trunk)}
    write_module(net.heads, path, kind=HEADS, about=about)


def read_heads(path: Path) -> tuple[Any, dict[str, Any]]:
    """The heads that :func:`write_heads` saved, and what they are.

    RAISES ModelError: there is no such file, or it holds something else.
    """
    return read_module(path, kind=HEADS, build=_build_heads), read_about(path)


def set_heads(model: TongueModel, heads: Any, about: dict[str, Any], path: Path) -> None:
    """Put trained heads into an initialised model; they are trained no further.

    RAISES ModelError: they were trained on another trunk.
    """
    net = get_module(model.layers[0])
    if not net.arch.frozen or about["trunk"] != fingerprint(net.trunk):
        raise ModelError(Errors.E454.format(path=path))
    net.heads.load_state_dict(heads.state_dict(), strict=True)


def _build_heads(arch: dict[str, Any]):
    from spacy_tcm.nets.tongue import Heads, HeadsArch

    return Heads(HeadsArch.from_dict(arch))


def _load_trunk(trunk: Any, path: Path) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(path)
        trunk.load_state_dict(
            {k: v.float() for k, v in tensors.items() if not k.startswith("fc.")}, strict=True
        )
    except (OSError, SafetensorError, RuntimeError) as error:
        cause = str(error).strip().splitlines()[0][:200]
        raise ModelError(Errors.E451.format(path=path, name="trunk", cause=cause)) from None


def encode_docs(model: TongueModel, docs: list[Doc], is_train: bool):
    """Thinc's forward of every photo model: its first layer takes photos and gives regions and
    scores."""
    ops, net = model.ops, model.layers[0]
    images = [doc._.tongue_image for doc in docs]
    # Windows of one record carry the same photo: decode and encode it once.
    keys = [image if isinstance(image, str | bytes) else id(image) for image in images]
    unique = dict(zip(keys, images, strict=True))
    size, segmenter = model.attrs["image_size"], model.maybe_get_ref("segmenter")
    balanced = model.attrs["balanced"]
    if is_train:
        lights = model.attrs["lights"]
        prepared = KEPT.prepare(
            list(unique.values()), size, segmenter, balanced=balanced, lights=lights
        )
    else:
        prepared = prepare_photos(list(unique.values()), size, segmenter, balanced=balanced)
    photos = dict(zip(unique, prepared, strict=True))
    shown = [photos[key] for key in keys]
    info = [photo.info for photo in shown]
    usable = [key for key, photo in photos.items() if photo.pixels is not None]
    rows = {key: row for row, key in enumerate(usable)}
    row = numpy.asarray([rows.get(key, -1) for key in keys], dtype="i")
    present = row >= 0
    regions: Any = ops.alloc3f(len(docs), model.attrs["n_regions"], model.get_dim("nO"))
    scores: Any = ops.alloc2f(len(docs), sum(model.attrs["n_values"]))
    if not usable:
        return TongueFeatures(regions, present, scores, info, shown), lambda d: docs
    (unique_regions, unique_scores), backprop_net = net([photos[k] for k in usable], is_train)
    where = row[present]
    regions[present] = unique_regions[where]
    scores[present] = unique_scores[where]

    def backprop(d: tuple[Any, Any]):
        """d: gradients of regions and of scores, shaped like them."""
        d_regions, d_scores = d
        d_unique = ops.alloc3f(*unique_regions.shape)
        d_unique_scores = ops.alloc2f(*unique_scores.shape)
        # A loop: numpy's scattered sum is ten times slower, and few photos come twice.
        for i, k in zip(numpy.flatnonzero(present), where, strict=True):
            d_unique[k] += d_regions[i]
            d_unique_scores[k] += d_scores[i]
        backprop_net((d_unique, d_unique_scores))
        return docs

    return TongueFeatures(regions, present, scores, info, shown), backprop


def _to_torch(model: Model, photos: list[Photo], is_train: bool):
    import torch

    net = get_module(model)
    device = next(net.parameters()).device
    colours = torch.from_numpy(numpy.stack([photo.colours for photo in photos])).to(device)
    if not (is_train and net.arch.frozen):
        return ArgsKwargs(args=(*_stack(photos, device), colours), kwargs={}), lambda d: []
    # Looking changes nothing: a photo that is kept is looked at once.
    trunk = model.attrs["fingerprint"]
    new = [photo for photo in photos if trunk not in photo.seen]
    if new:
        with torch.no_grad():
            maps, pooled = net.look(*_stack(new, device))
        for i, photo in enumerate(new):
            photo.seen[trunk] = maps[i].half(), pooled[i]
    seen = [torch.stack([photo.seen[trunk][k] for photo in photos]).float() for k in (0, 1)]
    return ArgsKwargs(args=(None, None, colours), kwargs={"seen": seen}), lambda d: []


def _stack(photos: list[Photo], device: Any) -> tuple[Any, Any]:
    """(photos, size, size, 3) uint8 and (photos, size, size) bool."""
    import torch

    pixels = numpy.stack([cast(numpy.ndarray, photo.pixels) for photo in photos])
    masks = numpy.stack([photo.mask for photo in photos])
    return torch.from_numpy(pixels).to(device), torch.from_numpy(masks).to(device)


def _from_torch(model: Model, inputs_outputs, is_train: bool):
    import torch

    _, (regions, scores) = inputs_outputs

    def backprop(d):
        # Without listeners nothing comes back for the regions; frozen heads want nothing.
        pairs = [
            (out, xp2torch(x, device=out.device))
            for out, x in zip((regions, scores), d, strict=True)
            if out.requires_grad and x.any()
        ] or [(regions, torch.zeros_like(regions))]
        outputs, gradients = zip(*pairs, strict=True)
        return ArgsKwargs(args=(outputs,), kwargs={"grad_tensors": gradients})

    return (torch2xp(regions.detach()), torch2xp(scores.detach())), backprop
