import json

import pytest
from typer.testing import CliRunner

from spacy_tcm.cli.app import app
from spacy_tcm.training.pretraining.encoder import EncoderShape, build_encoder

TEXTS = [f"患者口干{number}天，舌淡红，苔薄白。" for number in "一二三四五六七八九十"]
SHAPE = ["--hidden", 16, "--layers", 2, "--heads", 2, "--feed-forward", 32]
SMALL = ["--length", 32, "--batch-tokens", 256, "--threads", 1]


@pytest.fixture
def folder(tmp_path):
    """With a teacher of 4 layers and texts."""
    shape = EncoderShape(hidden=24, layers=4, heads=4, feed_forward=32, positions=64)
    build_encoder(TEXTS, tmp_path / "teacher", shape=shape)
    (tmp_path / "texts.txt").write_text("\n".join(TEXTS), encoding="utf8")
    return tmp_path


def run(folder, *args):
    given = ["distill", folder / "teacher", folder / "out", "--domain", folder / "texts.txt"]
    return CliRunner().invoke(app, [*map(str, [*given, *SMALL, *args])])


def test_a_local_teacher_makes_a_student(folder):
    from transformers import AutoModel

    result = run(folder, *SHAPE, "--steps", 3)
    assert result.exit_code == 0, result.output
    assert "scores before the softmax" in result.output
    out = folder / "out"
    config = AutoModel.from_pretrained(out).config
    assert (config.hidden_size, config.num_hidden_layers) == (16, 2)
    assert (out / "pretraining.png").exists()
    longer = run(folder, *SHAPE, "--steps", 5)
    assert longer.exit_code == 0, longer.output
    record = json.loads((out / "pretraining.json").read_text(encoding="utf8"))
    assert [entry["step"] for entry in record["history"]] == [3, 5]
    assert record["history"][0]["attention_loss"] > 0
    assert record["settings"]["teacher"] == str(folder / "teacher")
    other = run(folder, *SHAPE, "--steps", 5, "--mlm-weight", 0.5)
    assert other.exit_code == 1
    assert "[E418]" in other.output


def test_what_cannot_be_is_said_before_anything_is_written(folder):
    for arguments, code in [
        ((*SHAPE, "--layers", 3), "E427"),
        ((*SHAPE, "--student", folder / "none"), "E428"),
        ((*SHAPE, "--length", 100), "E425"),
    ]:
        result = run(folder, *arguments)
        assert result.exit_code == 1, result.output
        assert f"[{code}]" in result.output
    assert not (folder / "out").exists()
