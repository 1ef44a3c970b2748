import json
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from spacy_tcm.compress.groups import widths_of
from spacy_tcm.compress.search import POLICY, REFINED, SearchSettings, _Search, search
from spacy_tcm.errors import BudgetInfeasibleError, ModelError


@dataclass(frozen=True)
class ToyUnit:
    name: str
    width: int
    size: int = 1


class Toy:
    """Each unit's channels add their own numbers to the output; ``matter`` scales a unit's."""

    def __init__(self, widths: Sequence[int] = (8, 8, 8), matter: Sequence[float] = (1, 1, 1)):
        generator = torch.Generator().manual_seed(0)
        self.net = nn.ParameterList(
            nn.Parameter(scale * (0.5 + torch.rand(w, generator=generator)))
            for w, scale in zip(widths, matter, strict=True)
        )
        self.units = tuple(ToyUnit(f"unit{i}", w) for i, w in enumerate(widths))
        self._gates: list[Tensor] = []

    @contextmanager
    def gated(self, gates):
        self._gates = list(gates)
        yield
        self._gates = []

    def features(self) -> list[Tensor]:
        return [x.detach().expand(4, -1) for x in self.net]

    def descriptors(self) -> Tensor:
        return torch.linspace(0, 1, 8 * len(self.units)).view(len(self.units), 8)

    def loss(self, round_: int = 0) -> Tensor:
        """How much of what the whole net adds is gone, a little noisy."""
        gone = [((1 - gate) * x).sum() for gate, x in zip(self._gates, self.net, strict=True)]
        return torch.stack(gone).sum() * (1 + 0.05 * (round_ % 3))


class ToyBytes:
    """100 bytes a channel, of which the widest unit's count twice as activations."""

    def peak(self, widths: Sequence[int]) -> int:
        return self.weights(widths) + 200 * max(widths)

    def weights(self, widths: Sequence[int]) -> int:
        return 100 * sum(widths)

    def activations(self, widths: Sequence[int]) -> int:
        return 200 * max(widths)


SMALL = SearchSettings(rounds=20, hidden=64, imitate=10, regroup_every=7, save_every=10, refine=20)
BYTES = ToyBytes()
WHOLE = BYTES.peak([8, 8, 8])


def uniform_rankings(toy):
    return {"l1": [x.detach().abs() for x in toy.net]}


@settings(max_examples=8)
@given(
    st.lists(st.sampled_from([1, 3, 8, 12, 40]), min_size=1, max_size=5),
    st.floats(0.2, 1.2),
    st.integers(0, 100),
)
def test_nothing_over_the_budget_is_ever_tried(widths, share, seed):
    toy = Toy(widths, [1] * len(widths))
    budget = int(share * BYTES.peak(widths))
    tried = []

    def loss(round_):
        kept = [int((gate.detach() > 0.5).sum()) for gate in toy._gates]
        tried.append(kept)
        return toy.loss(round_)

    short = replace(SMALL, rounds=4, seed=seed, refine=5, imitate=2)
    least = BYTES.peak([widths_of(unit, 8)[0] for unit in toy.units])
    if least > budget:
        with pytest.raises(BudgetInfeasibleError) as caught:
            search(toy, BYTES, budget, loss, short, rankings=uniform_rankings(toy))
        assert caught.value.min_bytes == least
        return
    found = search(toy, BYTES, budget, loss, short, rankings=uniform_rankings(toy))
    for candidate in found.candidates.values():
        assert candidate.peak == BYTES.peak(candidate.widths) <= budget
        assert [len(kept) for kept in candidate.kept] == list(candidate.widths)
    whole = list(widths)
    over = [kept for kept in tried if BYTES.peak(kept) > budget and kept != whole]
    assert not over
    steps = [entry for entry in found.history if entry["phase"] == "search"]
    assert all(entry["peak"] <= budget for entry in steps)


