"""Bottleneck ResNet whose every inner width is free, so that a pruned net is the same class.

Parameter names are torchvision's: a ``resnet50`` state dict loads into ``RESNET50`` unchanged.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class ResNetArch:
    """stem: channels of the first convolution. stages: per stage, the two inner widths of each
    bottleneck. widths: per stage, channels of its output. From the second stage on, a stage
    halves height and width; the stem has divided them by 4."""

    stem: int
    stages: tuple[tuple[tuple[int, int], ...], ...]
    widths: tuple[int, ...]

    to_dict = asdict

    @classmethod
    def from_dict(cls, data: dict) -> "ResNetArch":
        stages = tuple(tuple((int(a), int(b)) for a, b in stage) for stage in data["stages"])
        return cls(int(data["stem"]), stages, tuple(int(w) for w in data["widths"]))

    @property
    def stride(self) -> int:
        """Pixels per region, in each direction."""
        return 2 ** (len(self.stages) + 1)


def bottleneck_arch(stem: int, inner: Sequence[int], depths: Sequence[int]) -> ResNetArch:
    """The usual shape: equal inner widths in a stage, outputs four times as wide."""
    stages = tuple(((w, w),) * d for w, d in zip(inner, depths, strict=True))
    return ResNetArch(stem, stages, tuple(4 * w for w in inner))


RESNET50 = bottleneck_arch(64, (64, 128, 256, 512), (3, 4, 6, 3))


class Bottleneck(nn.Module):
    def __init__(self, n_in: int, inner: tuple[int, int], n_out: int, stride: int):
        super().__init__()
        a, b = inner
        self.conv1 = nn.Conv2d(n_in, a, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(a)
        self.conv2 = nn.Conv2d(a, b, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(b)
        self.conv3 = nn.Conv2d(b, n_out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(n_out)
        self.downsample: nn.Module | None = None
        if stride != 1 or n_in != n_out:
            self.downsample = nn.Sequential(
                nn.Conv2d(n_in, n_out, 1, stride, bias=False), nn.BatchNorm2d(n_out)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn1(self.conv1(x)).relu()
        y = self.bn2(self.conv2(y)).relu()
        y = self.bn3(self.conv3(y))
        return (y + (x if self.downsample is None else self.downsample(x))).relu()


class ResNet(nn.Module):
    """(batch, 3, height, width) -> (batch, widths[-1], height / stride, width / stride)."""

    def __init__(self, arch: ResNetArch):
        super().__init__()
        self.conv1 = nn.Conv2d(3, arch.stem, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(arch.stem)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        n_in = arch.stem
        self.n_stages = len(arch.stages)
        for i, (stage, n_out) in enumerate(zip(arch.stages, arch.widths, strict=True)):
            blocks = []
            for j, inner in enumerate(stage):
                blocks.append(Bottleneck(n_in, inner, n_out, 2 if i and not j else 1))
                n_in = n_out
            self.add_module(f"layer{i + 1}", nn.Sequential(*blocks))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    @property
    def stages(self) -> list[nn.Module]:
        return [getattr(self, f"layer{i + 1}") for i in range(self.n_stages)]

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.bn1(self.conv1(x)).relu())
        for stage in self.stages:
            x = stage(x)
        return x
