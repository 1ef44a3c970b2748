from pathlib import Path

import pytest
import torch
from torch import nn

from spacy_tcm.compress.memory import inner_widths, with_widths
from spacy_tcm.compress.units import METHODS, Unit, prunable
from spacy_tcm.errors import ModelError
from spacy_tcm.nets.efficientnet import LITE0
from spacy_tcm.nets.resnet import RESNET50
from spacy_tcm.nets.tongue import HeadsArch, TongueArch, TongueNet, pooled_size

from .conftest import make_batch, make_net, outputs

UNITS = {
    "resnet": [
        Unit("layer1.0.conv1", 5, 1),
        Unit("layer1.0.conv2", 7, 1),
        Unit("layer1.1.conv1", 6, 1),
        Unit("layer1.1.conv2", 4, 1),
        Unit("layer2.0.conv1", 8, 1),
        Unit("layer2.0.conv2", 9, 1),
    ],
    "efficientnet": [
        Unit("blocks.1.0.conv_pw", 9, 1),
        Unit("blocks.1.1.conv_pw", 12, 1),
        Unit("blocks.2.0.conv_pw", 11, 1),
        Unit("blocks.2.1.conv_pw", 14, 1),
    ],
    "text": [
        Unit("encoder.layer.0.attention.self", 3, 4),
        Unit("encoder.layer.0.intermediate.dense", 10, 1),
        Unit("encoder.layer.1.attention.self", 4, 4),
        Unit("encoder.layer.1.intermediate.dense", 7, 1),
    ],
}


def choose(units, seed):
    """Some of each unit's choices, at least one, in order."""
    random = torch.Generator().manual_seed(seed)
    kept = []
    for unit in units:
        n = int(torch.randint(1, unit.width + 1, (), generator=random))
        kept.append(torch.randperm(unit.width, generator=random)[:n].sort().values)
    return kept


def masks_of(units, kept):
    gates = [torch.zeros(unit.width) for unit in units]
    for gate, some in zip(gates, kept, strict=True):
        gate[some] = 1
    return gates


def test_units_in_the_order_of_computation(kind):
    net = prunable(make_net(kind))
    assert list(net.units) == UNITS[kind]
    seen = []

    def note(i, features):
        seen.append(i)

    with net.gated(note):
        net.net(*make_batch(kind))
    assert seen == list(range(len(net.units)))


@pytest.mark.parametrize(("trunk", "n_units"), [(RESNET50, 32), (LITE0, 10)])
def test_the_nets_that_are_used(trunk, n_units):
    arch = TongueArch(trunk, 8, HeadsArch(pooled_size(trunk), 5, (), ()), frozen=True)
    net = TongueNet(arch)
    found = prunable(net)
    assert len(found.units) == n_units
    assert inner_widths(arch) == tuple(unit.width for unit in found.units)
    assert not any(p.requires_grad for p in net.trunk.parameters()), "tracing leaves it frozen"
    assert net.training


def test_traced_slices_are_those_that_widths_change(kind):
    """A net with one more in each unit differs along exactly the dimensions that were traced."""
    net = make_net(kind)
    pruner = prunable(net)
    for i, unit in enumerate(pruner.units):
        widths = [u.width for u in pruner.units]
        widths[i] += 1
        wider = type(net)(with_widths(net.arch, widths)).state_dict()
        expected = {
            (name, dim)
            for name, tensor in net.state_dict().items()
            for dim in range(tensor.ndim)
            if tensor.shape[dim] != wider[name].shape[dim]
        }
        assert set(pruner.slices(i)) == expected, unit.name


