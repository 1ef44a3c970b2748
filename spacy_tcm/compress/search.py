"""Memory-constrained pruning: a policy learns how wide each unit of a net may stay in a budget.

A round walks over the units. At each, only those actions are legal with which the rest, at its
least, still fits the budget: so no architecture over it is ever tried. The policy learns from the
net's loss under its gates, in two ways: as a reward, and through the gates (straight-through); and,
by a Lagrangian, from how far it would overrun the budget if nothing held it. The net's weights
stay as they are.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from spacy_tcm.compress.baselines import uniform_or_global
from spacy_tcm.compress.decisions import Decider, Decision
from spacy_tcm.compress.groups import Bytes, Prunable, kept_of, mask_of, rank, step_of
from spacy_tcm.compress.search_state import read_state, write_state
from spacy_tcm.errors import BudgetInfeasibleError, Errors, ModelError

# Names of candidates: of the policy; of the importances that the search itself finds, a share
# of each unit, or of all units together; and of the best of all after hill climbing.
POLICY = "policy"
GLOBAL = "over all units"
OWN = "noisy gates"
REFINED = "refined"

NOISE = 0.3  # by which gates are lowered to measure importances
SPREAD = 0.7  # of the actions at the start, around those imitated


@dataclass(frozen=True)
class SearchSettings:
    """rounds: all of them; warmup: the share of them that only measures. actions: groups of a unit,
    at most. imitate: steps of behaviour cloning after the warm-up. regroup_every: rounds between
    rankings of the channels. memory: how much of a running mean stays. temperatures: of the Gumbel
    noise, first and last. method: what a return is compared with, its running mean or the policy's
    own estimate. alpha, kappa, byte_price: weights of loss, overrun and bytes in the reward; losses
    count from 0, the whole net's, to 1, that of the least. pathwise: weight of the loss through the
    gates. dual_rate: how fast the price of bytes, the multiplier, rises and falls, per share of the
    budget that the policy would overrun or leave. evaluate_every: rounds between tries of what the
    policy finds best. refine: evaluations at the end that move one group from unit to unit,
    beginning with the best. save_every: rounds between saved states."""

    rounds: int = 200
    warmup: float = 0.2
    actions: int = 8
    hidden: int = 128
    imitate: int = 60
    regroup_every: int = 20
    memory: float = 0.9
    temperatures: tuple[float, float] = (5.0, 0.5)
    method: Literal["a2c", "reinforce"] = "a2c"
    rate: float = 3e-3
    alpha: float = 1.0
    kappa: float = 1.0
    byte_price: float = 0.1
    entropy: float = 0.01
    pathwise: float = 1.0
    dual_rate: float = 0.2
    evaluate_every: int = 10
    refine: int = 40
    save_every: int = 20
    seed: int = 0

    @property
    def n_warmup(self) -> int:
        return max(1, round(self.rounds * self.warmup))

    def temperature(self, round_: int) -> float:
        """Falls geometrically over the rounds after the warm-up."""
        first, last = self.temperatures
        done = (round_ - self.n_warmup) / max(1, self.rounds - self.n_warmup - 1)
        return first * (last / first) ** min(1.0, max(0.0, done))


@dataclass(frozen=True)
class Candidate:
    """One architecture. kept: of each unit, the channels or heads that stay, rising. peak: its
    bytes as predicted. loss: of the validation batch, under gates, before any fine-tuning."""

    method: str
    widths: tuple[int, ...]
    kept: tuple[tuple[int, ...], ...]
    peak: int
    loss: float

    def to_slices(self) -> list[Tensor]:
        """For `PrunableNet.slice`."""
        return [torch.tensor(kept, dtype=torch.long) for kept in self.kept]


@dataclass(frozen=True)
class SearchResult:
    """best: the candidate with the least loss, by whatever method. candidates: by method; the
    refined one says in its ``method`` which it began with. history: an entry per round: ``round``,
    ``phase`` (warm-up or search), ``loss``, and, of a search's, ``temperature``, ``peak`` (bytes),
    ``reward``, ``widths``, ``overrun`` (of what the policy would do if nothing held it, a share of
    the budget, below 0 if it would leave some),
    ``multiplier``, and ``best``, the least validation loss so far. decider: with the trained
    policy."""

    budget: int
    whole_peak: int
    whole_loss: float
    best: Candidate
    candidates: dict[str, Candidate]
    history: list[dict[str, Any]]
    decider: Decider | None = field(default=None, compare=False, repr=False)

    @property
    def widths(self) -> tuple[int, ...]:
        return self.best.widths

    @property
    def kept(self) -> list[Tensor]:
        return self.best.to_slices()


def search(
    net: Prunable,
    memory: Bytes,
    budget: int,
    task_loss: Callable[[int], Tensor],
    settings: SearchSettings | None = None,
    *,
    validation_loss: Callable[[], Tensor] | None = None,
    rankings: Mapping[str, Sequence[Tensor]] | None = None,
    on_round: Callable[[dict[str, Any]], None] | None = None,
    state: Path | None = None,
) -> SearchResult:
    """Find the widths with which the net does best in a budget.

    memory: bytes by widths. budget: bytes that the peak may not exceed. task_loss: the net's loss
        on the batch of a round, the same for the same round; called under the net's gates.
        validation_loss: on a fixed batch, by which architectures are compared; the default is
        ``task_loss(0)``.
    rankings: method -> importance of each unit's channels, (channels,) each. What these leave in
        the budget, of each unit the same share or what is least over all units, are candidates too.
    on_round: is given each entry of the history. state: a file to write every so many rounds, from
        which the same call goes on.
    RAISES BudgetInfeasibleError: with the least of every unit it is still over the budget.
        ModelError: the state is damaged, or another search's.
    """
    run = _Search(net, memory, budget, task_loss, settings or SearchSettings(), rankings or {})
    if validation_loss is not None:
        run.validation_loss = validation_loss
    if state is not None and state.exists():
        run.restore(state)
    while run.round < run.settings.rounds:
        entry = run.step()
        if on_round is not None:
            on_round(entry)
        last = run.round == run.settings.rounds
        if state is not None and (last or run.round % run.settings.save_every == 0):
            run.save(state)
    return run.finish()


class _Search:
    def __init__(
        self,
        net: Prunable,
        memory: Bytes,
        budget: int,
        task_loss: Callable[[int], Tensor],
        settings: SearchSettings,
        rankings: Mapping[str, Sequence[Tensor]] = MappingProxyType({}),
    ):
        self.net, self.memory, self.budget = net, memory, budget
        self.task_loss, self.settings = task_loss, settings
        self.validation_loss: Callable[[], Tensor] = lambda: task_loss(0)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            self.decider = Decider(net, memory, budget, settings.hidden, settings.actions)
        self.policy = self.decider.policy
        self.whole = self.decider.whole
        self.device = next(net.net.parameters()).device
        self.optimizer = torch.optim.Adam(self.policy.parameters(), settings.rate)
        self.generator = torch.Generator().manual_seed(settings.seed)
        self.pooled = [torch.zeros(1, w) for w in self.whole]
        self.rankings = {name: [x.cpu() for x in each] for name, each in rankings.items()}
        self.own = [torch.zeros(w) for w in self.whole]
        self.found: dict[str, Candidate] = {}  # of importances alone
        self.start = OWN  # whose importances group the channels
        self.round = 0
        self.whole_loss = self.least_loss = self.multiplier = 0.0
        self.baseline: float | None = None
        self.history: list[dict[str, Any]] = []
        self.best: Candidate | None = None
        self.tried: set[tuple[int, ...]] = set()  # widths, since the channels were ranked

    def step(self) -> dict[str, Any]:
        """One round. RETURNS: its entry in the history."""
        warm = self.round < self.settings.n_warmup
        entry: dict[str, Any] = {"round": self.round, "phase": "warm-up" if warm else "search"}
        if warm:
            entry["loss"] = self._measure()
            if self.round + 1 == self.settings.n_warmup:
                self._begin()
        else:
            if self.round % self.settings.regroup_every == 0:
                self._measure()
            entry |= self._learn()
        self.history.append(entry)
        self.round += 1
        return entry

    def _measure(self) -> float:
        """Running means of feature maps and importances, and with these new groups.

        Importances are Taylor's (Molchanov et al. 2019), the mean of |gate * dL/dgate|, at gates of
        which a random half is lowered: at the whole net itself, a loss that compares with it has no
        gradient; far from it, as on the way of integrated gradients, channels rank otherwise.
        RETURNS: the loss, at such gates.
        """
        gates = [
            (1 - NOISE * torch.randint(2, (w,), generator=self.generator))
            .to(self.device)
            .requires_grad_()
            for w in self.whole
        ]
        with self.net.gated(gates):
            loss = self.task_loss(self.round)
            pooled = [found.mean(0, keepdim=True).cpu() for found in self.net.features()]
        gradients = torch.autograd.grad(loss, gates, allow_unused=True)
        stays = min(self.settings.memory, self.round / (self.round + 1))
        for i, (gate, gradient) in enumerate(zip(gates, gradients, strict=True)):
            new = torch.zeros_like(gate) if gradient is None else (gate * gradient).abs()
            self.own[i] = stays * self.own[i] + (1 - stays) * new.detach().cpu()
            self.pooled[i] = stays * self.pooled[i] + (1 - stays) * pooled[i]
        self._group()
        return float(loss.detach())

    def _group(self) -> None:
        """The channels, by the importances that the search has begun with."""
        importances = self.own if self.start == OWN else self.rankings[self.start]
        self.decider.importances = importances
        self.decider.orders = [rank(importance) for importance in importances]
        self.tried.clear()

    def _begin(self) -> None:
        """After the warm-up: what importances alone leave in the budget, and the policy begins with
        the best of that."""
        self.whole_loss = self._evaluate([torch.arange(w) for w in self.whole])
        self.least_loss = self._evaluate(self._kept(self.decider.least))
        names = {}
        for name, ranking in {OWN: self.own, **self.rankings}.items():
            for uniform in (True, False):
                kept = self._choose(ranking, uniform)
                if kept is not None:
                    method = name if uniform else f"{name}, {GLOBAL}"
                    names[method] = name
                    self.found[method] = self._candidate(method, [len(k) for k in kept], kept)
        widths: Sequence[int] = self.decider.least
        if self.found:
            best = min(self.found.values(), key=_order)
            self.start, widths = names[best.method], best.widths
            self._group()
        self._imitate(widths)

    def _imitate(self, widths: Sequence[int]) -> None:
        """Behaviour cloning: the policy prefers, at each unit, actions near the one that keeps this
        width, by a normal distribution over the actions."""
        wanted = []
        for width, choices in zip(widths, self.decider.widths, strict=True):
            nearest = min(range(len(choices)), key=lambda a: (abs(choices[a] - width), a))
            places = torch.arange(len(choices))
            wanted.append((-((places - nearest) ** 2) / (2 * SPREAD**2)).softmax(0))
        optimizer = torch.optim.Adam(self.policy.parameters(), 1e-2)
        for _ in range(self.settings.imitate):
            _, found = self._walk(1.0)
            losses = [
                functional.kl_div(decision.wanted[0], each, reduction="sum")
                for decision, each in zip(found, wanted, strict=True)
            ]
            self._update(torch.stack(losses).sum(), optimizer)

    def _walk(self, temperature: float | None = None) -> tuple[list[int], list[Decision]]:
        """The policy's way over the units: their widths, and how it came to them. Without a
        temperature, the likeliest, and it is not remembered."""
        self.decider.begin()
        found = [self.decider.decide(x, temperature, self.generator) for x in self.pooled]
        if temperature is not None:
            self.decider.carry()
        return [decision.widths[0] for decision in found], found

    def _learn(self) -> dict[str, Any]:
        s = self.settings
        temperature = s.temperature(self.round)
        widths, found = self._walk(temperature)
        peak = self.memory.peak(widths)
        with self.net.gated([decision.gates[0].to(self.device) for decision in found]):
            loss = self.task_loss(self.round).cpu()
        # 0 is the whole net's, 1 that of the least of it
        relative = (loss - self.whole_loss) / max(self.least_loss - self.whole_loss, 1e-9)
        final = -s.alpha * float(relative.detach()) - s.kappa * max(0.0, peak / self.budget - 1)
        rewards = -s.byte_price * torch.cat([decision.price for decision in found])
        rewards[-1] += min(1.0, max(-1.0, final))
        returns = rewards.flip(0).cumsum(0).flip(0)
        reward = float(returns[0])
        baseline = reward if self.baseline is None else self.baseline
        values = torch.cat([decision.value for decision in found])
        expected = torch.cat([decision.expected for decision in found]).sum()
        overrun = expected + self.memory.peak(self.decider.least) / self.budget - 1
        advantage = returns - (values.detach() if s.method == "a2c" else baseline)
        total = (
            -(torch.cat([decision.log for decision in found]) * advantage).sum()
            - s.entropy * torch.cat([decision.entropy for decision in found]).sum()
            + 0.5 * functional.mse_loss(values, returns)
            + s.pathwise * relative
            + self.multiplier * overrun
        )
        self._update(total, self.optimizer)
        self.multiplier += s.dual_rate * float(overrun.detach())
        self.multiplier = max(0.0, self.multiplier)
        self.baseline = s.memory * baseline + (1 - s.memory) * reward
        if reward >= baseline:
            self._try(widths)
        if (self.round + 1) % s.evaluate_every == 0 or self.round + 1 == s.rounds:
            with torch.no_grad():
                self._try(self._walk()[0])
        return {
            "loss": float(loss.detach()),
            "temperature": temperature,
            "peak": peak,
            "reward": reward,
            "widths": widths,
            "overrun": float(overrun.detach()),
            "multiplier": self.multiplier,
            "best": None if self.best is None else self.best.loss,
        }

    def _update(self, total: Tensor, optimizer: torch.optim.Optimizer) -> None:
        """One step of the policy; the net is left as it is, and without gradients."""
        parameters = list(self.policy.parameters())
        gradients = torch.autograd.grad(total, parameters, allow_unused=True)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()

    def _kept(self, widths: Sequence[int], orders: Sequence[Tensor] | None = None) -> list[Tensor]:
        pairs = zip(orders or self.decider.orders, widths, strict=True)
        return [kept_of(order, width) for order, width in pairs]

    @torch.no_grad()
    def _evaluate(self, kept: Sequence[Tensor]) -> float:
        gates = [mask_of(k, w, self.device) for k, w in zip(kept, self.whole, strict=True)]
        with self.net.gated(gates):
            return float(self.validation_loss())

    def _candidate(self, method: str, widths: Sequence[int], kept: Sequence[Tensor]) -> Candidate:
        return Candidate(
            method,
            tuple(widths),
            tuple(tuple(k.tolist()) for k in kept),
            self.memory.peak(widths),
            self._evaluate(kept),
        )

    def _try(self, widths: Sequence[int]) -> None:
        """Keep an architecture of the policy if it is its best so far."""
        if tuple(widths) in self.tried:
            return
        self.tried.add(tuple(widths))
        found = self._candidate(POLICY, widths, self._kept(widths))
        self.best = found if self.best is None else min(self.best, found, key=_order)

    def finish(self) -> SearchResult:
        if self.best is None:
            with torch.no_grad():
                self._try(self._walk()[0])
        assert self.best is not None
        found = {POLICY: self.best, **self.found}
        found[REFINED] = self._refine(min(found.values(), key=_order))
        return SearchResult(
            self.budget,
            self.memory.peak(self.whole),
            self.whole_loss,
            min(found.values(), key=_order),
            found,
            self.history,
            self.decider,
        )

    def _choose(self, ranking: Sequence[Tensor], uniform: bool) -> Sequence[Tensor] | None:
        """By importance alone; None: what that leaves at least does not fit."""
        values, peak = [each.cpu() for each in ranking], self.memory.peak
        try:
            step = step_of(self.decider.units)
            return uniform_or_global(self.net, values, peak, self.budget, step, uniform=uniform)
        except BudgetInfeasibleError:
            return None

    def _refine(self, best: Candidate) -> Candidate:
        """Hill climbing: a unit is made one action wider, and, if that is over the budget, another
        one action narrower. What was kept stays so far as it is kept; what is added is the most
        important of what was not."""
        orders = []
        for kept, order in zip(best.kept, self.decider.orders, strict=True):
            stays = torch.isin(order, torch.tensor(kept))
            orders.append(torch.cat([order[stays], order[~stays]]))
        best = replace(best, method=f"{best.method}, {REFINED}")
        left, again = self.settings.refine, True
        while again:
            again = False
            for widths in self._neighbours(best.widths, orders):
                if not left:
                    return best
                left -= 1
                found = self._candidate(best.method, widths, self._kept(widths, orders))
                if _order(found) < _order(best):
                    best, again = found, True
                    break
        return best

    def _neighbours(
        self, widths: Sequence[int], orders: Sequence[Tensor]
    ) -> Iterator[tuple[int, ...]]:
        """What `_refine` tries, first what the importances say gains most."""
        ranked = [
            importance[order].cumsum(0)
            for importance, order in zip(self.decider.importances, orders, strict=True)
        ]

        def steps(wider: bool) -> Iterator[tuple[float, int, int]]:
            """Gain, unit, and its next width in one direction."""
            for i, (w, choices) in enumerate(zip(widths, self.decider.widths, strict=True)):
                beyond = [c for c in choices if (c > w if wider else c < w)]
                if beyond:
                    c = min(beyond) if wider else max(beyond)
                    yield float(ranked[i][c - 1] - ranked[i][w - 1]), i, c

        moves: list[tuple[float, tuple[int, ...]]] = []
        for gain, i, c in steps(wider=True):
            moved = (*widths[:i], c, *widths[i + 1 :])
            if self.memory.peak(moved) <= self.budget:
                moves.append((gain, moved))
                continue
            for loss, j, less in steps(wider=False):
                swapped = (*moved[:j], less, *moved[j + 1 :])
                if j != i and self.memory.peak(swapped) <= self.budget:
                    moves.append((gain + loss, swapped))
        yield from (move for _, move in sorted(moves, key=lambda each: (-each[0], each[1])))

    # State

    def _begun_with(self) -> dict[str, Any]:
        """What must be the same to go on."""
        return {
            "settings": json.loads(json.dumps(asdict(self.settings) | {"save_every": 0})),
            "budget": self.budget,
            "units": [[unit.name, unit.width] for unit in self.decider.units],
        }

    def save(self, path: Path) -> None:
        carried = self.decider.carried
        tensors = {f"policy.{name}": x for name, x in self.policy.state_dict().items()}
        for number, moments in self.optimizer.state_dict()["state"].items():
            tensors |= {f"adam.{number}.{name}": x for name, x in moments.items()}
        for i in range(len(self.whole)):
            tensors[f"own.{i}"] = self.own[i]
            tensors[f"pooled.{i}"] = self.pooled[i]
        tensors |= {"hidden": carried[0], "cell": carried[1], "random": self.generator.get_state()}
        about = {
            "begun_with": self._begun_with(),
            "history": self.history,
            "best": None if self.best is None else asdict(self.best),
            "found": {name: asdict(candidate) for name, candidate in self.found.items()},
            "tried": sorted(self.tried),
            **{name: getattr(self, name) for name in _NUMBERS},
        }
        write_state(path, tensors, about)

    def restore(self, path: Path) -> None:
        tensors, about = read_state(path)
        if about["begun_with"] != self._begun_with():
            cause = "it was begun with another net, budget or settings"
            raise ModelError(Errors.E496.format(path=path, cause=cause))
        self.policy.load_state_dict(_below("policy.", tensors))
        moments: dict[int, dict[str, Tensor]] = {}
        for name, x in _below("adam.", tensors).items():
            number, _, moment = name.partition(".")
            moments.setdefault(int(number), {})[moment] = x
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": moments})
        for i in range(len(self.whole)):
            self.own[i] = tensors[f"own.{i}"]
            self.pooled[i] = tensors[f"pooled.{i}"]
        self.decider.carried = (tensors["hidden"], tensors["cell"])
        self.generator.set_state(tensors["random"])
        for name in _NUMBERS:
            setattr(self, name, about[name])
        self._group()
        self.history = about["history"]
        self.found = {name: _to_candidate(data) for name, data in about["found"].items()}
        self.best = None if about["best"] is None else _to_candidate(about["best"])
        self.tried = {tuple(widths) for widths in about["tried"]}


_NUMBERS = ("round", "start", "whole_loss", "least_loss", "multiplier", "baseline")


def _order(candidate: Candidate) -> tuple[float, int]:
    """The better, the lower."""
    return candidate.loss, candidate.peak


def _to_candidate(data: dict[str, Any]) -> Candidate:
    kept = tuple(tuple(each) for each in data["kept"])
    return Candidate(**{**data, "widths": tuple(data["widths"]), "kept": kept})


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {n.removeprefix(prefix): x for n, x in tensors.items() if n.startswith(prefix)}
