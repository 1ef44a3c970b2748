"""The benchmarks of the deployed pipeline and of pruning: what they count, sum up and show."""

import json
import os
from pathlib import Path
from types import SimpleNamespace

import numpy
import openvino
import pytest
import spacy
import torch
from openvino import opset13 as ops
from PIL import Image
from spacy.tokens import Span

from spacy_tcm.compress.memory import ByteModel
from spacy_tcm.compress.units import prunable
from spacy_tcm.models.graphs import graph_to_bytes
from spacy_tcm.models.photos import Photo
from spacy_tcm.nets.resnet import bottleneck_arch
from spacy_tcm.nets.text_encoder import TextEncoder, TextEncoderArch
from spacy_tcm.nets.tongue import HeadsArch, TongueArch, TongueNet, pooled_size
from spacy_tcm.types import PhotoInfo

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def benchmarks(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))


def test_operations_of_a_graph():
    import roofline

    generator = numpy.random.default_rng(0)
    photo = ops.parameter([-1, 3, -1, -1], numpy.float32)
    weights = generator.random((4, 3, 3, 3), dtype=numpy.float32)
    x = ops.convolution(photo, weights, [2, 2], [1, 1], [1, 1], [1, 1])
    depthwise = generator.random((4, 1, 1, 3, 3), dtype=numpy.float32)
    x = ops.group_convolution(x, depthwise, [1, 1], [1, 1], [1, 1], [1, 1])
    x = ops.matmul(x, generator.random((6, 5), dtype=numpy.float32), False, False)
    graph = openvino.Model([x], [photo], "small")
    found = roofline.count_graph(*graph_to_bytes(graph), ((2, 3, 12, 12),))
    pixels = 2 * 6 * 6
    assert found == 2 * (pixels * 4 * 27 + pixels * 4 * 9 + 2 * 4 * 6 * 5 * 6)


def test_operations_of_a_sequence():
    import roofline

    data = ops.parameter([-1, -1, 8], numpy.float32)
    zeros = numpy.zeros((2, 2, 16), numpy.float32)
    weights = [numpy.ones(shape, numpy.float32) for shape in ((2, 64, 8), (2, 64, 16), (2, 64))]
    lengths = numpy.array([5, 5])
    lstm = ops.lstm_sequence(data, zeros, zeros, lengths, *weights, 16, "bidirectional")
    graph = openvino.Model([lstm.output(0)], [data], "sequence")
    found = roofline.count_graph(*graph_to_bytes(graph), ((2, 5, 8),))
    assert found == 2 * 2 * 5 * 2 * 64 * (8 + 16)
    q, k = (ops.parameter([1, 2, length, 4], numpy.float32) for length in (3, 7))
    attention = ops.scaled_dot_product_attention(q, k, k)
    graph = openvino.Model([attention], [q, k], "attention")
    found = roofline.count_graph(*graph_to_bytes(graph), ((1, 2, 3, 4), (1, 2, 7, 4)))
    assert found == 2 * 2 * 3 * 7 * (4 + 4)


def test_operations_without_a_photo():
    import roofline

    tokens, photos = (ops.parameter([-1, n], numpy.float32) for n in (4, 6))
    ours = ops.matmul(tokens, numpy.ones((4, 5), numpy.float32), False, False)
    # -1 cannot be told of an empty input
    rows = ops.reshape(photos, numpy.array([0, -1]), True)
    theirs = ops.matmul(rows, numpy.ones((6, 5), numpy.float32), False, False)
    graph = openvino.Model([ours, theirs], [tokens, photos], "both")
    xml, weights = graph_to_bytes(graph)
    assert roofline.count_graph(xml, weights, ((3, 4), (2, 6))) == 2 * (3 * 4 * 5 + 2 * 6 * 5)
    assert roofline.count_graph(xml, weights, ((3, 4), (0, 6))) == 2 * 3 * 4 * 5


