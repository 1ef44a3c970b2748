"""What can be pruned: the inner widths of a net, found by tracing which parameters go together."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch_pruning
from torch import LongTensor, Tensor, nn

from spacy_tcm.compress.memory import with_widths
from spacy_tcm.errors import Errors, ModelError
from spacy_tcm.nets.efficientnet import InvertedResidual, SameConv2d
from spacy_tcm.nets.resnet import Bottleneck
from spacy_tcm.nets.text_encoder import TextEncoder
from spacy_tcm.nets.tongue import TongueNet

METHODS = ("random", "l1", "bn_scale", "taylor", "activation")
SIZES = {TongueNet: 224, TextEncoder: 128}

_INPUTS = (torch_pruning.prune_conv_in_channels, torch_pruning.prune_linear_in_channels)
_MAKERS = (nn.Conv2d, nn.Linear)

# One for each unit, None leaves it untouched; or a function of a unit's number and its features.
Gates = Sequence[Tensor | None] | Callable[[int, Tensor], Tensor | None]


@dataclass(frozen=True)
class Unit:
    """width: how many choices there are when it is whole, i.e. channels, heads or neurons.
    size: elements of one choice, 1 but for heads."""

    name: str
    width: int
    size: int


class _Found(NamedTuple):
    """A unit in the net. group: as traced. makers: the convolutions or linear layers that give the
    channels, in order. reader: the one that takes them. slices: names of tensors, and the dimension
    along which each is cut."""

    unit: Unit
    group: Any
    makers: list[Any]
    norm: nn.BatchNorm2d | None
    reader: nn.Module
    slices: list[tuple[str, int]]


class PrunableNet:
    """A net and its units, in the order in which it computes them.

    A unit is a group of parameters that can only be cut together and that lie in one block:
    both inner widths of a ResNet's bottleneck, the inner width of an inverted residual, the heads
    and the inner width of a layer of the text encoder.
    """

    def __init__(self, net: nn.Module, size: int):
        """size: side of a photo or subwords of a text, for `descriptors`."""
        self.net: Any = net
        self.size = size
        self._found = _trace(net)
        self.units = tuple(found.unit for found in self._found)
        self._features: list[Tensor] = []

    @contextmanager
    def gated(self, gates: Gates) -> Iterator[None]:
        """Within it, the net multiplies each unit's channels, after norm and activation, by its
        gate: (width,), or (batch, width) for each sample its own. What is multiplied by 0 counts
        like what was cut."""
        mask: list[Tensor | None] = [None]
        features: dict[int, Tensor] = {}

        def remember(net: nn.Module, args: tuple) -> None:
            mask[0] = args[1] if isinstance(net, TextEncoder) else None

        def gate(i: int) -> Callable:
            size = self.units[i].size

            def multiply(module: nn.Module, args: tuple) -> Tensor | None:
                (x,) = args
                features[i] = _pool(x.detach(), mask[0], size)
                self._features = [features[k] for k in sorted(features)]
                factor = gates(i, features[i]) if callable(gates) else gates[i]
                if factor is None:
                    return None
                factor = factor.repeat_interleave(size, -1)
                if x.ndim == 4:
                    factor = factor[..., None, None]
                elif factor.ndim == 2:
                    factor = factor[:, None]
                return x * factor

            return multiply

        hooks = [self.net.register_forward_pre_hook(remember)]
        hooks += [
            found.reader.register_forward_pre_hook(gate(i)) for i, found in enumerate(self._found)
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def features(self) -> list[Tensor]:
        """Of the last forward pass inside `gated`: the mean magnitude of each unit's choices before
        its own gate, (batch, width) each, detached."""
        return self._features

    def slices(self, i: int) -> list[tuple[str, int]]:
        """What is cut with a unit: names of the net's tensors, and along which dimension."""
        return self._found[i].slices

    def slice(self, kept: Sequence[LongTensor]) -> nn.Module:
        """A smaller net of the same class with copied weights.

        kept: of each unit, which choices stay. RAISES ModelError: nothing of a unit.
        """
        for unit, some in zip(self.units, kept, strict=True):
            if not len(some):
                raise ModelError(Errors.E492.format(unit=unit.name))
        state = self.net.state_dict()
        for found, some in zip(self._found, kept, strict=True):
            size = found.unit.size
            rows = (some[:, None] * size + torch.arange(size, device=some.device)).flatten()
            for name, dim in found.slices:
                state[name] = state[name].index_select(dim, rows.to(state[name].device))
        net = type(self.net)(with_widths(self.net.arch, [len(some) for some in kept]))
        net.load_state_dict(state, strict=True)
        net.to(next(self.net.parameters()).device)
        return net.train(self.net.training)

    def descriptors(self) -> Tensor:
        """(units, 8): index, channels in and out of what makes the unit, kernel, stride, places
        (height * width or length), bytes of the weights cut with it and of its activations for one
        photo or text in fp32; log2 / 10 of all but the index, which runs from 0 to 1."""
        places, state = self._places(), self.net.state_dict()
        rows = []
        for found, n_places in zip(self._found, places, strict=True):
            maker = found.makers[-1]
            kernel, stride = 1, 1
            if isinstance(maker, nn.Conv2d):
                kernel, stride = maker.kernel_size[0], maker.stride[0]
            n_in, n_out = found.makers[0].weight.shape[1], found.unit.width * found.unit.size
            weights = 4 * sum(state[name].numel() for name, _ in found.slices)
            rows.append((n_in, n_out, kernel, stride, n_places, weights, 4 * n_out * n_places))
        index = torch.linspace(0, 1, len(rows))[:, None]
        return torch.cat([index, torch.tensor(rows).float().log2() / 10], 1)

    def importances(
        self,
        method: str,
        batches: Iterable[tuple] = (),
        loss: Callable[[Any, tuple], Tensor] | None = None,
        seed: int = 0,
    ) -> list[Tensor]:
        """How much each choice of each unit matters, (width,) each, of mean 1 per element.

        method: random; l1 (norm of all weights cut); bn_scale (|gamma| of the norms); taylor
            (|weight * gradient|, Molchanov et al. 2019), these by torch-pruning; activation
            (|gamma| * mean magnitude, gamma being 1 without a norm).
        batches: arguments of the net's forward pass, for taylor and activation.
        loss: of the net's output and the batch, for taylor; default: the outputs' mean squares,
            which needs no labels. seed: of random.
        RAISES ModelError: no such method, no batch, or no norm for bn_scale.
        """
        if method not in METHODS or (
            method == "bn_scale" and any(f.norm is None for f in self._found)
        ):
            raise ModelError(Errors.E493.format(method=method, methods=", ".join(METHODS)))
        if method == "activation":
            found = [values / values.mean() for values in self._magnitudes(batches)]
            return [v * unit.size for v, unit in zip(found, self.units, strict=True)]
        scorer = {
            "random": torch_pruning.importance.RandomImportance,
            "l1": lambda: torch_pruning.importance.MagnitudeImportance(p=1),
            "bn_scale": torch_pruning.importance.BNScaleImportance,
            "taylor": torch_pruning.importance.TaylorImportance,
        }[method]()
        with torch.random.fork_rng([]), _differentiable(self.net):
            torch.manual_seed(seed)
            if method == "taylor":
                self._accumulate(batches, loss or _mean_squares)
            return [scorer(found.group).view(-1, found.unit.size).sum(1) for found in self._found]

    def _accumulate(self, batches: Iterable[tuple], loss: Callable[[Any, tuple], Tensor]) -> None:
        """The gradients of all batches, at the parameters."""
        batch = None
        for batch in batches:
            loss(self.net(*batch), batch).backward()
        if batch is None:
            raise ModelError(Errors.E494.format(method="taylor"))

    @torch.no_grad()
    def _magnitudes(self, batches: Iterable[tuple]) -> list[Tensor]:
        totals: list[Tensor] = []
        with _evaluating(self.net), self.gated([None] * len(self.units)):
            for batch in batches:
                self.net(*batch)
                sums = [found.sum(0) for found in self.features()]
                totals = [a + b for a, b in zip(totals, sums, strict=True)] if totals else sums
        if not totals:
            raise ModelError(Errors.E494.format(method="activation"))
        norms = (found.norm for found in self._found)
        return [
            total if norm is None else total * norm.weight.abs()
            for total, norm in zip(totals, norms, strict=True)
        ]

    @torch.no_grad()
    def _places(self) -> list[int]:
        """Of each unit: height * width of its maps, or the length."""
        places = []
        hooks = [
            found.reader.register_forward_pre_hook(
                lambda module, args: places.append(
                    args[0][0, 0].numel() if args[0].ndim == 4 else args[0].shape[1]
                )
            )
            for found in self._found
        ]
        try:
            with _evaluating(self.net):
                traced, args = _example(self.net, self.size)
                traced(*args)
        finally:
            for hook in hooks:
                hook.remove()
        return places


