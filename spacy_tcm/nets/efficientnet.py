"""EfficientNet-Lite up to a sixteenth of the photo's size; every inner width is free.

Parameter names are those of timm's ``tf_efficientnet_lite0``, whose weights load unchanged into
``LITE0``. Its deeper stages are left out: what they know of objects does not help with tongues.
"""

from dataclasses import asdict, dataclass

from torch import Tensor, nn
from torch.nn import functional

# Of the published weights: pixels are (x - 127) / 128, norms have this epsilon.
PIXEL_MEAN, PIXEL_SCALE = 127.0, 128.0
_EPSILON = 1e-3


@dataclass(frozen=True)
class EfficientNetArch:
    """stem: channels of the first convolution, which halves height and width. kernels, strides,
    widths: per stage; the stride is that of its first block, widths are its output channels.
    inner: per stage, the inner width of each block; the first stage's blocks have none, they are
    as wide as their input."""

    stem: int
    kernels: tuple[int, ...]
    strides: tuple[int, ...]
    widths: tuple[int, ...]
    inner: tuple[tuple[int, ...], ...]

    to_dict = asdict

    @classmethod
    def from_dict(cls, data: dict) -> "EfficientNetArch":
        kernels, strides, widths = (
            tuple(int(n) for n in data[name]) for name in ("kernels", "strides", "widths")
        )
        inner = tuple(tuple(int(n) for n in stage) for stage in data["inner"])
        return cls(int(data["stem"]), kernels, strides, widths, inner)

    @property
    def stride(self) -> int:
        """Pixels per region, in each direction."""
        stride = 2
        for step in self.strides:
            stride *= step
        return stride


LITE0 = EfficientNetArch(
    stem=32,
    kernels=(3, 3, 5, 3, 5),
    strides=(1, 2, 2, 2, 1),
    widths=(16, 24, 40, 80, 112),
    inner=((32,), (96, 144), (144, 240), (240, 480, 480), (480, 672, 672)),
)


class SameConv2d(nn.Conv2d):
    """Convolution whose output has 1 / stride of the (even) input's size, padded as TensorFlow's
    "same": with a stride, less at the top and left."""

    def forward(self, x: Tensor) -> Tensor:
        total = self.kernel_size[0] - self.stride[0]
        before = total // 2
        x = functional.pad(x, (before, total - before, before, total - before))
        return super().forward(x)


def _norm(n: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(n, eps=_EPSILON)


class Separable(nn.Module):
    """Depthwise, then pointwise convolution."""

    def __init__(self, n_in: int, n_out: int, kernel: int, stride: int):
        super().__init__()
        self.conv_dw = SameConv2d(n_in, n_in, kernel, stride, groups=n_in, bias=False)
        self.bn1 = _norm(n_in)
        self.conv_pw = nn.Conv2d(n_in, n_out, 1, bias=False)
        self.bn2 = _norm(n_out)
        self.skips = stride == 1 and n_in == n_out

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu6(self.bn1(self.conv_dw(x)))
        y = self.bn2(self.conv_pw(y))
        return y + x if self.skips else y


class InvertedResidual(nn.Module):
    """Widens, convolves depthwise, narrows."""

    def __init__(self, n_in: int, inner: int, n_out: int, kernel: int, stride: int):
        super().__init__()
        self.conv_pw = nn.Conv2d(n_in, inner, 1, bias=False)
        self.bn1 = _norm(inner)
        self.conv_dw = SameConv2d(inner, inner, kernel, stride, groups=inner, bias=False)
        self.bn2 = _norm(inner)
        self.conv_pwl = nn.Conv2d(inner, n_out, 1, bias=False)
        self.bn3 = _norm(n_out)
        self.skips = stride == 1 and n_in == n_out

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu6(self.bn1(self.conv_pw(x)))
        y = functional.relu6(self.bn2(self.conv_dw(y)))
        y = self.bn3(self.conv_pwl(y))
        return y + x if self.skips else y


class EfficientNet(nn.Module):
    """(batch, 3, height, width) in 0..255, sides divisible by the stride -> the output of each
    stage, (batch, width, height / its stride, width / its stride)."""

    def __init__(self, arch: EfficientNetArch):
        super().__init__()
        self.conv_stem = SameConv2d(3, arch.stem, 3, 2, bias=False)
        self.bn1 = _norm(arch.stem)
        stages, n_in = [], arch.stem
        shapes = zip(arch.kernels, arch.strides, arch.widths, arch.inner, strict=True)
        for i, (kernel, stride, n_out, inner) in enumerate(shapes):
            blocks: list[nn.Module] = []
            for j, width in enumerate(inner):
                step = stride if j == 0 else 1
                blocks.append(
                    InvertedResidual(n_in, width, n_out, kernel, step)
                    if i
                    else Separable(n_in, n_out, kernel, step)
                )
                n_in = n_out
            stages.append(nn.Sequential(*blocks))
        self.blocks = nn.Sequential(*stages)

    @property
    def stages(self) -> list[nn.Module]:
        return list(self.blocks)

    def forward(self, x: Tensor) -> list[Tensor]:
        x = (x - PIXEL_MEAN) / PIXEL_SCALE
        x = functional.relu6(self.bn1(self.conv_stem(x)))
        found = []
        for stage in self.blocks:
            x = stage(x)
            found.append(x)
        return found