def test_the_same_distribution_of_lengths(tmp_path):
    import deployed

    assert deployed.evenly([5, 1, 9, 3, 7], 5, lambda n: n) == [5, 1, 9, 3, 7]
    assert deployed.evenly([5, 1, 9, 3, 7], 1, lambda n: n) == [5]
    assert deployed.evenly(list(range(99, -1, -1)), 4, lambda n: n) == [87, 62, 37, 12]
    (tmp_path / "photos").mkdir()
    for i, colour in enumerate(("red", "pink")):
        Image.new("RGB", (40, 30), colour).save(tmp_path / "photos" / f"{i}.png")
    records = tmp_path / "records.jsonl"
    texts = ["便血", "便血三天", "便血", "舌红", "腹痛"]
    lines = [json.dumps({"id": str(i), "text": text}) for i, text in enumerate(texts)]
    records.write_text("\n".join(lines), encoding="utf8")
    found = deployed.prepare(records, tmp_path / "photos", 9, 2, str(tmp_path))
    items = json.loads((tmp_path / "many.json").read_text(encoding="utf8"))
    assert sorted(item["text"] for item in items) == sorted(set(texts))
    assert len({Path(item["image"]).read_bytes() for item in items}) == 4, "no photo twice"
    for item in items:
        with Image.open(item["image"]) as photo:
            assert photo.size == deployed.PHONE
    assert found["many"] == {"records": 4, "characters": 10, "longest": 4}
    assert found["few"]["records"] == 2
    assert not deployed.prepare(records, None, 9, 2, str(tmp_path))["photos"]


def test_size_on_disk(tmp_path):
    import deployed

    for name in ("pip/a.py", "pip-25.1.dist-info/RECORD", "spacy/a.py", "spacy/__pycache__/a.pyc"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(50_000))
    (tmp_path / "link").symlink_to(tmp_path / "spacy")
    one = deployed.on_disk(tmp_path / "pip")
    assert one >= 50_000
    assert deployed.on_disk(tmp_path) >= 4 * one
    assert deployed.on_disk(tmp_path, ("pip", "__pycache__")) - one < 10_000


def test_how_alike_two_pipelines_are():
    import deployed_equality

    nlp = spacy.blank("tcm")

    def make(end, score, colour):
        doc = nlp.make_doc("便血，舌红")
        spans = [Span(doc, 0, 2, "SYMPTOM"), Span(doc, 3, end, "TONGUE")]
        doc.set_ents(spans)
        spans[0]._.score = score
        doc._.tongue = {"status": "ok", "attributes": {"body_color": {"value": colour}}}
        return doc

    same = deployed_equality.alike([make(5, 0.9, "red")], [make(5, 0.8, "red")])
    assert (same["tags"]["equal"], same["entities"]["equal"], same["photos"]["equal"]) == (1, 1, 1)
    assert same["entities"]["largest_score_difference"] == pytest.approx(0.1)
    other = deployed_equality.alike([make(5, 0.9, "red")], [make(4, 0.9, "pale")])
    assert other["tags"] == {"count": 5, "equal": 3 / 5}
    assert other["entities"]["equal"] == 1 / 3
    assert other["photos"]["equal"] == 0


def test_scores_of_attributes():
    import deployed_equality

    told = [{"fissure": {"value": "light"}}, {}, {"fissure": {"value": "severe"}}]
    rows = [{"fissure": "light"}, {"fissure": "severe"}, {"fissure": ""}]
    found = deployed_equality.attribute_scores(told, rows, "fissure")
    assert found == {"photos": 2, "accuracy": 0.5, "macro_f": 0.5}


def test_taylor_sees_a_gradient_and_ours_gets_inner_bytes():
    import compression

    torch.manual_seed(0)
    net = TextEncoder(TextEncoderArch(50, 32, 2, 32, 8, ((4, 64), (4, 64)))).eval()
    memory = compression.InnerBytes(ByteModel.of(net, 1, 32), "weights")
    layer = 32 * 32 * 4 + 32 * 3 + 32 * 64 * 2 + 64  # but for biases that stay
    assert memory.whole == 4 * 2 * layer
    assert memory.peak([0, 0, 0, 0]) == 0
    units = prunable(net)
    known: dict = {}
    for method in ("taylor, global", compression.OURS):
        kept, losses = compression.choose(
            units, _Task(net), memory, memory.whole // 2, method, 0, 6, known
        )
        widths = [len(some) for some in kept]
        assert 0.3 * memory.whole < memory.peak(widths) <= memory.whole // 2
        assert list(known) == [("taylor", 0)], "ours ranks by the same"
    assert min(losses.values()) <= losses["taylor, over all units"]
    batch = _Task(net).batches[0]
    for seen, has_gradient in ((batch, False), (compression.sharpened(batch), True)):
        net.zero_grad()
        _Task(net).loss(net, seen).backward()
        weight = net.encoder.layer[0].intermediate.dense.weight
        assert (weight.grad.abs().max() > 1e-4) == has_gradient


