"""Small nets of every kind, with statistics and biases that are not those of a new net."""

import pytest
import torch
from torch import nn

from spacy_tcm.nets.efficientnet import EfficientNetArch
from spacy_tcm.nets.resnet import ResNetArch
from spacy_tcm.nets.text_encoder import TextEncoder, TextEncoderArch
from spacy_tcm.nets.tongue import HeadsArch, TongueArch, TongueNet, pooled_size

TRUNKS = {
    "resnet": ResNetArch(6, (((5, 7), (6, 4)), ((8, 9),)), (12, 16)),
    "efficientnet": EfficientNetArch(
        6, (3, 5, 3), (1, 2, 2), (6, 8, 10), ((6,), (9, 12), (11, 14))
    ),
}


def make_net(kind: str, **options) -> nn.Module:
    """ "resnet" and "efficientnet": a TongueNet; "text": a TextEncoder. Evaluating."""
    torch.manual_seed(5)
    net: nn.Module
    if kind == "text":
        net = TextEncoder(TextEncoderArch(40, 16, 1, 12, 4, ((3, 10), (4, 7))))
    else:
        heads = HeadsArch(pooled_size(TRUNKS[kind]), 5, (3, 2), (False, True))
        net = TongueNet(TongueArch(TRUNKS[kind], 8, heads, **options))
    net.eval()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d | nn.Linear | nn.LayerNorm):
            module.bias.data.normal_(0, 0.5)
        if isinstance(module, nn.BatchNorm2d):  # or most channels would be dead
            module.weight.data.uniform_(0.5, 1.5)
            module.train()
            module.momentum = 0.9
    with torch.no_grad():
        net(*make_batch(kind, 99))
    return net.eval()


def make_batch(kind: str, seed: int = 0) -> tuple[torch.Tensor, ...]:
    """Arguments of the forward pass of such a net, for four photos or texts."""
    random = torch.Generator().manual_seed(seed)
    if kind == "text":
        ids = torch.randint(0, 40, (4, 9), generator=random)
        return ids, torch.arange(9) < torch.tensor([[9], [4], [7], [1]])
    pixels = torch.randint(0, 256, (4, 32, 32, 3), generator=random).byte()
    masks = torch.ones(4, 32, 32, dtype=torch.bool)
    return pixels, masks, torch.randn(4, 5, generator=random)


@pytest.fixture(params=["resnet", "efficientnet", "text"])
def kind(request) -> str:
    return request.param


def outputs(found) -> list[torch.Tensor]:
    return [found] if isinstance(found, torch.Tensor) else list(found)