def test_infeasible_budget_says_what_is_the_least():
    least = BYTES.peak([1, 1, 1])
    with pytest.raises(BudgetInfeasibleError) as caught:
        search(Toy(), BYTES, least - 1, Toy().loss, SMALL)
    assert caught.value.min_bytes == least
    toy = Toy()
    found = search(toy, BYTES, least, toy.loss, SMALL)
    assert found.widths == (1, 1, 1)


def test_a_larger_budget_is_never_worse():
    losses, peaks = [], []
    for share in (0.3, 0.45, 0.6, 0.75, 0.9, 1.0):
        toy = Toy(matter=(3, 1, 0.1))
        found = search(toy, BYTES, int(share * WHOLE), toy.loss, SMALL)
        losses.append(found.best.loss)
        peaks.append(found.best.peak)
    assert losses == sorted(losses, reverse=True)
    assert peaks == sorted(peaks)
    assert found.widths == (8, 8, 8)
    assert losses[-1] == pytest.approx(found.whole_loss)


@pytest.mark.parametrize("method", ["a2c", "reinforce"])
def test_the_policy_finds_the_unit_that_matters(method):
    toy = Toy(matter=(0.01, 5, 0.01))
    steps = replace(SMALL, rounds=120, method=method, refine=0, imitate=0, rate=1e-2)
    found = search(toy, BYTES, int(0.6 * WHOLE), toy.loss, steps, rankings=uniform_rankings(toy))
    policy, uniform = found.candidates[POLICY], found.candidates["l1"]
    assert policy.loss < 0.5 * uniform.loss
    assert policy.widths[1] > max(policy.widths[0], policy.widths[2])
    assert found.best.loss == min(candidate.loss for candidate in found.candidates.values())


def test_it_learns():
    """The rounds at the end do better than those at the beginning, and than without learning."""

    def last(rate):
        toy = Toy(matter=(0.01, 5, 0.01))
        steps = replace(SMALL, rounds=80, rate=rate, refine=0, imitate=0)
        found = search(toy, BYTES, int(0.6 * WHOLE), toy.loss, steps)
        return sum(entry["reward"] for entry in found.history[-20:]) / 20

    assert last(1e-2) > last(0.0) + 0.1


def test_it_begins_by_imitating_the_best_ranking():
    def first(imitate):
        toy = Toy((64, 64), matter=(0.01, 5))
        steps = replace(SMALL, rounds=21, warmup=0.05, imitate=imitate, refine=0)
        found = search(toy, BYTES, int(0.6 * BYTES.peak([64, 64])), toy.loss, steps)
        return found, [e["widths"] for e in found.history if e["phase"] == "search"]

    found, widths = first(60)
    best = min((c for n, c in found.candidates.items() if "noisy gates" in n), key=lambda c: c.loss)

    def distance(tried):
        return sum(abs(w - b) for row in tried for w, b in zip(row, best.widths, strict=True))

    assert distance(widths) < 0.7 * distance(first(0)[1])


def test_the_price_of_bytes_reaches_every_unit():
    """Also those that come before the wall."""
    toy = Toy((64, 64, 64))
    run = _Search(toy, BYTES, int(0.4 * BYTES.peak([64, 64, 64])), toy.loss, SMALL)
    _, found = run._walk(1.0)
    for decision in found:
        gradient = torch.autograd.grad(decision.expected, decision.wanted, retain_graph=True)[0]
        assert gradient.abs().max() > 0


@pytest.mark.parametrize("method", ["a2c", "reinforce"])
def test_every_parameter_of_the_policy_learns(method):
    toy = Toy()
    run = _Search(toy, BYTES, int(0.6 * WHOLE), toy.loss, replace(SMALL, method=method))
    while run.round < run.settings.n_warmup + 2:  # the memory is empty in the first
        run.step()
    for name, parameter in run.policy.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