class _Task:
    """The divergence of the first eight features' softmax, as `compress.tasks` has it."""

    def __init__(self, net):
        from dataclasses import make_dataclass

        batch_class = make_dataclass("Batch", ["inputs", "scores"])
        generator = torch.Generator().manual_seed(0)
        self.batches = []
        for _ in range(12):
            ids = torch.randint(0, 50, (2, 16), generator=generator)
            inputs = (ids, torch.ones(2, 16, dtype=torch.bool))
            with torch.no_grad():
                scores = net(*inputs)[..., :8].flatten(0, 1)
            self.batches.append(batch_class(inputs, scores))

    def loss(self, net, batch):
        found = net(*batch.inputs)[..., :8].flatten(0, 1)
        return torch.nn.functional.kl_div(
            found.log_softmax(1), batch.scores.softmax(1), reduction="batchmean"
        )


def test_runs_of_pruning():
    import compression

    args = SimpleNamespace(
        nets=["text", "tongue"], methods=["l1", "bn_scale"], shares=[0.3, 0.6], seeds=[0, 1]
    )
    keys = compression.make_keys(args)
    assert keys[:2] == ["text | none | 0 | 0", "tongue | none | 0 | 0"]
    assert len(keys) == len(set(keys)) == 2 + 2 * 2 * 3, "the text encoder has no batch norm"
    runs = {
        "text | none | 0 | 0": {"f": 0.9, "macro_f": 0.8, "error": 0.0, "loss": 0.0},
        "text | l1 | 0.6 | 0": {"f": 0.7, "macro_f": 0.8, "error": 0.2, "loss": 0.1},
        "text | l1 | 0.6 | 1": {"f": 0.8, "macro_f": 0.8, "error": 0.3, "loss": 0.1},
        "tongue | l1 | 0.3 | 0": {"accuracy": 0.5, "macro_f": 0.4, "error": 0.3, "loss": 0.1},
    }
    summary = compression.summarize(runs)
    assert summary["text"]["l1"]["0.6"]["f"]["mean"] == pytest.approx(0.75)
    assert summary["text"]["l1"]["0.6"]["seeds"] == 2
    assert "f" not in summary["tongue"]["l1"]["0.3"]
    import readme

    settings = {"bytes": "weights", "steps": 7, "rounds": 9}
    page = readme.BLOCKS["compression-text"][1]({"summary": summary, "settings": settings})
    assert "Entity F1, per cent; the whole net: 90.0" in page
    assert "|  | 60 % cut |\n| --- | --: |\n| l1 | 75.0 ± 7.1 |" in page
    assert "7 steps of tuning" in page
    page = readme.BLOCKS["compression-tongue"][1]({"summary": summary, "settings": settings})
    assert "| l1 | 50.0 |" in page


DEPLOYED = {
    "data": {
        "many": {"records": 10, "characters": 2000, "longest": 900},
        "few": {"records": 2, "characters": 500, "longest": 300},
        "photos": 12,
    },
    "rounds": 5,
    "throughput": {
        "1": {
            "deployed, text + photo": {
                "records_per_second": 50.0,
                "characters_per_second": 10000.0,
                "times_as_fast": 101.0,
                "photos": {"ok": 9, "rejected": 1},
            },
            "BERT-Large shape, fp32": {
                "records_per_second": 0.4,
                "characters_per_second": 99.0,
                "times_as_fast": 1.0,
                "photos": None,
            },
        }
    },
    "roofline": {
        "peaks": {"INT8, OpenVINO": 2e11},
        "parts": {
            "text": {
                "operations": {"together": 6e8, "alone": 5e8},
                "by_component": {"multimodal_ner": 5e8},
                "operations_per_second": 5e10,
                "share_of_peak": {"INT8, OpenVINO": 0.25},
            }
        },
    },
    "memory": {
        "deployed": {"records": 10, "peak_bytes": 300 * 2**20, "share": 0.1, "torch": False}
    },
    "cold_start": {"deployed": {"seconds": 2.5, "steps": {"load": 1.5, "first record": 1.0}}},
    "size": {
        "environment_bytes": 400 * 2**20,
        "environment_alone_bytes": 380 * 2**20,
        "model_bytes": 20 * 2**20,
        "wheel_bytes": None,
    },
    "latency": {"deployed, text": {"p50": 9.0, "p95": 21.25}},
    "processes": {
        "records": 10,
        "pipe": {"1": 50.0, "2": 90.0},
        "structure": {"1": 5.0, "2": 6.0},
    },
    "equality": {
        "records": 10,
        "tags": {"count": 2000, "equal": 0.9995},
        "entities": {"either": 300, "equal": 0.99, "largest_score_difference": 0.012},
        "photos": {"attributes": 40, "equal": 1.0, "same_status": 1.0},
        "scores": {"dev": {n: {"f": f, "macro_f": f} for n, f in (("a", 0.8), ("b", 0.797))}},
        "attributes": {},
    },
}


