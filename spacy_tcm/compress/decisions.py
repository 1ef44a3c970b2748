"""One decision of the policy: what it sees of a unit, what it may do, and what it does."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from spacy_tcm.compress.groups import (
    Bytes,
    Prunable,
    gate_of,
    group_means,
    widths_of,
)
from spacy_tcm.errors import BudgetInfeasibleError
from spacy_tcm.nets.policy import (
    Memory,
    PolicyArch,
    PruningPolicy,
    entropy,
    log_probabilities,
    project,
    sample_action,
)


@dataclass
class Decision:
    """At one unit; a row is one architecture. widths: chosen. gates: (rows, channels), with the
    gradient to the policy. log, entropy, value: (rows,), see `PruningPolicy`. wanted: (rows,
    actions), log probabilities if nothing were illegal. expected: (rows,), the bytes above the
    least choice with these; price: (rows,), those of the choice; both shares of the budget."""

    widths: list[int]
    gates: Tensor
    log: Tensor
    entropy: Tensor
    value: Tensor
    wanted: Tensor
    expected: Tensor
    price: Tensor


class Decider:
    """Goes over the units of a net once; :meth:`begin` starts again.

    orders: of each unit, its channels from the most important to the least. importances: theirs.
    """

    def __init__(self, net: Prunable, memory: Bytes, budget: int, hidden: int, actions: int):
        """RAISES BudgetInfeasibleError: the least of every unit is over the budget."""
        self.memory, self.budget, self.actions = memory, budget, actions
        self.units = list(net.units)
        self.whole = [unit.width for unit in self.units]
        self.widths = [widths_of(unit, actions) for unit in self.units]
        self.least = [widths[0] for widths in self.widths]
        if memory.peak(self.least) > budget:
            raise BudgetInfeasibleError(budget, memory.peak(self.least))
        self.descriptors = net.descriptors().cpu()
        arch = PolicyArch(hidden, actions=actions, facts=self.descriptors.shape[1] + 3)
        self.policy = PruningPolicy(arch)
        self.importances = [torch.zeros(w) for w in self.whole]
        self.orders = [torch.arange(w) for w in self.whole]
        self.carried: Memory = self.policy.begin()
        self.begin()

    def begin(self, rows: int = 1) -> None:
        """The first unit is next; what the policy remembers of the round before stays."""
        self.chosen: list[list[int]] = [[] for _ in range(rows)]
        self.before = torch.zeros(rows, self.actions)
        self.at: Memory = (self.carried[0].expand(rows, -1), self.carried[1].expand(rows, -1))

    def carry(self) -> None:
        """What the policy remembers now is where the next round begins."""
        self.carried = (self.at[0].detach(), self.at[1].detach())

    def decide(
        self,
        pooled: Tensor,
        temperature: float | None = None,
        generator: torch.Generator | None = None,
    ) -> Decision:
        """At the next unit. pooled: (rows, channels), its mean feature map. temperature, generator:
        of the noise; without both, the likeliest legal action is taken.

        RAISES BudgetInfeasibleError: with no action the rest would fit.
        """
        i, rows = len(self.chosen[0]), range(len(self.chosen))
        widths = self.widths[i]
        shares = torch.stack([self._shares(tuple(chosen), widths) for chosen in self.chosen])
        legal = functional.pad(shares <= 1, (0, self.actions - len(widths)))
        if not legal.any(1).all():
            raise BudgetInfeasibleError(self.budget, round(float(shares.min()) * self.budget))
        shares = shares.float()
        bounds = [
            self._bounds(chosen, float(shares[row, 0])) for row, chosen in enumerate(self.chosen)
        ]
        groups = group_means(self.importances[i], self.orders[i], widths, self.actions)
        scores, value, self.at = self.policy(
            project(pooled, self.policy.arch.features, seed=i),
            groups.expand(len(rows), -1),
            torch.cat([self.descriptors[i].expand(len(rows), -1), torch.tensor(bounds)], 1),
            self.before,
            self.at,
        )
        logs = log_probabilities(scores, legal)
        if temperature is None or generator is None:
            action = functional.one_hot(logs.argmax(1), self.actions).float()
        else:
            action = sample_action(scores, legal, temperature, generator)
        taken = action.argmax(1)
        self.before = functional.one_hot(taken, self.actions).float()
        picked = [widths[int(taken[row])] for row in rows]
        for row in rows:
            self.chosen[row].append(picked[row])
        wanted = functional.log_softmax(scores[:, : len(widths)], 1)
        return Decision(
            picked,
            gate_of(action, widths, self.orders[i]),
            logs.gather(1, taken[:, None])[:, 0],
            entropy(logs),
            value,
            wanted,
            (wanted.exp() * (shares - shares[:, :1])).sum(1),
            shares.gather(1, taken[:, None])[:, 0] - shares[:, 0],
        )

    def _shares(self, chosen: tuple[int, ...], widths: Sequence[int]) -> Tensor:
        """Of the budget, what each action makes the peak if the rest is the least, (actions,)."""
        rest = self.least[len(chosen) + 1 :]
        peaks = [self.memory.peak([*chosen, w, *rest]) for w in widths]
        # In double precision: a byte over the budget is over it.
        return torch.tensor(peaks, dtype=torch.double).div(self.budget)

    def _bounds(self, chosen: Sequence[int], least: float) -> tuple[float, float, float]:
        """Shares of the budget: what was chosen so far adds to the least, the least and the most
        that the whole can come to. least: the second of them."""
        lowest = self.memory.peak(self.least) / self.budget
        most = self.memory.peak([*chosen, *self.whole[len(chosen) :]]) / self.budget
        return least - lowest, least, most