def test_the_loss_alone_teaches_through_the_gates():
    """Straight-through: without any reward, what matters is kept all the same."""

    def width_of_what_matters(pathwise):
        toy = Toy(matter=(5, 0.01, 0.01))
        steps = replace(SMALL, rounds=60, alpha=0, byte_price=0, pathwise=pathwise, refine=0)
        steps = replace(steps, imitate=0, rate=1e-2)
        found = search(toy, BYTES, int(0.6 * WHOLE), toy.loss, steps)
        return sum(entry["widths"][0] for entry in found.history[-20:]) / 20

    assert width_of_what_matters(1.0) > width_of_what_matters(0.0) + 0.5


def test_the_multiplier_rises_while_the_policy_wants_too_much():
    toy = Toy()
    tight = int(0.4 * WHOLE)
    found = search(toy, BYTES, tight, toy.loss, replace(SMALL, rounds=80, refine=0, imitate=0))
    steps = [entry for entry in found.history if entry["phase"] == "search"]
    assert max(entry["overrun"] for entry in steps) > 0.01
    assert max(entry["multiplier"] for entry in steps) > 0
    loose = search(toy, BYTES, 2 * WHOLE, toy.loss, SMALL)
    assert all(entry["multiplier"] == 0 for entry in loose.history if "multiplier" in entry)


def test_same_seed_same_result():
    def run(seed):
        toy = Toy()
        return search(toy, BYTES, int(0.6 * WHOLE), toy.loss, replace(SMALL, seed=seed))

    assert run(3) == run(3)
    assert run(3).history != run(4).history


def test_resumed_is_as_if_never_interrupted(tmp_path):
    whole = search(toy := Toy(), BYTES, int(0.6 * WHOLE), toy.loss, SMALL)

    class Killed(Exception):
        pass

    def stop(entry):
        if entry["round"] == 13:
            raise Killed

    toy, state = Toy(), tmp_path / "search.safetensors"
    with pytest.raises(Killed):
        search(toy, BYTES, int(0.6 * WHOLE), toy.loss, SMALL, on_round=stop, state=state)
    seen = []
    again = search(toy, BYTES, int(0.6 * WHOLE), toy.loss, SMALL, on_round=seen.append, state=state)
    assert seen[0]["round"] == 10
    assert again == whole
    assert search(toy, BYTES, int(0.6 * WHOLE), toy.loss, SMALL, state=state) == whole


def test_what_cannot_be_gone_on_with(tmp_path):
    toy, state = Toy(), tmp_path / "search.safetensors"
    search(toy, BYTES, WHOLE, toy.loss, SMALL, state=state)
    with pytest.raises(ModelError, match=r"E496.*another net"):
        search(toy, BYTES, WHOLE - 1, toy.loss, SMALL, state=state)
    state.write_bytes(state.read_bytes()[:-9])
    with pytest.raises(ModelError, match=r"E496.*damaged"):
        search(toy, BYTES, WHOLE, toy.loss, SMALL, state=state)


def test_refining_moves_to_where_it_matters():
    toy = Toy(matter=(0.01, 5, 0.01))
    steps = replace(SMALL, rounds=2, warmup=0.5, refine=60, imitate=0)
    found = search(toy, BYTES, int(0.6 * WHOLE), toy.loss, steps)
    assert found.candidates[REFINED].loss < found.candidates[POLICY].loss
    assert found.candidates[REFINED].widths[1] > 4


def test_history_is_json():
    toy = Toy()
    found = search(toy, BYTES, WHOLE, toy.loss, SMALL)
    assert json.loads(json.dumps(found.history)) == found.history


def test_widths_of_actions():
    assert widths_of(ToyUnit("a", 96), 8) == [16, 32, 32, 48, 64, 64, 80, 96]
    assert widths_of(ToyUnit("heads", 12, 26), 8) == [2, 3, 5, 6, 8, 9, 11, 12]
    assert widths_of(ToyUnit("heads", 4, 26), 8) == [1, 2, 3, 4]
    assert widths_of(ToyUnit("narrow", 31), 8)[-1] == 31
    assert all(w % 16 == 0 for w in widths_of(ToyUnit("wide", 1200), 8))