@pytest.mark.parametrize(
    ("block", "wanted"),
    [
        ("throughput", "| deployed, text + photo | 1 | 50.00 | 20.0 | 10,000 | **101.0 ×** |"),
        ("throughput", "200 characters in the mean, the longest 900, 9 photos usable"),
        ("roofline", "| text | 0.50 | 0.60 | 50 | 25.0 % |"),
        ("memory", "| deployed | 10 | 300 MB | 10.0 % | no |"),
        ("cold-start", "| deployed | **2.50** | 1.50 | 1.00 |"),
        ("size", "| its wheel | – |"),
        ("latency", "| deployed, text | 9.0 | 21.2 |"),
        ("processes", "| `nlp.pipe` | 50.0 | 90.0 |"),
        ("equality", "| equal tags | 2,000 | 99.950 % |"),
        ("scores", "| dev | F1 | 80.0 | 79.7 | 0.3 |"),
    ],
)
def test_tables_of_the_deployed_pipeline(block, wanted):
    import readme

    file, make = readme.BLOCKS[f"deployed-{block}"]
    assert file == "deployed.json"
    assert wanted in make(DEPLOYED)
    assert make({"data": {}}) == "", "not measured yet"


def test_how_alike_two_heat_maps_are():
    import heat_maps_pruned

    mask = numpy.zeros((10, 10), dtype=bool)
    mask[:, :5] = True  # 50 pixels; the hottest fifth are ten
    heat = numpy.arange(100.0).reshape(10, 10)
    assert heat_maps_pruned.alike(heat, 3 * heat + 1, mask) == {
        "correlation": pytest.approx(1),
        "overlap": 1,
    }
    found = heat_maps_pruned.alike(heat, -heat, mask)
    assert found == {"correlation": pytest.approx(-1), "overlap": 0}
    assert heat_maps_pruned.alike(heat, heat * 0, mask)["correlation"] == 0
    shifted = heat.copy()
    shifted[9] = 0  # of the ten hottest, five are left
    assert heat_maps_pruned.alike(heat, shifted, mask)["overlap"] == 5 / 15


def test_heat_maps_of_a_whole_and_a_pruned_net(tmp_path):
    import compression_page
    import heat_maps_pruned

    photos = [_photo(seed) for seed in range(2)]
    whole = _tongue_net()
    units = prunable(whole, 64)
    kept = [torch.arange(unit.width - (unit.width > 1)) for unit in units.units]
    nets = {heat_maps_pruned.WHOLE: whole, "pruned": units.slice(kept).eval()}
    found = heat_maps_pruned.measure(nets, photos, ["body_color", "fissure"])
    assert set(found) == {"fissure"}, "colours are told without a map"
    rows = found["fissure"]
    assert list(rows) == ["whole", "pruned", heat_maps_pruned.BLOBS]
    assert rows["whole"]["correlation"] == pytest.approx(1)
    assert rows["whole"]["overlap"] == rows["whole"]["same_value"] == 1
    assert rows["pruned"]["correlation"] < 0.999
    assert all(0 <= row["on_tongue"] <= 1 for row in rows.values())
    values = {"body_color": ["light", "dark"], "fissure": ["none", "light", "severe"]}
    heat_maps_pruned.draw(nets, photos, values, tmp_path / "maps.png")
    with Image.open(tmp_path / "maps.png") as picture:
        assert picture.width > picture.height
    settings = {"method": "l1", "steps": 1, "rounds": 1}
    data = {"photos": 2, "settings": settings, "learned_from": 3, "attributes": found}
    page = compression_page.heat_maps(data)
    assert page.count("| fissure |") == 3
    assert "2 photos; pruned by l1" in page


