"""`compress` from end to end, on a narrow pipeline of both parts."""

import json
from pathlib import Path

import numpy
import pytest
import spacy
import torch
from PIL import Image
from spacy.training.initialize import init_nlp
from spacy.util import load_config
from typer.testing import CliRunner

from spacy_tcm.cli.app import app
from spacy_tcm.compress.memory import ByteModel, Calibration
from spacy_tcm.compress.tasks import TextTask, TongueTask
from spacy_tcm.compress.units import prunable
from spacy_tcm.images.render import random_attributes, render_tongue
from spacy_tcm.training.pretraining.encoder import EncoderShape, build_encoder

# OpenVINO reads torch's nets through a trace, which torch has deprecated and warns of.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*torch.jit"),
    pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning"),
]
CONFIG = Path(__file__).parents[2] / "configs" / "tinybert.cfg"
TEXTS = ["便血3天，色鲜红，舌淡红。", "口干，苔黄腻，脉弦数。", "头痛2周，舌红。"]


@pytest.fixture(scope="module")
def folder(narrow, tmp_path_factory):
    """A pipeline in model/, records in records.jsonl, photos in images/."""
    folder = tmp_path_factory.mktemp("compress")
    shape = EncoderShape(hidden=24, layers=2, heads=4, feed_forward=64, positions=64)
    build_encoder(TEXTS, folder / "encoder", shape=shape)
    (folder / "images").mkdir()
    lines = []
    for i, text in enumerate(TEXTS):
        picture = render_tongue(random_attributes(i), size=64, seed=i)
        Image.fromarray(picture).save(folder / "images" / f"{i}.jpg")
        record = {"id": str(i), "text": text, "image": f"images/{i}.jpg"}
        lines.append(json.dumps({**record, "entities": [[0, 2, "SYMPTOM"]]}, ensure_ascii=False))
    (folder / "records.jsonl").write_text("\n".join(lines) + "\n", encoding="utf8")
    paths = {
        "paths.train": str(folder / "records.jsonl"),
        "paths.tune": str(folder / "records.jsonl"),
        "paths.images": str(folder),
        "paths.lexicon": None,
        "paths.encoder": str(folder / "encoder"),
        "components.tongue_encoder.model.inner": [32, 32],
    }
    init_nlp(load_config(CONFIG, overrides={**narrow, **paths})).to_disk(folder / "model")
    return folder


def run(folder, out, *arguments):
    base = [folder / "model", out, "--validation", folder / "records.jsonl", "--steps", 20]
    sizes = ["--batch", 2, "--length", 32]
    return CliRunner().invoke(app, ["compress", *map(str, [*base, *sizes, *arguments])])


def test_both_parts_under_one_budget(folder, tmp_path):
    out = tmp_path / "out"
    result = run(folder, out, "--budget", "85%", "--no-int8")
    assert result.exit_code == 0, repr(result.exception)
    report = json.loads((out / "report.json").read_text("utf8"))
    found = report["budgets"]["tongue+text"]
    assert found["peak"]["measured"] == found["peak"]["predicted"] <= found["budget"]
    assert found["peak"]["measured"] < found["peak"]["before"]
    assert found["budget_of"] == "peak"
    assert any(unit["kept"] < unit["width"] for unit in found["units"])
    assert {unit["name"].split(".")[0] for unit in found["units"]} == {"tongue", "text"}
    assert set(found["dynamic"]) == {"tongue", "text"}
    assert all(0 < d["computation"] <= 1 == d["stored"] for d in found["dynamic"].values())
    assert set(report["scores"]) == {"before", "pruned"}
    assert report["scores"]["pruned"]["records"] == len(TEXTS)
    for unit in found["units"]:
        assert unit["name"] in result.output
    text = (out / "report.md").read_text("utf8")
    assert f"What was made is the choice of: {found['method']}" in text
    for name in ("widths_tongue+text.png", "search_tongue+text.png"):
        with Image.open(out / name) as picture:
            assert picture.width > 100
    nlp = spacy.load(out / "model")
    assert "transformer" not in nlp.pipe_names
    doc = nlp.make_doc(TEXTS[0])
    doc._.tongue_image = str(folder / "images" / "0.jpg")
    doc = nlp(doc)
    assert doc._.tongue["status"] == "ok"
    assert doc.has_annotation("ENT_IOB")

    again = run(folder, out, "--budget", "85%", "--no-int8")
    assert again.exit_code == 1
    assert "E412" in again.output
    (out / "report.json").unlink()
    resumed = run(folder, out, "--budget", "85%", "--no-int8", "--resume")
    assert resumed.exit_code == 0, resumed.output
    assert json.loads((out / "report.json").read_text("utf8"))["budgets"] == report["budgets"]


