"""Dynamic pruning: at inference the policy chooses for each photo or text by itself.

It saves computation only: every channel may be needed by the next sample, so all stay stored. Here
what is left out is multiplied by 0, which shows what it would cost and save.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from spacy_tcm.compress.decisions import Decider
from spacy_tcm.compress.units import PrunableNet


class DynamicGates:
    """For `PrunableNet.gated`. widths: what was chosen, of each sample the net has seen.

    decider: of the search. before: the widths of what comes before the net in a joint search.
    """

    def __init__(self, decider: Decider, before: Sequence[int] = ()):
        self.decider, self.before = decider, list(before)
        self._seen: list[list[list[int]]] = []

    @torch.no_grad()
    def __call__(self, unit: int, features: Tensor) -> Tensor:
        """features: (samples, channels), of a unit of the net. RETURNS: like them, 0 or 1."""
        if unit == 0:
            self.decider.begin(len(features))
            self.decider.chosen = [list(self.before) for _ in features]
            self._seen.append(self.decider.chosen)
        return self.decider.decide(features.cpu()).gates.to(features.device)

    @property
    def widths(self) -> list[list[int]]:
        return [chosen[len(self.before) :] for batch in self._seen for chosen in batch]


def evaluate_dynamic(
    net: PrunableNet, decider: Decider, loss: Callable[[], Tensor], before: Sequence[int] = ()
) -> dict[str, float]:
    """Run a net with gates of each sample's own. loss: of the net under its gates.

    RETURNS: ``loss``; ``computation``, the share that is left of the multiplications of what has
        units, 1 for all; ``stored``, of the bytes: 1.
    """
    gates = DynamicGates(decider, before)
    with torch.no_grad(), net.gated(gates):
        found = float(loss())
    shares = [computation(net, widths) for widths in gates.widths]
    return {"loss": found, "computation": sum(shares) / len(shares), "stored": 1.0}


def computation(net: PrunableNet, widths: Sequence[int]) -> float:
    """The share that is left of the multiplications by the units' weights, about: each unit's fall
    with its width."""
    described = 2 ** (10 * net.descriptors())
    costs = described[:, 5] * described[:, 6]  # places, bytes of the weights
    shares = torch.tensor([w / unit.width for w, unit in zip(widths, net.units, strict=True)])
    return float((costs * shares).sum() / costs.sum())
