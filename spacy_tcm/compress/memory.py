"""How much memory a net takes, for any inner widths: a liveness walk over its operations, once.

The net is traced on tensors without data, with a different prime for each width. A tensor's size
then tells by its factors which widths it grows with, so that the bytes alive after each operation
are sums of products of widths, and a peak is the maximum of a small matrix product.
"""

import gc
import json
import math
import re
import weakref
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from spacy_tcm.batching import parse_size
from spacy_tcm.errors import Errors, ModelError
from spacy_tcm.nets.efficientnet import EfficientNetArch
from spacy_tcm.nets.resnet import ResNetArch
from spacy_tcm.nets.text_encoder import TextEncoder
from spacy_tcm.nets.tongue import TongueArch, TongueNet

# Primes for widths are above this: none divides another dimension of a tensor by accident.
_LEAST_PRIME = 1009
# Of processes on Linux that give freed memory back, see benchmarks/byte_model.py.
CALIBRATIONS = Path(__file__).parents[1] / "resources" / "memory.json"


def inner_widths(arch: Any) -> tuple[int, ...]:
    """The widths that pruning changes, in the order of the units: both inner widths of each
    bottleneck, the inner width of each inverted residual, or heads and inner width of each layer
    of a text encoder."""
    if isinstance(arch, TongueArch):
        return inner_widths(arch.trunk)
    if isinstance(arch, ResNetArch):
        return tuple(width for stage in arch.stages for inner in stage for width in inner)
    if isinstance(arch, EfficientNetArch):
        return tuple(width for stage in arch.inner[1:] for width in stage)
    return tuple(width for layer in arch.layers for width in layer)


def with_widths(arch: Any, widths: Iterable[int]) -> Any:
    """The same architecture with other inner widths.

    RAISES ValueError: there are too few or too many.
    """
    values = [int(width) for width in widths]
    if len(values) != len(inner_widths(arch)):
        raise ValueError(f"{len(values)} widths, but the net has {len(inner_widths(arch))}")
    rest = iter(values)
    if isinstance(arch, TongueArch):
        return replace(arch, trunk=with_widths(arch.trunk, values))
    if isinstance(arch, ResNetArch):
        stages = (tuple((next(rest), next(rest)) for _ in stage) for stage in arch.stages)
        return replace(arch, stages=tuple(stages))
    if isinstance(arch, EfficientNetArch):
        later = [tuple(next(rest) for _ in stage) for stage in arch.inner[1:]]
        return replace(arch, inner=(arch.inner[0], *later))
    return replace(arch, layers=tuple((next(rest), next(rest)) for _ in arch.layers))


@dataclass
class Trace:
    """weights, sizes: bytes of each parameter and buffer, and of each other memory block, in the
    order of their making. steps: the blocks alive after each operation that made one."""

    weights: list[int]
    sizes: list[int]
    steps: list[tuple[int, ...]]

    @property
    def activations(self) -> int:
        """Bytes of all but the weights at the peak."""
        return max(sum(self.sizes[block] for block in step) for step in self.steps)


class _Liveness(TorchDispatchMode):
    """Notes each memory block that an operation makes, and how long it lives."""

    def __init__(self, known: Iterable[Tensor]):
        super().__init__()
        self.sizes: list[int] = []
        self.steps: list[tuple[int, ...]] = []
        self.alive: dict[int, int] = {}
        self.known = {_address(tensor) for tensor in known}

    def note(self, tensor: Tensor) -> bool:
        """RETURNS: whether the tensor is in a new block."""
        address = _address(tensor)
        if address in self.known or address in self.alive or not tensor.numel():
            return False
        self.alive[address] = len(self.sizes)
        self.sizes.append(tensor.untyped_storage().nbytes())
        weakref.finalize(tensor.untyped_storage(), self.alive.pop, address)
        return True

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if sum(self.note(part) for part in tree_leaves(out) if isinstance(part, Tensor)):
            self.steps.append(tuple(self.alive.values()))
        return out


