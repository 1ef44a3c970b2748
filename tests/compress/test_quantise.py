"""INT8 graphs: as good as fp32 within the bound, quiet, offline, independent of the batch."""

import os
import subprocess
import sys
import warnings

import numpy
import openvino
import pytest
import torch
from torch import nn

from spacy_tcm.compress.quantise import Report, quantise, run_graph
from spacy_tcm.errors import ModelError
from spacy_tcm.models.graphs import get_graph, set_graph, wrap_graph
from spacy_tcm.nets.text_encoder import TextEncoder, TextEncoderArch

WIDTH = 32


class Block(nn.Module):
    """Convolutions and a linear layer; small enough for a test, wide enough to be quantised."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3, padding=1)
        self.second = nn.Conv2d(16, 16, 3, padding=1)
        self.third = nn.Conv2d(16, 8, 1)

    def forward(self, x):
        x = self.first(x).relu()
        return self.third(self.second(x).relu())


def to_graph(net, *inputs, dynamic=1):
    """dynamic: how many leading dimensions of each input are left open."""
    shapes = tuple(dict.fromkeys(range(dynamic), torch.export.Dim.DYNAMIC) for _ in inputs)
    with torch.no_grad():
        program = torch.export.export(net.eval(), inputs, dynamic_shapes=shapes)
    return openvino.convert_model(program)


@pytest.fixture(scope="module")
def photos():
    torch.manual_seed(0)
    return [[torch.randn(2, 3, 12, 12).numpy()] for _ in range(6)]


@pytest.fixture(scope="module")
def block(photos):
    torch.manual_seed(1)
    return to_graph(Block(), torch.from_numpy(photos[0][0]))


@pytest.fixture(scope="module")
def hurt(photos):
    """One channel of the second layer is a thousand times the others, which alone are looked at."""
    torch.manual_seed(1)
    net = Block()
    with torch.no_grad():
        net.first.weight[0] *= 1000
        net.second.weight[:, 0] = 0
    return to_graph(net, torch.from_numpy(photos[0][0]))


def off(graph, other, samples):
    pairs = zip(run_graph(graph, samples), run_graph(other, samples), strict=True)
    a, b = (numpy.concatenate([x[0].ravel() for x in part]) for part in zip(*pairs, strict=True))
    return float(numpy.linalg.norm(a - b) / numpy.linalg.norm(a))


def test_quantised_is_like_fp32(block, photos):
    found, report = quantise(block, photos)
    assert 0 < off(block, found, photos) < 0.05
    assert len(report.quantised) == 3
    assert report.kept == ()
    assert report.size_after < 0.4 * report.size_before
    assert report.samples == 6
    assert report.score_before is report.score_after is None
    assert Report(**report.to_dict()) == report


def test_what_hurts_stays(hurt, photos):
    """Only the harmful layer goes back to fp32, and the score is what was asked for."""
    bare, _ = quantise(hurt, photos)
    assert off(hurt, bare, photos) > 0.1

    def score(graph):
        return 1 - off(hurt, graph, photos)

    found, report = quantise(hurt, photos, score=score, most_lost=0.05)
    assert len(report.kept) == 1
    assert len(report.quantised) == 2
    assert report.score_before == 1
    assert report.score_after == score(found) >= 0.95


def test_all_stays_if_nothing_helps(block, photos):
    found, report = quantise(
        block, photos, score=lambda graph: float(off(block, graph, photos) == 0), most_lost=0.5
    )
    assert report.quantised == ()
    assert len(report.kept) == 3
    assert off(block, found, photos) == 0
    assert report.size_after == report.size_before


class Reader(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(24, 32, batch_first=True)
        self.emit = nn.Linear(32, 16)
        for weights in self.lstm.parameters():
            weights.data *= 3  # states from -1 to 1, as in a trained one

    def forward(self, x):
        return self.emit(self.lstm(x)[0])


@pytest.fixture(scope="module")
def reader():
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        graph = openvino.convert_model(Reader().eval(), example_input=torch.zeros(2, 7, 24))
    graph.reshape([-1, -1, 24])
    return graph, [[torch.randn(3, 20, 24).numpy()] for _ in range(4)]


def find_lstm(graph):
    (node,) = [node for node in graph.get_ops() if node.get_type_name() == "LSTMSequence"]
    return node


def test_an_lstm_runs_in_int8(reader):
    graph, samples = reader
    found, report = quantise(graph, samples)
    assert find_lstm(found).get_friendly_name() in report.quantised
    assert len(report.quantised) == 2
    assert 0 < off(graph, found, samples) < 0.08
    assert report.size_after < 0.5 * report.size_before
    settings = {"INFERENCE_PRECISION_HINT": "f32", "PERF_COUNT": True}
    request = openvino.Core().compile_model(found, "CPU", settings).create_infer_request()
    request.infer(samples[0])
    kinds = {one.node_type: one.exec_type for one in request.get_profiling_info()}
    assert kinds["LSTMSequence"].lower().endswith("i8")


def test_an_lstm_that_hurts_stays(reader):
    graph, samples = reader

    def score(other):
        return float(find_lstm(other).input_value(4).get_node().get_type_name() == "Constant")

    found, report = quantise(graph, samples, score=score, most_lost=0.5)
    assert report.kept == (find_lstm(graph).get_friendly_name(),)
    assert len(report.quantised) == 1
    assert 0 < off(graph, found, samples) < 0.05


def test_round_trip(block, photos):
    found, _ = quantise(block, photos)
    layer = wrap_graph("block")
    set_graph(layer, found)
    again = wrap_graph("block").from_bytes(layer.to_bytes())
    for sample, wanted in zip(photos, run_graph(found, photos), strict=True):
        numpy.testing.assert_array_equal(again.predict(sample)[0], wanted[0])
    assert off(get_graph(again), found, photos) == 0


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(2)
    arch = TextEncoderArch(50, 40, 2, WIDTH, 8, ((4, 64), (4, 64)))
    ids, mask = torch.randint(0, 50, (2, 8)), torch.ones(2, 8, dtype=torch.bool)
    return to_graph(TextEncoder(arch), ids, mask, dynamic=2)


def rows(seed, n, length):
    generator = numpy.random.default_rng(seed)
    lengths = generator.integers(length // 2, length + 1, n)
    mask = numpy.arange(length) < lengths[:, None]
    return [generator.integers(0, 50, (n, length)) * mask, mask]


def test_batches_change_nothing(encoder):
    """Each row of a batch of 32 gets the tags that it gets alone."""
    found, report = quantise(encoder, [rows(i, 8, 16) for i in range(6)], transformer=True)
    assert len(report.quantised) == 12
    ids, mask = rows(7, 32, 16)
    together = run_graph(found, [[ids, mask]])[0][0]
    alone = run_graph(found, [[ids[i : i + 1], mask[i : i + 1]] for i in range(32)])
    alone = numpy.concatenate([out[0] for out in alone])
    tags = numpy.random.default_rng(0).normal(size=(WIDTH, 9)).astype("f")
    assert (numpy.argmax(together @ tags, -1) == numpy.argmax(alone @ tags, -1))[mask].all()
    wanted = run_graph(encoder, [[ids, mask]])[0][0]
    assert numpy.abs(together - wanted)[mask].mean() < 0.05


def test_quiet(block, photos, capfd):
    quantise(block, photos[:2])
    assert capfd.readouterr() == ("", "")


def test_no_samples(block):
    with pytest.raises(ModelError, match="E485"):
        quantise(block, [])


OFFLINE = """
import socket
def refuse(*args, **kwargs):
    print("the network was asked for", flush=True)
    raise OSError
socket.socket.connect = socket.getaddrinfo = refuse
from spacy_tcm.compress.quantise import quantise
import nncf, numpy, openvino
from openvino import opset13 as ops
x = ops.parameter([2, 64], numpy.float32)
w = numpy.random.default_rng(0).normal(size=(64, 64)).astype("f")
graph = openvino.Model([ops.matmul(x, ops.constant(w), False, False)], [x])
made, report = quantise(graph, [[numpy.ones((2, 64), "f")]])
assert len(report.quantised) == 1
"""


def test_nothing_is_reported_to_anyone(tmp_path):
    """OpenVINO and NNCF would write an id into the home folder and call Google Analytics."""
    clean = {k: v for k, v in os.environ.items() if k not in ("CI", "TF_BUILD", "JENKINS_URL")}
    done = subprocess.run(
        [sys.executable, "-c", OFFLINE],
        capture_output=True,
        text=True,
        timeout=300,
        env={**clean, "HOME": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    assert "network" not in done.stdout
    assert list(tmp_path.glob("intel/*")) == []
