"""What a pruned net gives, brought back near to what the whole one gives, without training."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from spacy_tcm.compress.tuning import recalibrate, stack_photos, usable
from spacy_tcm.models.photos import Photo
from spacy_tcm.nets.efficientnet import EfficientNet, InvertedResidual
from spacy_tcm.nets.tongue import TongueNet

MOST = 64  # photos; their maps are in memory
RIDGE = 1e-4  # of the mean variance of what is read


def refit(student: TongueNet, teacher: TongueNet, photos: Sequence[Photo], batch: int = 8) -> None:
    """Right after slicing: of an EfficientNet, the convolution that ends each block is fitted by
    least squares to give what the teacher's block gives, block after block, so that each also makes
    up for what those before it missed (He et al. 2017). Its norms inside the blocks keep their
    statistics: their inputs are near those of before. Of others, the statistics of the batch norms
    are measured anew. RAISES ModelError: there is no usable photo.
    """
    if isinstance(student.trunk, EfficientNet):
        _refit_blocks(student, teacher, usable(photos)[:MOST], batch)
    else:
        recalibrate(student, photos)


@torch.no_grad()
def _refit_blocks(student: Any, teacher: Any, photos: Sequence[Photo], batch: int) -> None:
    student.eval(), teacher.eval()
    device = next(student.parameters()).device
    parts = [photos[i : i + batch] for i in range(0, len(photos), batch)]
    pixels = [stack_photos(part, device)[0].permute(0, 3, 1, 2).float() for part in parts]
    mine = [_enter(student.trunk, x) for x in pixels]
    theirs = [_enter(teacher.trunk, x) for x in pixels]
    for block, whole in zip(_blocks(student.trunk), _blocks(teacher.trunk), strict=True):
        theirs = [whole(x) for x in theirs]
        if isinstance(block, InvertedResidual):
            _fit(block, mine, theirs)
        mine = [block(x) for x in mine]


def _enter(trunk: EfficientNet, x: Tensor) -> Tensor:
    """What the first block reads."""
    found: list[Tensor] = []

    class Found(Exception):
        pass

    def stop(block: nn.Module, args: tuple) -> None:
        found.append(args[0])
        raise Found

    hook = _blocks(trunk)[0].register_forward_pre_hook(stop)
    try:
        trunk(x)
    except Found:
        pass
    finally:
        hook.remove()
    return found[0]


def _blocks(trunk: Any) -> list[nn.Module]:
    return [block for stage in trunk.stages for block in stage]


def _fit(block: InvertedResidual, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> None:
    """Ridge regression of the outputs on what the last convolution reads."""
    read: list[Tensor] = []
    hook = block.conv_pwl.register_forward_pre_hook(lambda _, args: read.append(args[0]))
    n, n_in = 0, block.conv_pwl.in_channels
    first = torch.zeros(n_in + block.conv_pwl.out_channels, dtype=torch.double)
    second = torch.zeros(len(first), len(first), dtype=torch.double)
    for x, wanted in zip(inputs, outputs, strict=True):
        block(x)
        missing = wanted - x if block.skips else wanted
        both = torch.cat([read.pop(), missing], 1).transpose(0, 1).flatten(1)
        n += both.shape[1]
        first += both.sum(1).double().cpu()
        second += (both @ both.T).double().cpu()
    hook.remove()
    means = first / n
    covariances = second / n - means[:, None] * means
    spread = covariances[:n_in, :n_in]
    penalty = RIDGE * spread.diagonal().mean() * torch.eye(n_in, dtype=torch.double)
    weights = torch.linalg.solve(spread + penalty, covariances[:n_in, n_in:]).T
    norm: Any = block.bn3
    mean = weights @ means[:n_in]
    variance = (weights @ spread * weights).sum(1)
    block.conv_pwl.weight.copy_(weights[..., None, None])
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(variance)
    norm.weight.copy_((variance + norm.eps).sqrt())
    norm.bias.copy_(means[n_in:])