@pytest.mark.parametrize("seed", range(8))
def test_sliced_is_masked(kind, seed):
    net = make_net(kind)
    pruner = prunable(net)
    kept = choose(pruner.units, seed)
    batch = make_batch(kind, seed)
    sliced = pruner.slice(kept)
    with torch.no_grad():
        whole = outputs(net(*batch))
        with pruner.gated(masks_of(pruner.units, kept)):
            masked = outputs(net(*batch))
        small = outputs(sliced(*batch))
        after = outputs(net(*batch))
    for a, b in zip(masked, small, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(whole[0], masked[0], atol=1e-2)
    for a, b in zip(whole, after, strict=True):
        assert torch.equal(a, b), "no gate stays behind"
    assert type(sliced) is type(net)
    assert [u.width for u in prunable(sliced).units] == [len(some) for some in kept]
    assert type(net.arch).from_dict(sliced.arch.to_dict()) == sliced.arch


def test_each_sample_its_own_gates(kind):
    net = make_net(kind)
    pruner = prunable(net)
    batch = make_batch(kind)
    each = [masks_of(pruner.units, choose(pruner.units, seed)) for seed in range(4)]
    together = [torch.stack(gates) for gates in zip(*each, strict=True)]
    with torch.no_grad(), pruner.gated(together):
        found = outputs(net(*batch))
    for row, gates in enumerate(each):
        with torch.no_grad(), pruner.gated(gates):
            alone = outputs(net(*(x[row : row + 1] for x in batch)))
        for a, b in zip(found, alone, strict=True):
            torch.testing.assert_close(a[row : row + 1], b, rtol=1e-5, atol=1e-5)


def test_gates_have_gradients(kind):
    """As finite differences say."""
    net = make_net(kind).double()
    pruner = prunable(net)
    batch = make_batch(kind)
    if kind != "text":
        net, batch = net.trunk, (batch[0].double().permute(0, 3, 1, 2),)
    gates = [torch.full((u.width,), 0.7, dtype=torch.double) for u in pruner.units]

    def loss(some):
        with pruner.gated(some):
            return sum(x.square().mean() for x in outputs(net(*batch)))

    with_gradients = [gate.clone().requires_grad_() for gate in gates]
    loss(with_gradients).backward()
    for i, gate in enumerate(with_gradients):
        most = gate.grad.abs().argmax()
        shifted = [g.clone() for g in gates]
        shifted[i][most] += 1e-6
        with torch.no_grad():
            slope = (loss(shifted) - loss(gates)) / 1e-6
        assert gate.grad[most].item() == pytest.approx(slope.item(), rel=1e-3)
        assert abs(slope) > 1e-5


def test_none_leaves_a_unit_alone_and_a_function_chooses(kind):
    net = make_net(kind)
    pruner = prunable(net)
    batch = make_batch(kind)
    gates = masks_of(pruner.units, choose(pruner.units, 3))
    only = [gates[0], *[None] * (len(gates) - 1)]
    with torch.no_grad():
        with pruner.gated(only):
            listed = outputs(net(*batch))
        with pruner.gated(lambda i, features: gates[0] if i == 0 else None):
            chosen = outputs(net(*batch))
        with pruner.gated([None] * len(gates)):
            untouched = outputs(net(*batch))
        assert torch.equal(listed[0], chosen[0])
        assert torch.equal(untouched[0], outputs(net(*batch))[0])


def test_features_are_mean_magnitudes(kind):
    net = make_net(kind)
    pruner = prunable(net)
    batch = make_batch(kind)
    read = {}
    name = {"resnet": "conv2", "efficientnet": "conv_pwl", "text": "output"}[kind]
    block = next(m for m in net.modules() if hasattr(m, name) and not hasattr(m, "trunk"))
    if kind == "text":
        block = net.layers[0].attention.output
        name = "dense"
    getattr(block, name).register_forward_hook(lambda m, args, out: read.update(x=args[0]))
    with pruner.gated([None] * len(pruner.units)):
        net(*batch)
    features = pruner.features()
    assert [tuple(f.shape) for f in features] == [(4, u.width) for u in pruner.units]
    assert not any(f.requires_grad for f in features)
    if kind == "text":
        _, mask = batch
        expected = read["x"][1, : mask[1].sum()].view(-1, 3, 4).abs().mean((0, 2))
        torch.testing.assert_close(features[0][1], expected)
    else:
        torch.testing.assert_close(features[0], read["x"].mean((2, 3)))


def test_nothing_left_is_refused(kind):
    pruner = prunable(make_net(kind))
    kept = [torch.arange(unit.width) for unit in pruner.units]
    kept[1] = kept[1][:0]
    with pytest.raises(ModelError, match=rf"E492.*{pruner.units[1].name}"):
        pruner.slice(kept)


def test_descriptors(kind):
    pruner = prunable(make_net(kind), 64 if kind != "text" else 8)
    found = pruner.descriptors()
    assert found.shape == (len(pruner.units), 8)
    assert found[0, 0] == 0
    assert found[-1, 0] == 1
    first = (2 ** (found[0, 1:] * 10)).round().int().tolist()
    assert (
        first
        == {
            # in, out, kernel, stride, places, weight bytes, activation bytes
            "resnet": [6, 5, 1, 1, 256, 4 * (6 * 5 + 4 * 5 + 5 * 7 * 9), 4 * 5 * 256],
            "efficientnet": [6, 9, 5, 2, 256, 4 * (6 * 9 + 25 * 9 + 8 * 9 + 9 * 8), 4 * 9 * 256],
            "text": [12, 12, 1, 1, 8, 4 * (3 * 13 * 12 + 12 * 12), 4 * 12 * 8],
        }[kind]
    )


@pytest.mark.parametrize("method", METHODS)
def test_importances(kind, method):
    net = make_net(kind, frozen=True) if kind != "text" else make_net(kind)
    pruner = prunable(net)
    batches = [make_batch(kind, seed) for seed in range(2)]
    if kind == "text" and method == "bn_scale":
        with pytest.raises(ModelError, match="E493"):
            pruner.importances(method, batches)
        return
    state = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    found = pruner.importances(method, batches)
    assert [tuple(x.shape) for x in found] == [(u.width,) for u in pruner.units]
    for values, again, unit in zip(
        found, pruner.importances(method, batches), pruner.units, strict=True
    ):
        assert torch.equal(values, again), "the same again"
        assert values.min() >= 0
        if method != "random":
            assert values.mean().item() == pytest.approx(unit.size)
    assert all(torch.equal(x, state[name]) for name, x in net.state_dict().items())
    assert all(p.grad is None for p in net.parameters())
    if method == "random":
        assert not torch.equal(found[0], pruner.importances(method, seed=1)[0])


@pytest.mark.parametrize("method", ["l1", "bn_scale", "taylor", "activation"])
def test_what_does_nothing_matters_least(kind, method):
    if kind == "text" and method == "bn_scale":
        return
    net = make_net(kind)
    pruner = prunable(net)
    for i, unit in enumerate(pruner.units):
        dead = range(unit.size, 2 * unit.size)  # the second choice
        for name, dim in pruner.slices(i):
            if "running" not in name:
                net.state_dict()[name].index_fill_(dim, torch.tensor(dead), 0.0)
    for values in pruner.importances(method, [make_batch(kind)]):
        assert values[1] == 0
        assert (values > 0).float().mean() > 0.4, "but not of most others"


def test_l1_is_the_norm_of_what_is_cut():
    """By hand, for heads: query, key and value rows and output columns."""
    net = make_net("text")
    attention = net.layers[0].attention
    rows = [getattr(attention.self, name).weight for name in ("query", "key", "value")]
    total = sum(
        w.detach().abs().sum(1) for w in rows
    ) + attention.output.dense.weight.detach().abs().sum(0)
    expected = (total / total.mean()).view(3, 4).sum(1)
    torch.testing.assert_close(prunable(net).importances("l1")[0], expected)


def test_taylor_takes_the_loss_that_is_given():
    net = make_net("efficientnet")
    pruner = prunable(net)
    batch = make_batch("efficientnet")

    def loss(output, inputs):
        assert inputs is batch
        return nn.functional.cross_entropy(output[1][:, :3], torch.tensor([0, 1, 2, 0]))

    found = pruner.importances("taylor", [batch], loss)
    assert not torch.allclose(found[-1], pruner.importances("taylor", [batch])[-1])


def test_importances_without_what_they_need():
    pruner = prunable(make_net("resnet"))
    for method in ("taylor", "activation"):
        with pytest.raises(ModelError, match="E494"):
            pruner.importances(method, [])
    with pytest.raises(ModelError, match=r"E493.*magic"):
        pruner.importances("magic")


def test_the_shared_trunk_can_be_pruned():
    """The net of the repository, a third of each width: still the same class, still smaller."""
    from safetensors.torch import load_file

    weights = Path(__file__).parents[2] / "assets" / "tongue" / "trunk.safetensors"
    net = TongueNet(TongueArch(LITE0, 8, HeadsArch(pooled_size(LITE0), 5, (), ()), frozen=True))
    net.trunk.load_state_dict({k: v.float() for k, v in load_file(weights).items()})
    net.eval()
    pruner = prunable(net)
    kept = [
        values.topk(len(values) // 3).indices.sort().values for values in pruner.importances("l1")
    ]
    sliced = pruner.slice(kept)
    pixels = torch.randint(0, 256, (1, 64, 64, 3)).byte()
    batch = (pixels, torch.ones(1, 64, 64), torch.zeros(1, 5))
    with torch.no_grad(), pruner.gated(masks_of(pruner.units, kept)):
        masked, _ = net(*batch)
        torch.testing.assert_close(sliced(*batch)[0], masked, rtol=1e-5, atol=1e-5)
    count = [
        sum(p.numel() for p in x.parameters()) for x in (sliced.trunk.blocks, net.trunk.blocks)
    ]
    assert count[0] < 0.4 * count[1]
