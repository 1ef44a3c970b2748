"""The photo side of a deployed pipeline: torch modules become OpenVINO graphs."""

from collections.abc import Sequence
from typing import Any

import openvino
import torch
from torch import Tensor, nn

from spacy_tcm.errors import Errors, ModelError
from spacy_tcm.images.colour import N_COLOURS
from spacy_tcm.models.graphs import set_graph
from spacy_tcm.models.segmenter import SegmenterModel
from spacy_tcm.models.tongue import TongueModel, is_deployed
from spacy_tcm.models.tongue_graph import build_segmenter_graph, build_tongue_graph
from spacy_tcm.models.weights import get_module
from spacy_tcm.nets.tongue import TongueNet
from spacy_tcm.pipeline.tongue_encoder import TongueEncoder


def deploy_tongue(pipe: TongueEncoder, net: TongueNet | None = None) -> TongueModel:
    """The model of a trained tongue encoder as one of ``spacy_tcm.TongueGraph.v1``, fp32.

    net: a pruned net in place of the encoder's own. The pipe stays as it is; what is in its
    ``cfg`` goes with the component, not with the model.
    RAISES ModelError: the encoder is not trained, or is deployed already.
    """
    trained = pipe.model
    if is_deployed(trained):
        raise ModelError(Errors.E481.format(name=pipe.name))
    net = get_module(trained.layers[0]) if net is None else net
    if net is None:
        raise ModelError(Errors.E401.format(name="TongueNet"))
    size, segmenter = trained.attrs["image_size"], trained.maybe_get_ref("segmenter")
    model = build_tongue_graph(
        trained.get_dim("nO"),
        size,
        None if segmenter is None else _deploy_segmenter(segmenter),
        trained.attrs["balanced"],
    )
    for name in ("n_regions", "n_values"):
        model.attrs[name] = trained.attrs[name]
    norm: Any = net.heads.by_colour.norm
    model.set_param("colour_mean", norm.running_mean.cpu().numpy())
    model.set_param("colour_variance", norm.running_var.cpu().numpy() + norm.eps)
    inputs = [
        torch.zeros(1, size, size, 3, dtype=torch.uint8),
        torch.ones(1, size, size, dtype=torch.bool),
        torch.zeros(1, N_COLOURS),
    ]
    set_graph(model.get_ref("net"), export(net, inputs))
    return model


def _deploy_segmenter(trained: SegmenterModel) -> SegmenterModel:
    side = trained.attrs["image_size"]
    model = build_segmenter_graph(side)
    net = _Probabilities(get_module(trained.layers[0]))
    set_graph(model.get_ref("net"), export(net, [torch.zeros(1, side, side, 3, dtype=torch.uint8)]))
    return model


class _Probabilities(nn.Module):
    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    def forward(self, pixels: Tensor) -> Tensor:
        return self.net(pixels).sigmoid()


def export(net: nn.Module, inputs: Sequence[Tensor]) -> Any:
    """A module as an ``openvino.Model`` for inputs of exactly the shapes of these."""
    was_training, device = net.training, next(net.parameters()).device
    net.eval()
    try:
        with torch.no_grad():
            program = torch.export.export(net, tuple(tensor.to(device) for tensor in inputs))
    finally:
        net.train(was_training)
    graph = openvino.convert_model(program)
    # The program's shapes are fixed, but the converter forgets those of its inputs.
    graph.reshape({i: list(tensor.shape) for i, tensor in enumerate(inputs)})
    return graph
