"""`calibrate` with a table of labelled photos: pipeline, heads, and clear errors."""

import pytest
import spacy
from PIL import Image
from typer.testing import CliRunner

from spacy_tcm.cli.app import app
from spacy_tcm.images.render import random_attributes, render_tongue
from spacy_tcm.models.tongue import read_heads
from spacy_tcm.training.tongue.photos import create_photo_corpus

from ..tongues import EFFICIENTNET

MODEL = {**EFFICIENTNET, "image_size": 32, "segmenter": None}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    (folder / "images").mkdir()
    lines = ["image,body_color,split"]
    for seed in range(24):
        color = ("light", "dark")[seed % 2]
        picture = render_tongue(
            {**random_attributes(seed), "body_color": color}, size=64, seed=seed
        )
        Image.fromarray(picture).save(folder / "images" / f"{seed}.jpg")
        lines.append(f"{seed},{color},train")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf8")
    nlp = spacy.blank("tcm")
    nlp.add_pipe("tongue_encoder", config={"model": MODEL})
    examples = list(create_photo_corpus(folder / "labels.csv")(nlp))
    nlp.initialize(lambda: examples)
    nlp.to_disk(folder / "model")
    return folder


def run(*arguments):
    return CliRunner().invoke(app, ["calibrate", *map(str, arguments)])


def test_temperatures_bounds_and_heads_are_written(folder, tmp_path):
    heads = tmp_path / "heads.safetensors"
    model, labels, out = folder / "model", folder / "labels.csv", tmp_path / "out"
    result = run(model, labels, out, "--split", "train", "--heads", heads)
    assert result.exit_code == 0, result.output
    assert "body_color: 24 photos, temperature" in result.output
    pipe = spacy.load(out).get_pipe("tongue_encoder")
    _, about = read_heads(heads)
    assert about["temperatures"] == pytest.approx(pipe.temperatures)
    assert about["bounds"] == pytest.approx(pipe.bounds)
    assert about["most_distant"] == pytest.approx(pipe.cfg["most_distant"])
    assert set(pipe.temperatures) == set(pipe.bounds) == {"body_color"}
    assert about["attributes"] == pipe.attributes


def test_errors_name_the_remedy_and_write_nothing(folder, tmp_path):
    out = tmp_path / "out"
    spacy.blank("tcm").to_disk(tmp_path / "blank")
    table = (folder / "labels.csv").read_text(encoding="utf8")
    (folder / "other.csv").write_text(table.replace("light", "x").replace("dark", "y"), "utf8")
    for model, labels, more, error in (
        (folder / "model", "labels.csv", ["--split", "dev"], "E383"),
        (folder / "model", "labels.csv", ["--target", "2"], "E448"),
        (folder / "model", "other.csv", [], "E447"),
        (tmp_path / "blank", "labels.csv", [], "E446"),
    ):
        result = run(model, folder / labels, out, *more)
        assert result.exit_code == 1
        assert error in result.output
    assert not out.exists()
