"""The policy that decides, unit by unit, how many groups of channels a net keeps."""

from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

# The policy's number for an action that may not be taken.
_NEVER = float("-inf")


@dataclass(frozen=True)
class PolicyArch:
    """hidden: of the LSTM, 64 to 256. features: of a pooled feature map, projected. actions: most
    groups that a unit has. facts: numbers that describe a unit and what its budget is."""

    hidden: int = 128
    features: int = 64
    actions: int = 8
    facts: int = 8

    to_dict = asdict


Memory = tuple[Tensor, Tensor]


class PruningPolicy(nn.Module):
    """One LSTM layer over the units of a net; action a keeps groups 0..a of a unit.

    A row is one decision for a whole batch, or, of many rows, one for each sample. Its memory is a
    hidden and a cell state, (rows, hidden) each: the last of a round is where the next begins.
    """

    def __init__(self, arch: PolicyArch):
        super().__init__()
        self.arch = arch
        n_in = arch.features + arch.actions + arch.facts + arch.actions
        self.lstm = nn.LSTMCell(n_in, arch.hidden)
        self.act = nn.Linear(arch.hidden, arch.actions)
        self.value = nn.Linear(arch.hidden, 1)

    def begin(self, rows: int = 1) -> Memory:
        """The memory of a policy that has seen nothing."""
        zeros = self.act.weight.new_zeros(rows, self.arch.hidden)
        return zeros, zeros

    def forward(
        self, pooled: Tensor, importances: Tensor, facts: Tensor, before: Tensor, memory: Memory
    ) -> tuple[Tensor, Tensor, Memory]:
        """pooled: (rows, features), of the unit's feature map. importances: (rows, actions), of its
        groups, 0 where there is none. facts: (rows, facts). before: (rows, actions), the action at
        the unit before, one-hot, zeros at the first.

        RETURNS: scores of the actions, (rows, actions); the return expected from here on, (rows,);
        memory.
        """
        memory = self.lstm(torch.cat([pooled, importances, facts, before], 1), memory)
        return self.act(memory[0]), self.value(memory[0])[:, 0], memory


def sample_action(
    scores: Tensor, legal: Tensor, temperature: float, generator: torch.Generator
) -> Tensor:
    """A draw among the legal actions, one-hot, (rows, actions). Backward, its gradient is that of
    a softmax of the same noise at ``temperature`` (straight-through Gumbel-softmax, Jang et al.
    2017). scores: (rows, actions). legal: like them, bool, at least one true in a row."""
    uniform = torch.rand(scores.shape, generator=generator).clamp(1e-9, 1 - 1e-7)
    noise = -(-uniform.log()).log()
    noisy = scores.masked_fill(~legal, _NEVER) + noise.to(scores.device)
    soft = functional.softmax(noisy / temperature, -1)
    hard = functional.one_hot(noisy.argmax(-1), scores.shape[-1]).to(soft)
    return hard + (soft - soft.detach())  # exactly 0 and 1


def log_probabilities(scores: Tensor, legal: Tensor) -> Tensor:
    """Of the actions, (rows, actions); a very low number, and no gradient, where not legal."""
    found = functional.log_softmax(scores.masked_fill(~legal, _NEVER), -1)
    return found.masked_fill(~legal, -1e9)


def entropy(logs: Tensor) -> Tensor:
    """In nats, of `log_probabilities`, (rows,)."""
    return -(logs.exp() * logs).sum(-1)


def project(pooled: Tensor, size: int, seed: int) -> Tensor:
    """A fixed random projection of (rows, channels) to (rows, size), the same for equal seed and
    channels; it keeps lengths on average (Johnson and Lindenstrauss 1984). Rows are brought to
    length 1: the scale of a feature map says nothing."""
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.randn(pooled.shape[1], size, generator=generator).to(pooled) / size**0.5
    return functional.normalize(pooled, dim=1) @ matrix
