"""Predicted bytes: against sums by hand, against the real net of the same widths, monotone."""

import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spacy_tcm.compress.memory import (
    ByteModel,
    Calibration,
    inner_widths,
    parse_budget,
    parse_size,
    trace,
    with_widths,
)
from spacy_tcm.errors import BudgetInfeasibleError, ModelError
from spacy_tcm.nets.efficientnet import EfficientNetArch
from spacy_tcm.nets.resnet import bottleneck_arch
from spacy_tcm.nets.text_encoder import TextEncoder, TextEncoderArch
from spacy_tcm.nets.tongue import HeadsArch, TongueArch, TongueNet, pooled_size

TRUNKS = {
    "resnet": bottleneck_arch(8, (6, 10), (2, 1)),
    "efficientnet": EfficientNetArch(8, (3, 3, 5), (1, 2, 2), (8, 12, 16), ((8,), (24, 30), (40,))),
}
NETS = ("text", *TRUNKS)
WIDTHS = {"text": (4, 32, 4, 32), "resnet": (6, 6, 6, 6, 10, 10), "efficientnet": (24, 30, 40)}


def make_net(kind):
    if kind == "text":
        return TextEncoder(TextEncoderArch(50, 32, 2, 16, 4, ((4, 32), (4, 32))))
    trunk = TRUNKS[kind]
    heads = HeadsArch(pooled_size(trunk), 5, (3, 2), (False, True))
    return TongueNet(TongueArch(trunk, 12, heads))


SIZES = {"text": (3, 20), "resnet": (2, 32), "efficientnet": (2, 32)}


@pytest.fixture(scope="module")
def models():
    return {
        (kind, training): ByteModel.of(make_net(kind), *SIZES[kind], training)
        for kind in NETS
        for training in (False, True)
    }


def widths_of(kind):
    return st.tuples(*(st.integers(1, width) for width in WIDTHS[kind]))


@pytest.mark.parametrize("kind", NETS)
def test_widths_in_the_order_of_the_units(kind, models):
    net = make_net(kind)
    assert models[kind, False].widths == inner_widths(net.arch) == WIDTHS[kind]
    other = [number + 2 for number in range(len(WIDTHS[kind]))]
    assert inner_widths(with_widths(net.arch, other)) == tuple(other)
    assert with_widths(net.arch, WIDTHS[kind]) == net.arch
    with pytest.raises(ValueError, match="widths"):
        with_widths(net.arch, other[1:])


def test_one_layer_by_hand():
    """One text of 5 subwords, 8 wide, through one head of 4 and an inner width."""
    net = TextEncoder(TextEncoderArch(10, 6, 2, 8, 4, ((1, 100),)))
    model = ByteModel.of(net, 1, 5)
    vector = 4 * 5 * 8  # bytes of a vector for each subword
    inputs = 8 * 5 + 5  # ids are int64, the mask is bool
    for inner in (100, 60):
        # The product with the inner weights and its GELU are the most; what goes into the layer
        # and what comes out of its attention are still needed.
        assert model.activations((1, inner)) == inputs + 2 * vector + 2 * 4 * 5 * inner
        matrices = (10 + 6 + 2) * 8 + 3 * 4 * 8 + 4 * 8 + 2 * 8 * inner
        vectors = 3 * 2 * 8 + 3 * 4 + 8 + inner + 8
        assert model.weights((1, inner)) == 4 * (matrices + vectors)
        both = model.weights((1, inner)) + model.activations((1, inner))
        assert model.peak((1, inner)) == both


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("kind", NETS)
@given(data=st.data())
@settings(max_examples=2, deadline=None)
def test_equal_to_the_real_net_of_these_widths(kind, training, models, data):
    widths = data.draw(widths_of(kind))
    net = make_net(kind)
    small = type(net)(with_widths(net.arch, widths))
    model = models[kind, training]
    tensors = [*small.parameters(), *small.buffers()]
    assert model.weights(widths) == sum(tensor.nbytes for tensor in tensors)
    assert model.activations(widths) == trace(small, *SIZES[kind], training).activations


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("kind", NETS)
@given(data=st.data())
@settings(max_examples=30, deadline=None)
def test_monotone(kind, training, models, data):
    widths = data.draw(widths_of(kind))
    unit = data.draw(st.integers(0, len(widths) - 1))
    wider = [width + (number == unit) for number, width in enumerate(widths)]
    model = models[kind, training]
    assert model.weights(widths) < model.weights(wider)
    assert model.activations(widths) <= model.activations(wider)
    assert model.peak(widths) < model.peak(wider)