def _tongue_net():
    torch.manual_seed(0)
    trunk = bottleneck_arch(4, (4, 8), (1, 1))
    heads = HeadsArch(pooled_size(trunk), 30, (2, 3), (True, False))
    return TongueNet(TongueArch(trunk, 8, heads)).eval()


def _photo(seed):
    generator = numpy.random.default_rng(seed)
    mask = numpy.zeros((64, 64), dtype=bool)
    mask[8:56, 12:52] = True
    pixels = generator.integers(60, 200, (64, 64, 3)).astype("uint8")
    return Photo(PhotoInfo("ok"), pixels, mask, generator.standard_normal(30).astype("float32"))


def test_mix_of_lengths():
    import dbp

    text = "患者便血三天，舌淡红。" * 2000
    mix = dbp.make_mix(text, 40, 3, 9000, seed=0)
    lengths = sorted(map(len, mix))
    assert len(mix) == 40
    assert lengths[-3:] == [6000, 7500, 9000]
    assert lengths[0] >= 8
    assert lengths[-4] < dbp.LONG
    assert all(part in text for part in mix)
    assert mix == dbp.make_mix(text, 40, 3, 9000, seed=0) != dbp.make_mix(text, 40, 3, 9000, seed=1)


def test_results_with_a_budget_are_compared():
    import dbp

    own = {"entities": [[[0, 2, "HERB", 0.5]], [[1, 2, "TIME", 0.25]]], "peak": 9, "seconds": 2.0}
    own["counters"] = None
    other = {**own, "peak": 4, "entities": [[[0, 2, "HERB", 0.375]], [[0, 2, "TIME", 0.25]]]}
    found = dbp.compare(["便血", "舌红"], other, own)
    assert found["peak_bytes"] == 4
    assert found["records_per_second"] == 1
    assert found["completed"] == 2
    assert found["records_with_equal_entities"] == 1
    assert found["largest_difference_of_scores"] == 0.125
    assert dbp.compare(["便血"], None, own) == {"completed": 0}


def test_bounds_are_taken_away(monkeypatch):
    import dbp

    from spacy_tcm.models import multimodal_crf, text_graph
    from spacy_tcm.pipeline import multimodal_ner

    for module in (multimodal_crf, text_graph, multimodal_ner):
        for name in ("LONGEST", "MAX_PADDED", "MAX_TOKENS", "ENCODER", "TAGGER"):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, getattr(module, name))
    nlp = spacy.blank("tcm")
    doc = nlp.make_doc("口干" * 4000)
    assert len(multimodal_crf.cut_long([doc])) > 1
    dbp.unbind(nlp)
    assert len(multimodal_crf.cut_long([doc])) == 1
    assert len(list(text_graph._batches([10] * 500, *text_graph.ENCODER))) == 1


def test_table_of_budgets():
    import readme

    row = {
        "peak_bytes": 1000 * 2**20,
        "completed": 40,
        "records_with_equal_entities": 39,
        "largest_difference_of_scores": 0.0,
        "batching": None,
    }
    tight = {"peak_bytes": 400 * 2**20, "batching": {"budget_bytes": 500 * 2**20}}
    data = {
        "ours": {
            "records": 40,
            "characters": 30000,
            "long_records": 3,
            "rows": {"without": row, "tight": {**row, **tight}, "loose": {"completed": 0}},
            "trials": [{"within": True, "completed": True}, {"within": False, "completed": True}],
        }
    }
    file, make = readme.BLOCKS["dbp"]
    assert file == "dbp.json"
    found = make(data)
    assert "| ours | without | – | 1000 MB | – | 40 of 40 | 39 | 0 |" in found
    assert "| ours | tight | 500 MB | 400 MB | 60.0 % | 40 of 40 | 39 | 0 |" in found
    assert "| ours | loose | – | – | – | 0 of 40 | – | – |" in found
    assert "at most the budget 1 of 2, all records done 2 of 2" in found