def prunable(net: nn.Module, size: int | None = None) -> PrunableNet:
    """size: side of a photo (default 224) or subwords of a text (128), for the descriptors."""
    return PrunableNet(net, SIZES[type(net)] if size is None else size)


def _trace(net: Any) -> list[_Found]:
    """The units, in order."""
    names = {module: name for name, module in net.named_modules()}
    order = {module: i for i, module in enumerate(net.modules())}
    blocks = [f"{names[module]}." for module in _blocks(net)]
    with _differentiable(net):
        traced, args = _example(net, 32)
        # A depthwise convolution of one channel would be taken for a full one.
        single = [m for m in net.modules() if isinstance(m, SameConv2d) and m.out_channels == 1]
        graph = torch_pruning.DependencyGraph().build_dependency(
            traced,
            args,
            forward_fn=lambda traced, args: traced(*args),
            ignored_layers=single,
            verbose=False,
        )
    for node in graph.module2node.values():
        node.grad_fn = None  # holds the activations of the traced pass
    units = []
    for group in graph.get_all_groups():
        parts = [(item.dep.target.module, item.dep.handler in _INPUTS) for item in group.items]
        modules = [names[module] for module, _ in parts if module in names]
        ends = any(item.dep.target.type == torch_pruning.ops.OPTYPE.OUTPUT for item in group.items)
        block = next((b for b in blocks if all(name.startswith(b) for name in modules)), None)
        if block is None or ends:
            continue
        parts = sorted((p for p in parts if p[0] in names), key=lambda part: order[part[0]])
        makers = [m for m, reads in parts if isinstance(m, _MAKERS) and not reads]
        norms = [m for m, _ in parts if isinstance(m, nn.BatchNorm2d)]
        (reader,) = (module for module, reads in parts if reads)
        width, size, name = makers[0].weight.shape[0], 1, names[makers[0]]
        if len(makers) > 1 and isinstance(net, TextEncoder):  # query, key, value
            size, name = net.arch.head_size, name.rpartition(".")[0]
        units.append(
            _Found(
                Unit(name.removeprefix("trunk."), width // size, size),
                group,
                makers,
                norms[-1] if norms else None,
                reader,
                [slice_ for module, reads in parts for slice_ in _slices(module, names, reads)],
            )
        )
    return sorted(units, key=lambda found: order[found.makers[0]])


def _blocks(net: Any) -> list[nn.Module]:
    if isinstance(net, TextEncoder):
        return net.layers
    return [m for m in net.modules() if isinstance(m, Bottleneck | InvertedResidual)]


def _slices(module: nn.Module, names: dict[nn.Module, str], reads: bool) -> list[tuple[str, int]]:
    if reads:
        return [(f"{names[module]}.weight", 1)]
    return [(f"{names[module]}.{name}", 0) for name, x in module.state_dict().items() if x.ndim]


def _example(net: Any, size: int) -> tuple[Any, tuple[Tensor, ...]]:
    """What of a net has units, and an input of it."""
    weight = next(net.parameters())
    if isinstance(net, TextEncoder):
        size = min(size, net.arch.positions)
        ids = torch.zeros(1, size, dtype=torch.long, device=weight.device)
        return net, (ids, ids == 0)
    stride = net.arch.trunk.stride
    side = max(size // stride, 1) * stride
    return net.trunk, (weight.new_zeros(1, 3, side, side),)


def _pool(x: Tensor, mask: Tensor | None, size: int) -> Tensor:
    """(batch, channels, height, width) or (batch, length, channels), mask (batch, length) ->
    mean magnitude of each choice, (batch, channels / size)."""
    x = x.abs()
    if x.ndim == 4:
        return x.mean((2, 3))
    share = torch.ones_like(x[..., 0]) if mask is None else mask.to(x.dtype)
    mean = (x * share[..., None]).sum(1) / share.sum(1, keepdim=True).clamp(min=1)
    return mean.view(len(x), -1, size).mean(-1)


def _mean_squares(output: Any, batch: tuple) -> Tensor:
    outputs = output if isinstance(output, tuple) else (output,)
    return torch.stack([x.square().mean() for x in outputs if x.numel()]).sum()


@contextmanager
def _evaluating(net: nn.Module) -> Iterator[None]:
    training = net.training
    net.eval()
    try:
        yield
    finally:
        net.train(training)


@contextmanager
def _differentiable(net: nn.Module) -> Iterator[None]:
    """Every parameter gets a gradient, also of a frozen net, which is afterwards as it was."""
    before = [(p, p.requires_grad, p.grad) for p in net.parameters()]
    for parameter, _, _ in before:
        parameter.requires_grad_(True)
        parameter.grad = None
    try:
        with _evaluating(net), torch.enable_grad():
            yield
    finally:
        for parameter, wanted, gradient in before:
            parameter.requires_grad_(wanted)
            parameter.grad = gradient