@pytest.mark.parametrize("kind", NETS)
def test_training_takes_gradients_and_what_adam_keeps(kind, models):
    net, full = make_net(kind), WIDTHS[kind]
    trained = sum(parameter.nbytes for parameter in net.parameters())
    less = models[kind, True].activations(full) - models[kind, False].activations(full)
    assert less > 3 * trained
    net.requires_grad_(False)
    list(net.parameters())[-1].requires_grad_(True)
    assert ByteModel.of(net, *SIZES[kind], True).peak(full) < models[kind, True].peak(full)


def test_nothing_is_touched():
    net = make_net("resnet").eval()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    state = torch.random.get_rng_state()
    ByteModel.of(net, 2, 32, training=True)
    assert torch.equal(state, torch.random.get_rng_state())
    assert not net.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


def test_larger_batches_and_photos_take_more(models):
    net, full = make_net("efficientnet"), WIDTHS["efficientnet"]
    known = models["efficientnet", False]
    for batch, size in ((4, 32), (2, 64)):
        other = ByteModel.of(net, batch, size)
        assert other.weights(full) == known.weights(full)
        assert other.activations(full) > known.activations(full)


def test_calibration(models):
    predicted = [100, 200, 400]
    line = Calibration.fit(predicted, [150, 250, 450])
    assert (line.slope, line.intercept, line.margin) == pytest.approx((1, 50, 0), abs=1e-6)
    measured = [160, 240, 450]
    above = Calibration.fit(predicted, measured)
    assert all(above.apply(p) >= m for p, m in zip(predicted, measured, strict=True))
    net, full = make_net("text"), WIDTHS["text"]
    model = ByteModel.of(net, *SIZES["text"], calibration=Calibration(2, 10, 0.5))
    assert model.peak(full) == 1.5 * (2 * models["text", False].peak(full) + 10)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("256MB", 256_000_000),
        ("1.5 GiB", 3 * 2**29),
        ("10kb", 10_000),
        ("2KiB", 2048),
        (" 7 b ", 7),
        ("3mib", 3 * 2**20),
    ],
)
def test_sizes(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "256", "MB", "256M", "-1MB", "0GB", "1TB", "1e3B", "1,5GB", "IB", "5IB", "٣MB"]
)
def test_what_is_no_size(text):
    with pytest.raises(ModelError, match="E527"):
        parse_size(text)


def test_budgets():
    assert parse_budget("60%", 1000) == parse_budget(0.6, 1000) == parse_budget("0.6", 1000) == 600
    assert parse_budget(1, 1000) == parse_budget("100%", 1000) == 1000
    assert parse_budget("1KB", 10) == 1000
    for wrong in ("0%", "101%", 1.2, 0, "2"):
        with pytest.raises(ModelError, match="E490"):
            parse_budget(wrong, 1000)
    for wrong in ("much", -0.5, float("nan")):
        with pytest.raises(ModelError, match="E527"):
            parse_budget(wrong, 1000)


def test_infeasible():
    error = BudgetInfeasibleError(1000, min_bytes=2345)
    assert error.min_bytes == 2345
    assert "2,345" in str(error)
    assert pickle.loads(pickle.dumps(error)).min_bytes == 2345


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("kind", NETS)
def test_stored_calibrations(kind, training):
    """The more is predicted, the more is measured, and nets take about what their tensors do."""
    found = Calibration.read(make_net(kind), training)
    assert 0.7 < found.slope < 1.5
    assert 0 <= found.margin < 0.5
