"""Several nets under one budget, and the policy that chooses for each sample by itself."""

from copy import copy
from dataclasses import replace

import pytest
import torch

from spacy_tcm.compress.dynamic import DynamicGates, computation, evaluate_dynamic
from spacy_tcm.compress.groups import gate_of, group_means
from spacy_tcm.compress.joint import JointBytes, JointNet
from spacy_tcm.compress.memory import ByteModel, Calibration
from spacy_tcm.compress.search import SearchSettings, search
from spacy_tcm.compress.units import prunable
from spacy_tcm.nets.policy import log_probabilities, sample_action

from .conftest import make_batch, make_net, outputs

SIZES = {"efficientnet": 32, "text": 9}
QUICK = SearchSettings(rounds=6, hidden=64, refine=4)


@pytest.fixture(scope="module")
def joint():
    nets = {kind: make_net(kind) for kind in SIZES}
    net = JointNet({kind: prunable(nets[kind], SIZES[kind]) for kind in SIZES})
    models = {kind: ByteModel.of(nets[kind], 4, SIZES[kind]) for kind in SIZES}
    return net, JointBytes(net, models)


def test_bytes_of_a_process(joint):
    """The net that runs by its calibration, the other's weights as they are."""
    net, memory = joint
    widths = [unit.width for unit in net.units]
    assert memory.process(widths) == memory.tensors(widths) == memory.peak(widths)
    lines = {kind: Calibration(2, 10**6 * i, 0.5) for i, kind in enumerate(SIZES)}
    models = {kind: copy(model) for kind, model in memory.models.items()}
    for kind, model in models.items():
        model.calibration = lines[kind]
    calibrated = JointBytes(net, models, measured=True)
    assert calibrated.tensors(widths) == memory.tensors(widths)
    shares = net.split(widths)
    by_hand = [
        lines[kind].apply(memory.models[kind].peak(shares[kind]))
        + sum(memory.models[k].weights(shares[k]) for k in SIZES if k != kind)
        for kind in SIZES
    ]
    assert calibrated.peak(widths) == max(by_hand) > memory.peak(widths)
    for i in range(len(widths)):
        narrower = [w - (k == i) for k, w in enumerate(widths)]
        assert calibrated.peak(narrower) < calibrated.peak(widths)


def loss_of(net, kinds=tuple(SIZES)):
    """How far the outputs are from those of the whole nets."""
    with torch.no_grad():
        wanted = {kind: outputs(net.nets[kind].net(*make_batch(kind))) for kind in kinds}

    def loss(round_=0):
        return sum(
            (found - aim).square().mean()
            for kind in kinds
            for found, aim in zip(
                outputs(net.nets[kind].net(*make_batch(kind))), wanted[kind], strict=True
            )
        )

    return loss


def test_bytes_of_several_nets(joint):
    net, memory = joint
    whole = [unit.width for unit in net.units]
    parts = [memory.models[kind] for kind in SIZES]
    weights = sum(model.weights(model.widths) for model in parts)
    activations = [model.activations(model.widths) for model in parts]
    assert memory.weights(whole) == weights
    assert memory.peak(whole) == weights + max(activations) < weights + sum(activations)


def test_search_over_several_nets(joint):
    net, memory = joint
    whole = [unit.width for unit in net.units]
    budget = int(0.97 * memory.peak(whole))
    found = search(net, memory, budget, loss_of(net), QUICK)
    assert found.best.peak <= budget
    small = net.slice(found.kept)
    assert list(small) == list(SIZES)
    gates = [
        torch.zeros(unit.width).index_fill(0, kept, 1)
        for unit, kept in zip(net.units, found.kept, strict=True)
    ]
    for kind in SIZES:
        with torch.no_grad():
            with net.gated(gates):
                masked = outputs(net.nets[kind].net(*make_batch(kind)))
            sliced = outputs(small[kind](*make_batch(kind)))
        for a, b in zip(masked, sliced, strict=True):
            torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)
    size = sum(x.nbytes for n in small.values() for x in (*n.parameters(), *n.buffers()))
    assert size == memory.weights(found.widths)


def test_same_result_without_the_nets_gradients(joint):
    """The nets are left as they were."""
    net, memory = joint
    before = {name: x.clone() for name, x in net.net.state_dict().items()}
    budget = memory.peak([unit.width for unit in net.units])
    search(net, memory, budget, loss_of(net), replace(QUICK, rounds=3))
    for name, x in net.net.state_dict().items():
        assert torch.equal(x, before[name])
    assert all(p.grad is None for p in net.net.parameters())


@pytest.mark.parametrize("place", [0, 1])
def test_each_sample_has_widths_of_its_own(joint, place):
    net, memory = joint
    kind = list(SIZES)[place]
    whole = [unit.width for unit in net.units]
    budget = int(0.97 * memory.peak(whole))
    found = search(net, memory, budget, loss_of(net), QUICK)
    part = net.nets[kind]
    before = found.widths[: len(whole) - len(part.units)] if place else ()
    decider = found.decider
    for parameter in decider.policy.parameters():  # so that features make a difference
        parameter.data.mul_(20)
    gates = DynamicGates(decider, before)
    with torch.no_grad(), part.gated(gates):
        part.net(*make_batch(kind))
    widths = gates.widths
    assert len(widths) == 4
    assert all(len(each) == len(part.units) for each in widths)
    assert all(0 < w <= u.width for each in widths for w, u in zip(each, part.units, strict=True))
    for chosen in gates.decider.chosen:
        rest = decider.least[len(chosen) :]
        assert memory.peak([*chosen, *rest]) <= budget
    loss = loss_of(net, (kind,))
    result = evaluate_dynamic(part, decider, loss, before)
    assert result["stored"] == 1
    assert result["computation"] == pytest.approx(
        sum(computation(part, each) for each in widths) / 4
    )
    assert result["loss"] > 0


def test_computation():
    net = prunable(make_net("text"), 9)
    whole = [unit.width for unit in net.units]
    assert computation(net, whole) == pytest.approx(1)
    assert computation(net, [1, *whole[1:]]) < 1


def test_gates_of_an_action():
    order = torch.tensor([2, 0, 3, 1])
    action = torch.tensor([[0.0, 1.0, 0.0]], requires_grad=True)
    gate = gate_of(action, [1, 3, 4], order)
    assert gate.tolist() == [[1, 0, 1, 1]]
    gate[0, 1].backward()
    assert action.grad.tolist() == [[0, 0, 1]]  # only the whole keeps channel 1
    means = group_means(torch.tensor([2.0, -1.0, 6.0, 2.0]), order, [1, 3, 4], 5)
    assert means.tolist() == pytest.approx([0.75, 0.25, 0, 0, 0])


def test_draws_are_legal_and_follow_the_scores():
    generator = torch.Generator().manual_seed(0)
    scores = torch.tensor([1.0, 0.0, 5.0, -1.0]).expand(4000, -1)
    legal = torch.tensor([True, True, False, True]).expand(4000, -1)
    drawn = sample_action(scores, legal, 5.0, generator)
    assert torch.equal(drawn.sum(1), torch.ones(4000))
    shares = drawn.mean(0)
    assert shares[2] == 0
    wanted = log_probabilities(scores, legal)[0].exp()
    assert torch.allclose(shares, wanted, atol=0.03)
