"""From a tongue photo to region vectors and attribute scores."""

from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from spacy_tcm.nets.efficientnet import EfficientNet, EfficientNetArch
from spacy_tcm.nets.resnet import ResNet, ResNetArch

# Of ImageNet: what published ResNet weights expect.
_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)
# How many of the last stages of an EfficientNet the attributes are told from.
N_STAGES = 3


@dataclass(frozen=True)
class HeadsArch:
    """pooled: features of the trunk's maps. colours: colour statistics. n_values: number of values
    of each attribute, in order; by_colour: whether it is told from the colour statistics or from
    the trunk's maps. dropout, colour_dropout: of the features it is told from."""

    pooled: int
    colours: int
    n_values: tuple[int, ...]
    by_colour: tuple[bool, ...]
    dropout: float = 0.0
    colour_dropout: float = 0.0

    to_dict = asdict

    @classmethod
    def from_dict(cls, data: dict) -> "HeadsArch":
        names = ("n_values", "by_colour")
        return cls(**{**data, **{name: tuple(data[name]) for name in names}})

    def count(self, by_colour: bool) -> int:
        """How many values the attributes told from one kind of features have."""
        pairs = zip(self.n_values, self.by_colour, strict=True)
        return sum(n for n, kind in pairs if kind == by_colour)


@dataclass(frozen=True)
class TongueArch:
    """trunk: its kind is told by its type. width: of a region vector. freeze_norm: keep batch-norm
    statistics and never train them. frozen: train nothing of the trunk (both for published
    weights). heads_frozen: train nothing of the heads."""

    trunk: ResNetArch | EfficientNetArch
    width: int
    heads: HeadsArch
    freeze_norm: bool = False
    frozen: bool = False
    heads_frozen: bool = False

    @property
    def kind(self) -> str:
        return "resnet" if isinstance(self.trunk, ResNetArch) else "efficientnet"

    def to_dict(self) -> dict:
        return {**asdict(self), "kind": self.kind}

    @classmethod
    def from_dict(cls, data: dict) -> "TongueArch":
        kind = ResNetArch if data["kind"] == "resnet" else EfficientNetArch
        return cls(
            kind.from_dict(data["trunk"]),
            int(data["width"]),
            HeadsArch.from_dict(data["heads"]),
            bool(data["freeze_norm"]),
            bool(data["frozen"]),
            bool(data["heads_frozen"]),
        )


def pooled_size(trunk: ResNetArch | EfficientNetArch) -> int:
    """How many features the attributes are told from, of a trunk's maps."""
    stages = 1 if isinstance(trunk, ResNetArch) else N_STAGES
    return 2 * sum(trunk.widths[-stages:])


class Heads(nn.Module):
    """What tells the attributes."""

    def __init__(self, arch: HeadsArch):
        super().__init__()
        self.arch = arch
        self.by_map = Head(arch.pooled, arch.count(False), arch.dropout)
        self.by_colour = Head(arch.colours, arch.count(True), arch.colour_dropout)

    def forward(self, pooled: Tensor, colours: Tensor) -> Tensor:
        """pooled: (photos, features). colours: (photos, statistics). RETURNS: scores, unnormalised,
        (photos, sum of n_values)."""
        parts = {False: self.by_map(pooled), True: self.by_colour(colours)}
        at = {False: 0, True: 0}
        scores = [pooled[:, :0]]
        for n_values, kind in zip(self.arch.n_values, self.arch.by_colour, strict=True):
            scores.append(parts[kind][:, at[kind] : at[kind] + n_values])
            at[kind] += n_values
        return torch.cat(scores, 1)


class TongueNet(nn.Module):
    mean: Tensor
    std: Tensor

    def __init__(self, arch: TongueArch):
        super().__init__()
        self.arch = arch
        self.trunk: ResNet | EfficientNet
        if isinstance(arch.trunk, ResNetArch):
            self.trunk = ResNet(arch.trunk)
        else:
            self.trunk = EfficientNet(arch.trunk)
        self.project = nn.Linear(arch.trunk.widths[-1], arch.width)
        self.heads = Heads(arch.heads)
        self.register_buffer("mean", torch.tensor(_MEAN)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(_STD)[:, None, None], persistent=False)
        self.trunk.requires_grad_(not arch.frozen)
        self.heads.requires_grad_(not arch.heads_frozen)
        self.train()  # a new module is in training: what is frozen must not be

    @property
    def described(self) -> list[nn.Module]:
        """The stages of the trunk that attributes are told from."""
        n_stages = 1 if isinstance(self.trunk, ResNet) else N_STAGES
        return self.trunk.stages[-n_stages:]

    def train(self, mode: bool = True) -> "TongueNet":
        super().train(mode)
        if self.arch.freeze_norm or self.arch.frozen:
            for module in self.trunk.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        if self.arch.heads_frozen:
            self.heads.eval()
        return self

    def forward(
        self,
        pixels: Tensor,
        masks: Tensor,
        colours: Tensor,
        seen: tuple[Tensor, Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """pixels: (photos, size, size, 3) RGB, 0..255. masks: (photos, size, size), true on the
        tongue. colours: (photos, colours). seen: what `look` has found already, in their place.

        RETURNS: regions (photos, size**2 / stride**2, width), row by row; attribute scores
            (photos, sum of n_values), unnormalised.
        """
        return self.judge(*(self.look(pixels, masks) if seen is None else seen), colours)

    def look(self, pixels: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        """What does not depend on the heads: maps (photos, regions, channels) of the last stage,
        and the means and deviations over the tongue of the described ones (photos, features)."""
        x = pixels.permute(0, 3, 1, 2).float()
        if isinstance(self.trunk, ResNet):
            maps = [self.trunk((x / 255 - self.mean) / self.std)]
        else:
            maps = self.trunk(x)[-N_STAGES:]
        inside = masks[:, None].float()
        pooled = [part for found in maps for part in _pool(found, inside)]
        return maps[-1].flatten(2).transpose(1, 2), torch.cat(pooled, 1)

    def judge(self, maps: Tensor, pooled: Tensor, colours: Tensor) -> tuple[Tensor, Tensor]:
        """Regions and scores, of what `look` returns."""
        return self.project(maps), self.heads(pooled, colours)


class Head(nn.Module):
    """Logistic regression on features of many sizes: each is brought to deviation 1. Dropout in
    place of a penalty on the weights (Wager et al. 2013)."""

    def __init__(self, n_in: int, n_out: int, dropout: float):
        super().__init__()
        self.norm = nn.BatchNorm1d(n_in, affine=False)
        self.drop = nn.Dropout(dropout)
        self.score = nn.Linear(n_in, n_out) if n_out else None

    def forward(self, x: Tensor) -> Tensor:
        """(photos, n_in) -> (photos, n_out), unnormalised."""
        if self.score is None:
            return x[:, :0]
        if self.training and len(x) > 1:
            x = self.norm(x)
        else:  # one photo has no deviation
            x = functional.batch_norm(x, self.norm.running_mean, self.norm.running_var)
        return self.score(self.drop(x))


def _pool(maps: Tensor, inside: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel over the tongue: (photos, channels) each."""
    share = functional.adaptive_avg_pool2d(inside, (maps.shape[-2], maps.shape[-1]))
    weight = share / share.sum((2, 3), keepdim=True).clamp(min=1e-6)
    mean = (maps * weight).sum((2, 3))
    variance = ((maps - mean[:, :, None, None]) ** 2 * weight).sum((2, 3))
    return mean, (variance + 1e-6).sqrt()