def _address(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def make_inputs(arch: Any, batch: int, size: int) -> tuple[Tensor, ...]:
    """What a net of this architecture takes: `batch` photos, `size` pixels square, or `batch` texts
    of `size` subwords."""
    if isinstance(arch, TongueArch):
        pixels = torch.zeros(batch, size, size, 3, dtype=torch.uint8)
        masks = torch.ones(batch, size, size, dtype=torch.bool)
        return pixels, masks, torch.zeros(batch, arch.heads.colours)
    ids = torch.zeros(batch, size, dtype=torch.long)
    return ids, torch.ones(batch, size, dtype=torch.bool)


def run(net: nn.Module, inputs: Sequence[Tensor], training: bool) -> None:
    """Once through the net; in training also back, from the squares of what comes out."""
    with torch.set_grad_enabled(training):
        out = net(*inputs)
        if training:
            parts = [part.square().mean() for part in tree_leaves(out) if part.requires_grad]
            torch.stack(parts).sum().backward()


def trace(
    net: TongueNet | TextEncoder,
    batch: int,
    size: int,
    training: bool = False,
    widths: Sequence[int] | None = None,
) -> Trace:
    """The memory blocks of a net like this one, with these inner widths or its own. Nothing is
    computed, and the net is not touched.

    training: with gradients, and with what Adam keeps: twice what is trained.
    """
    arch: Any = net.arch
    if widths is not None:
        arch = with_widths(arch, widths)
    collecting = gc.isenabled()
    gc.disable()  # so that all dies by its last reference, in the same place each time
    # A process that computes its first gradient after fake tensors computes none after a fork.
    torch.ones(1, requires_grad=True).sum().backward()
    try:
        with FakeTensorMode():
            twin = type(net)(arch).train(training)
            for ours, theirs in zip(twin.parameters(), net.parameters(), strict=True):
                ours.requires_grad_(theirs.requires_grad)
            weights = [*twin.parameters(), *twin.buffers()]
            live = _Liveness(weights)
            inputs = make_inputs(arch, batch, size)
            moments = [torch.empty(2, *p.shape) for p in twin.parameters() if p.requires_grad]
            for tensor in (*inputs, *(moments if training else ())):
                live.note(tensor)
            with live:
                run(twin, inputs, training)
            sizes = [tensor.untyped_storage().nbytes() for tensor in weights]
            return Trace(sizes, list(live.sizes), list(live.steps))
    finally:
        if collecting:
            gc.enable()


class ByteModel:
    """Predicted bytes of a net for any inner widths. `widths`: those of the net it is made of, in
    the order of the units. Monotone in each width; each call takes microseconds.

    For inference, what is not weights is activations; in training also gradients and Adam's state.
    """

    def __init__(
        self,
        widths: Sequence[int],
        factors: Sequence[tuple[int, int]],
        weights: numpy.ndarray,
        steps: numpy.ndarray,
        calibration: "Calibration | None" = None,
    ):
        """factors: two places in (1, *widths) a term, which is their product. weights: bytes a
        term, (terms,). steps: those of what else is alive, (steps, terms)."""
        self.widths = tuple(widths)
        self.calibration = calibration
        self._left, self._right = numpy.array(factors).T
        self._weights, self._steps = weights, steps

    @classmethod
    def of(
        cls,
        net: TongueNet | TextEncoder,
        batch: int,
        size: int,
        training: bool = False,
        calibration: "Calibration | None" = None,
    ) -> "ByteModel":
        """size: side of the photos in pixels, or length of the texts in subwords. calibration: to
        predict what a process is measured to take, not the tensors alone."""
        widths = inner_widths(net.arch)
        primes = _primes()
        values = [[next(primes) for _ in widths] for _ in range(2)]
        first, second = (trace(net, batch, size, training, row) for row in values)
        if first.steps != second.steps:
            raise RuntimeError("the operations of this net depend on its widths")
        terms: dict[tuple[int, int], int] = {(0, 0): 0}

        def factor(pair: tuple[int, int]) -> tuple[int, int]:
            """RETURNS: number of the term, bytes of one of it."""
            places, bytes_ = _factor(pair, values)
            return terms.setdefault(places, len(terms)), bytes_

        weights = [factor(pair) for pair in zip(first.weights, second.weights, strict=True)]
        blocks = [factor(pair) for pair in zip(first.sizes, second.sizes, strict=True)]
        steps = numpy.zeros((len(first.steps), len(terms)))
        for row, alive in zip(steps, first.steps, strict=True):
            for block in alive:
                term, bytes_ = blocks[block]
                row[term] += bytes_
        total = numpy.zeros(len(terms))
        for term, bytes_ in weights:
            total[term] += bytes_
        return cls(widths, list(terms), total, _undominated(steps), calibration)

    def _terms(self, widths: Sequence[int]) -> numpy.ndarray:
        values = numpy.ones(len(self.widths) + 1)
        values[1:] = widths
        return values[self._left] * values[self._right]

    def weights(self, widths: Sequence[int]) -> int:
        """Bytes of parameters and buffers."""
        return int(self._weights @ self._terms(widths))

    def activations(self, widths: Sequence[int]) -> int:
        """Bytes of all else that is alive at the peak."""
        return int((self._steps @ self._terms(widths)).max())

    def peak(self, widths: Sequence[int]) -> int:
        """Bytes of both; calibrated, if there is a calibration."""
        terms = self._terms(widths)
        predicted = int(self._weights @ terms + (self._steps @ terms).max())
        return predicted if self.calibration is None else self.calibration.apply(predicted)


def _primes() -> Iterator[int]:
    for number in count(_LEAST_PRIME, 2):
        if all(number % divisor for divisor in range(3, math.isqrt(number) + 1, 2)):
            yield number


def _factor(sizes: tuple[int, int], widths: list[list[int]]) -> tuple[tuple[int, int], int]:
    """sizes: of one block in two traces, whose widths are primes. RETURNS: the places in
    (1, *widths) of the widths that the size is proportional to, and the bytes of one of each."""
    both = zip(*widths, strict=True)
    found = [i for i, (p, q) in enumerate(both) if not sizes[0] % p and not sizes[1] % q]
    rest = [
        size // math.prod(values[i] for i in found)
        for size, values in zip(sizes, widths, strict=True)
    ]
    if len(found) > 2 or rest[0] != rest[1]:
        raise RuntimeError("a tensor of this net is not proportional to one or two widths")
    left, right = ([0, 0] + [i + 1 for i in found])[-2:]
    return (left, right), rest[0]


def _undominated(steps: numpy.ndarray) -> numpy.ndarray:
    """Without the rows that are nowhere above another: none is the peak alone."""
    kept: list[numpy.ndarray] = []
    for row in sorted(map(tuple, steps), key=sum, reverse=True):
        if not any((numpy.array(row) <= other).all() for other in kept):
            kept.append(numpy.array(row))
    return numpy.array(kept)


@dataclass(frozen=True)
class Calibration:
    """measured = slope * predicted + intercept, in bytes; `margin` is a share added to that, so
    that what is measured stays below. `benchmarks/byte_model.py` fits and stores them."""

    slope: float
    intercept: float
    margin: float = 0.0

    @classmethod
    def read(
        cls, net: nn.Module, training: bool = False, path: Path = CALIBRATIONS
    ) -> "Calibration":
        """That of this kind of net and mode, of a JSON file."""
        arch: Any = net.arch
        kind = arch.kind if isinstance(arch, TongueArch) else "text"
        mode = "training" if training else "inference"
        return cls(**json.loads(path.read_text("utf-8"))[f"{kind} {mode}"])

    @classmethod
    def fit(cls, predicted: Sequence[int], measured: Sequence[int]) -> "Calibration":
        """Least squares of the relative errors; the margin is twice the greatest that the
        prediction was too small by."""
        x, y = numpy.array(predicted, float), numpy.array(measured, float)
        slope, intercept = numpy.polyfit(x, y, 1, w=1 / y)
        margin = 2 * max(0.0, float((y / (slope * x + intercept) - 1).max()))
        return cls(float(slope), float(intercept), margin)

    def apply(self, predicted: int) -> int:
        return math.ceil((self.slope * predicted + self.intercept) * (1 + self.margin))


_SHARE = re.compile(r"\s*([0-9]*\.?[0-9]+)\s*(%?)\s*", re.ASCII)


def is_share(budget: str | float) -> bool:
    """Whether a budget is "60%" or 0.6, no size."""
    return _SHARE.fullmatch(str(budget)) is not None


def parse_budget(budget: str | float, full: int) -> int:
    """Bytes of a size as `parse_size` takes it, or of a share of `full`: "60%" or 0.6.

    RAISES ModelError: it is neither, or the share is not above 0 and at most 1.
    """
    found = _SHARE.fullmatch(str(budget))
    if found is None:
        return parse_size(str(budget))
    share = float(found[1]) / (100 if found[2] else 1)
    if not 0 < share <= 1:
        raise ModelError(Errors.E490.format(budget=budget))
    return int(share * full)