@pytest.mark.filterwarnings("ignore:.*W478")
def test_one_part_by_importance_in_int8(folder, tmp_path):
    result = run(folder, tmp_path, "--budget", "90%", "--parts", "text", "--method", "l1")
    assert result.exit_code == 0, repr(result.exception)
    report = json.loads((tmp_path / "report.json").read_text("utf8"))
    assert list(report["budgets"]) == ["text"]
    assert report["budgets"]["text"]["method"] == "l1"
    assert "No search was asked for" in (tmp_path / "report.md").read_text("utf8")
    assert any(graph["quantised"] for graph in report["int8"])
    assert spacy.load(tmp_path / "model")(TEXTS[0]).has_annotation("ENT_IOB")


def test_a_size_is_what_a_process_takes(folder, tmp_path):
    """Tensors of so small a net are far below what torch takes to run it."""
    net = TextTask(spacy.load(folder / "model"), TEXTS).net
    line = Calibration.read(net)
    model = ByteModel.of(net, batch=2, size=32)
    least, whole = ([w if w < 16 else n for w in model.widths] for n in (16, 64))
    budget = (line.apply(model.peak(least)) + line.apply(model.peak(whole))) // 2
    options = ("--parts", "text", "--method", "l1", "--no-int8")
    result = run(folder, tmp_path / "out", "--budget", f"{budget}B", *options)
    assert result.exit_code == 0, repr(result.exception)
    found = json.loads((tmp_path / "out" / "report.json").read_text("utf8"))["budgets"]["text"]
    assert found["budget_of"] == "process"
    kept = [unit["kept"] for unit in found["units"]]
    assert found["process"]["predicted"] == line.apply(model.peak(kept)) <= budget
    assert found["process"]["before"] == line.apply(model.peak(whole)) > budget
    assert found["peak"]["measured"] == model.peak(kept) < found["process"]["predicted"]
    text = (tmp_path / "out" / "report.md").read_text("utf8")
    assert f"| peak of a process | {found['process']['before'] / 1e6:.2f} MB |" in text
    assert f"Budget of the process: {budget / 1e6:.2f} MB" in result.output
    too_small = line.apply(0)
    result = run(folder, tmp_path / "none", "--budget", f"{too_small}B", *options)
    assert result.exit_code == 1
    assert "E491" in result.output


def test_budgets_of_their_own(folder, tmp_path):
    options = ("--text-budget", "95%", "--no-int8", "--method", "l1")
    result = run(folder, tmp_path, "--budget", "90%", *options)
    assert result.exit_code == 0, repr(result.exception)
    found = json.loads((tmp_path / "report.json").read_text("utf8"))["budgets"]
    assert list(found) == ["tongue", "text"]
    for budget in found.values():
        assert budget["peak"]["measured"] <= budget["budget"]


def test_losses_are_those_of_the_pipeline(folder):
    """Without a change there is no loss; what the tagger makes of the vectors is in it."""
    nlp = spacy.load(folder / "model")
    text = TextTask(nlp, TEXTS, batch_size=2)
    assert [batch.rest is not None for batch in text.batches] == [True, True]
    images = [str(folder / "images" / f"{i}.jpg") for i in range(len(TEXTS))]
    tongue = TongueTask(nlp.get_pipe("tongue_encoder"), [*images, "nowhere.jpg"], batch_size=2)
    assert len(tongue.photos) == len(TEXTS)
    for task in (text, tongue):
        net = prunable(task.net, 32)
        gates = [torch.zeros(unit.width) for unit in net.units]
        with torch.no_grad():
            for batch in task.batches:
                assert float(task.loss(task.net, batch)) == pytest.approx(0, abs=1e-6)
                with net.gated(gates):
                    assert float(task.loss(task.net, batch)) > 1e-5
    emissions = text.batches[0].rest.emissions
    docs = [nlp.make_doc(t) for t in TEXTS[:2]]
    nlp.get_pipe("transformer").set_annotations(docs, nlp.get_pipe("transformer").predict(docs))
    nlp.get_pipe("tongue_encoder").set_annotations(
        docs, nlp.get_pipe("tongue_encoder").predict(docs)
    )
    wanted = nlp.get_pipe("multimodal_ner").model.predict(docs)
    assert numpy.allclose(numpy.concatenate(wanted), emissions, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["--budget", "1KB"], "E491"),
        (["--budget", "much"], "E527"),
        (["--budget", "60%", "--parts", "lungs"], "E499"),
        (["--budget", "60%", "--method", "magic"], "E499"),
        (["--budget", "60%", "--method", "bn_scale"], "E499"),
        (["--budget", "60%", "--photos", "nowhere"], "E499"),
    ],
)
def test_bad_input_is_told(folder, tmp_path, options, code):
    result = run(folder, tmp_path / "out", *options)
    assert result.exit_code == 1
    assert code in result.output
    assert "Traceback" not in result.output
    assert not any(text in result.output for text in TEXTS)
