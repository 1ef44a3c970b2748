"""From a tongue photo to region vectors and attribute scores."""

from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from spacy_tcm.nets.resnet import ResNet, ResNetArch

# Of ImageNet: what published ResNet weights expect.
_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class TongueArch:
    """width: of a region vector. n_values: number of values of each attribute, in order.
    freeze_norm: keep batch-norm statistics and never train them (for published weights)."""

    resnet: ResNetArch
    width: int
    n_values: tuple[int, ...]
    freeze_norm: bool = False

    to_dict = asdict

    @classmethod
    def from_dict(cls, data: dict) -> "TongueArch":
        return cls(
            ResNetArch.from_dict(data["resnet"]),
            int(data["width"]),
            tuple(int(n) for n in data["n_values"]),
            bool(data["freeze_norm"]),
        )


class TongueNet(nn.Module):
    mean: Tensor
    std: Tensor

    def __init__(self, arch: TongueArch):
        super().__init__()
        self.arch = arch
        self.backbone = ResNet(arch.resnet)
        channels = arch.resnet.widths[-1]
        self.project = nn.Linear(channels, arch.width)
        n_scores = sum(arch.n_values)
        self.attributes = nn.Linear(channels, n_scores) if n_scores else None
        self.register_buffer("mean", torch.tensor(_MEAN)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(_STD)[:, None, None], persistent=False)

    def train(self, mode: bool = True) -> "TongueNet":
        super().train(mode)
        if self.arch.freeze_norm:
            for module in self.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """pixels: (photos, size, size, 3) uint8 RGB.

        RETURNS: regions (photos, size**2 / stride**2, width), row by row; attribute scores
            (photos, sum of n_values), unnormalised.
        """
        x = (pixels.permute(0, 3, 1, 2).float() / 255 - self.mean) / self.std
        maps = self.backbone(x).flatten(2).transpose(1, 2)
        pooled = maps.mean(1)
        scores = pooled[:, :0] if self.attributes is None else self.attributes(pooled)
        return self.project(maps), scores
