from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from spacy_tcm.nets.efficientnet import LITE0, EfficientNet, EfficientNetArch

TRUNK = Path(__file__).parents[2] / "assets" / "tongue" / "trunk.safetensors"
# timm 1.0.31, tf_efficientnet_lite0 with the same weights (in 16 bits) and input: per stage, the
# mean and the standard deviation of its output.
EXPECTED = (
    (0.4089, 11.70536),
    (-1.85275, 12.03721),
    (-1.60002, 11.14588),
    (-0.9854, 10.78277),
    (0.40976, 6.354),
)


def test_published_weights_give_what_timm_gives():
    net = EfficientNet(LITE0).eval()
    weights = {name: tensor.float() for name, tensor in load_file(TRUNK).items()}
    net.load_state_dict(weights, strict=True)
    x = torch.arange(3 * 96 * 64).reshape(1, 3, 96, 64) * 7919 % 256
    with torch.no_grad():
        found = net(x.float())
    assert [tuple(stage.shape[1:]) for stage in found] == [
        (16, 48, 32),
        (24, 24, 16),
        (40, 12, 8),
        (80, 6, 4),
        (112, 6, 4),
    ]
    for stage, (mean, deviation) in zip(found, EXPECTED, strict=True):
        assert stage.mean().item() == pytest.approx(mean, abs=1e-3)
        assert stage.std().item() == pytest.approx(deviation, rel=1e-3)


def test_any_inner_widths():
    arch = replace(LITE0, inner=((32,), (7, 3), (5, 11), (2, 9, 4), (6, 1, 8)))
    assert EfficientNetArch.from_dict(arch.to_dict()) == arch
    assert arch.stride == 16
    assert EfficientNet(arch)(torch.rand(2, 3, 32, 48))[-1].shape == (2, 112, 2, 3)
