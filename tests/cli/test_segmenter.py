import json

import numpy
import pytest
from PIL import Image
from typer.testing import CliRunner

from spacy_tcm.cli.app import app
from spacy_tcm.models.segmenter import build_tongue_segmenter


@pytest.fixture
def folder(tmp_path):
    """Photos of a disk each, with masks."""
    y, x = numpy.mgrid[:64, :64]
    for name in ("images", "masks"):
        (tmp_path / "photos" / name).mkdir(parents=True)
    for n in range(6):
        disk = (y - 30) ** 2 + (x - 28 - n) ** 2 < 18**2
        pixels = numpy.where(disk[..., None], (190, 80, 95), (205, 160, 130)).astype("uint8")
        Image.fromarray(pixels).save(tmp_path / "photos" / "images" / f"{n}.png")
        Image.fromarray(disk).save(tmp_path / "photos" / "masks" / f"{n}.png")
    return tmp_path / "photos"


def run(*arguments):
    return CliRunner().invoke(app, ["segmenter", *map(str, arguments)])


def test_trains_measures_and_can_be_used(folder, tmp_path):
    out = tmp_path / "segmenter.safetensors"
    options = ["--epochs", 2, "--batch-size", 2, "--image-size", 64, "--threads", 1]
    result = run(out, "--photos", folder, "--held-out", 0.4, *options)
    assert result.exit_code == 0, result.output
    summary = json.loads(out.with_suffix(".json").read_text(encoding="utf8"))
    held_out = summary["dice"]["photos"]["photos"]
    assert summary["trained_on"] + held_out == 6
    assert 0 <= summary["dice"]["photos"]["mean"] <= 1
    assert f"on {held_out} photos held out" in result.output
    model = build_tongue_segmenter(str(out), image_size=64)
    model.initialize()
    assert model.predict(numpy.zeros((2, 64, 64, 3), dtype="uint8")).shape == (2, 64, 64)


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["--image-size", 50], "E452"),
        (["--trunk", "nowhere.safetensors"], "E377"),
    ],
)
def test_errors(folder, tmp_path, options, code):
    result = run(tmp_path / "out.safetensors", "--photos", folder, *options)
    assert result.exit_code == 1
    assert code in result.stderr


def test_nothing_left_to_learn_from(folder, tmp_path):
    rows = "".join(f"{n},dev\n" for n in range(6))
    (folder / "labels.csv").write_text("image,split\n" + rows, encoding="utf8")
    result = run(tmp_path / "out.safetensors", "--photos", folder)
    assert result.exit_code == 1
    assert "E376" in result.stderr
