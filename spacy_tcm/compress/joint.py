"""Several nets as one, with one budget: their units in a row, their bytes together."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from spacy_tcm.compress.memory import ByteModel
from spacy_tcm.compress.units import PrunableNet, Unit


class JointNet:
    """As a `PrunableNet`; units are named ``part.unit``. nets: by part."""

    def __init__(self, nets: Mapping[str, PrunableNet]):
        self.nets = dict(nets)
        self.net = nn.ModuleDict({part: net.net for part, net in nets.items()})
        self.units = tuple(
            Unit(f"{part}.{unit.name}", unit.width, unit.size)
            for part, net in nets.items()
            for unit in net.units
        )

    def split(self, values: Sequence[Any]) -> dict[str, list[Any]]:
        """One value for each unit -> part -> those of its units."""
        found, at = {}, 0
        for part, net in self.nets.items():
            found[part] = list(values[at : at + len(net.units)])
            at += len(net.units)
        return found

    @contextmanager
    def gated(self, gates: Sequence[Tensor | None]) -> Iterator[None]:
        """See `PrunableNet.gated`."""
        with ExitStack() as stack:
            for part, some in self.split(gates).items():
                stack.enter_context(self.nets[part].gated(some))
            yield

    def features(self) -> list[Tensor]:
        return [found for net in self.nets.values() for found in net.features()]

    def descriptors(self) -> Tensor:
        """(units, 8). The index, of all units, runs from 0 to 1."""
        found = torch.cat([net.descriptors() for net in self.nets.values()])
        found[:, 0] = torch.linspace(0, 1, len(found))
        return found

    def importances(
        self, method: str, batches: Mapping[str, Sequence[tuple]], losses: Mapping[str, Callable]
    ) -> list[Tensor]:
        """See `PrunableNet.importances`; batches and losses by part."""
        return [
            importance
            for part, net in self.nets.items()
            for importance in net.importances(method, batches[part], losses[part])
        ]

    def slice(self, kept: Sequence[Tensor]) -> dict[str, nn.Module]:
        """The smaller nets, by part."""
        return {part: self.nets[part].slice(some) for part, some in self.split(kept).items()}


class JointBytes:
    """All weights stay in memory; of activations only those of the net that runs, since the nets
    run one after the other: the largest counts.

    measured: `peak` is what a process is measured to take (`process`), not the tensors alone.
    """

    def __init__(self, net: JointNet, models: Mapping[str, ByteModel], measured: bool = False):
        self.net, self.models, self.measured = net, dict(models), measured

    def weights(self, widths: Sequence[int]) -> int:
        parts = self.net.split(widths)
        return sum(model.weights(parts[part]) for part, model in self.models.items())

    def activations(self, widths: Sequence[int]) -> int:
        parts = self.net.split(widths)
        return max(model.activations(parts[part]) for part, model in self.models.items())

    def tensors(self, widths: Sequence[int]) -> int:
        """Weights and activations."""
        return self.weights(widths) + self.activations(widths)

    def process(self, widths: Sequence[int]) -> int:
        """Bounded from above by the calibrations of the models, if they have any: of the net that
        runs by its own, beside the weights of the others."""
        parts, weights = self.net.split(widths), self.weights(widths)
        return weights + max(
            model.peak(parts[part]) - model.weights(parts[part])
            for part, model in self.models.items()
        )

    def peak(self, widths: Sequence[int]) -> int:
        return self.process(widths) if self.measured else self.tensors(widths)
