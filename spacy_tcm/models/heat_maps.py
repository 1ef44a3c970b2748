"""Where in a photo the tongue's attributes were seen.

Attributes that are told from the trunk's maps: gradient times activation, over the stages that they
are told from. (Grad-CAM averages the gradient over a map, which leaves nothing of what the
deviations over the tongue say: greying what it marks changes the scores far less.) Attributes that
are told from the colours of five zones have no map: what each zone adds to the score, beyond the
mean colours of training (integrated gradients, Sundararajan et al. 2017), is painted into it.
"""

from collections.abc import Sequence
from typing import Any

import numpy
from numpy.typing import NDArray
from thinc.api import Model

from spacy_tcm.errors import Errors, ModelError
from spacy_tcm.images.colour import ZONES, find_zones
from spacy_tcm.models.photos import Photo
from spacy_tcm.models.weights import get_module


def check_captum() -> None:
    """RAISES ModelError: what heat maps need is not installed."""
    try:
        import captum.attr  # noqa: F401
        import torch  # noqa: F401
    except ImportError as error:
        raise ModelError(Errors.E463.format(name=error.name)) from None


def find_heat(model: Model, photo: Photo, told: Sequence[int]) -> list[NDArray[numpy.uint8]]:
    """Where a photo speaks for the value of each attribute.

    model: of a tongue encoder. photo: one that is usable. told: per attribute, the index of its
        value.
    RETURNS: per attribute (size, size), 255 where most, 0 outside of the tongue; all 0 where
        nothing in the photo speaks for the value. Nothing of the model is changed.
    """
    import torch

    net = get_module(model.layers[0])
    was_training = net.training
    net.eval()
    try:
        with torch.enable_grad():
            return [
                _to_bytes(heat * photo.mask)
                for heat in (heat_of(net, photo, i, value) for i, value in enumerate(told))
            ]
    finally:
        net.train(was_training)


def heat_of(net: Any, photo: Photo, attribute: int, value: int) -> NDArray[numpy.float32]:
    """How much each place, also outside of the tongue, speaks for a value of an attribute, both by
    their numbers: (size, size), not negative. net: a `TongueNet` that evaluates."""
    n_values, by_colour = net.heads.arch.n_values, net.heads.arch.by_colour
    if by_colour[attribute]:
        before = sum(n for n, told in zip(n_values[:attribute], by_colour, strict=False) if told)
        return _heat_of_colours(net, photo, before + value)
    return _heat_of_maps(net, photo, sum(n_values[:attribute]) + value)


def _heat_of_maps(net: Any, photo: Photo, target: int) -> NDArray[numpy.float32]:
    """target: index of the value among all values."""
    import torch
    from captum.attr import LayerAttribution, LayerGradientXActivation

    device = next(net.parameters()).device
    pixels, mask, colours = (
        torch.tensor(array, device=device)[None]
        for array in (photo.pixels, photo.mask, photo.colours)
    )
    # A trunk that is frozen has no gradient but that of its input.
    pixels = pixels.float().requires_grad_()
    method = LayerGradientXActivation(lambda *inputs: net(*inputs)[1], net.described)
    heat = torch.zeros(mask.shape[1:], device=device)
    for found in method.attribute(pixels, target, additional_forward_args=(mask, colours)):
        cells = found.detach().sum(1, keepdim=True)  # what each adds: on finer maps, of less area
        size = tuple(heat.shape)
        heat += LayerAttribution.interpolate(cells * cells.numel(), size, "bilinear")[0, 0]
    return heat.clamp(min=0).cpu().numpy()


def _heat_of_colours(net: Any, photo: Photo, target: int) -> NDArray[numpy.float32]:
    """target: index of the value among those of attributes told from colours."""
    import torch
    from captum.attr import IntegratedGradients

    mean = net.heads.by_colour.norm.running_mean[None]
    colours = torch.tensor(photo.colours, device=mean.device)[None]
    added = IntegratedGradients(net.heads.by_colour).attribute(colours, mean, target)
    by_zone = added.reshape(len(ZONES), -1).sum(1).clamp(min=0).cpu().numpy()
    return (by_zone[:, None, None] * find_zones(photo.mask)).max(0).astype("float32")


def _to_bytes(heat: NDArray[numpy.float32]) -> NDArray[numpy.uint8]:
    """(size, size), not negative -> the same with a maximum of 255, or all 0."""
    most = heat.max()
    return (255 * heat / most + 0.5).astype("uint8") if most > 0 else heat.astype("uint8")
