"""Where in a photo is the tongue? A U-Net (Ronneberger et al. 2015) on EfficientNet-Lite."""

from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from spacy_tcm.nets.efficientnet import LITE0, EfficientNet, EfficientNetArch


@dataclass(frozen=True)
class SegmentArch:
    """trunk: its first three stages halve the size but for the first, the last is the deepest.
    widths: channels on the way up, to a half of the photo's size."""

    trunk: EfficientNetArch = LITE0
    widths: tuple[int, int, int] = (64, 40, 24)

    to_dict = asdict

    @classmethod
    def from_dict(cls, data: dict) -> "SegmentArch":
        a, b, c = (int(n) for n in data["widths"])
        return cls(EfficientNetArch.from_dict(data["trunk"]), (a, b, c))


class Up(nn.Module):
    """Brings a map to the size of an earlier one and merges the two."""

    def __init__(self, n_in: int, n_earlier: int, n_out: int):
        super().__init__()
        self.merge = nn.Sequential(
            nn.Conv2d(n_in + n_earlier, n_out, 1, bias=False),
            nn.BatchNorm2d(n_out),
            nn.ReLU6(),
            nn.Conv2d(n_out, n_out, 3, 1, 1, groups=n_out, bias=False),
            nn.Conv2d(n_out, n_out, 1, bias=False),
            nn.BatchNorm2d(n_out),
            nn.ReLU6(),
        )

    def forward(self, x: Tensor, earlier: Tensor) -> Tensor:
        return self.merge(torch.cat([_enlarge(x, earlier.shape[-2:]), earlier], 1))


class SegmentNet(nn.Module):
    def __init__(self, arch: SegmentArch):
        super().__init__()
        self.arch = arch
        self.trunk = EfficientNet(arch.trunk)
        n2, n4, n8 = arch.trunk.widths[:3]
        a, b, c = arch.widths
        self.up8 = Up(arch.trunk.widths[-1], n8, a)
        self.up4 = Up(a, n4, b)
        self.up2 = Up(b, n2, c)
        self.score = nn.Conv2d(c, 1, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        """pixels: (photos, height, width, 3) RGB, uint8 or float in 0..255, sides divisible by 16.
        RETURNS: log odds of "tongue", (photos, height, width)."""
        x = pixels.permute(0, 3, 1, 2).float()
        at2, at4, at8, *_, deepest = self.trunk(x)
        y = self.up2(self.up4(self.up8(deepest, at8), at4), at2)
        return _enlarge(self.score(y), x.shape[-2:])[:, 0]


def _enlarge(x: Tensor, size) -> Tensor:
    return functional.interpolate(x, size=size, mode="bilinear", align_corners=False)
