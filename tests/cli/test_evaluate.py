import json
from pathlib import Path

import pytest
import spacy
import typer
from typer.testing import CliRunner

from spacy_tcm.cli.evaluate import evaluate

app = typer.Typer()
app.command()(evaluate)

RECORDS = [
    {"id": "1", "text": "便血3天", "entities": [[0, 2, "SYMPTOM"], [2, 4, "TIME"]]},
    {"id": "2", "text": "咳嗽", "entities": [[0, 2, "SYMPTOM"]], "image": "2.jpg"},
]


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    nlp = spacy.blank("tcm")
    ruler = nlp.add_pipe("entity_ruler")
    ruler.add_patterns([{"label": "SYMPTOM", "pattern": "便血"}])
    path = tmp_path_factory.mktemp("model")
    nlp.to_disk(path)
    return path


@pytest.fixture
def corpus(tmp_path) -> Path:
    path = tmp_path / "dev.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in RECORDS), encoding="utf-8")
    return path


def test_prints_a_table_and_writes_json(model, corpus, tmp_path):
    output = tmp_path / "made" / "metrics.json"
    result = run(model, corpus, "--train", corpus, "--output", output)
    assert result.exit_code == 0, result.output
    metrics = json.loads(output.read_text(encoding="utf-8"))
    assert metrics["exact"]["precision"] == 1
    assert metrics["exact"]["recall"] == pytest.approx(1 / 3)
    assert metrics["rare"] == {"recall": None, "gold": 0, "correct": 0}
    # The photo is on the Doc, though no component of this pipeline looks at it.
    assert metrics["images"] == {"none": 1, "not_run": 1}
    rows = {line.split()[0]: line.split()[1:] for line in result.output.splitlines() if line}
    assert rows["SYMPTOM"] == ["100.0", "50.0", "66.7", "66.7", "2", "1"]
    assert rows["TIME"] == ["-", "0.0", "0.0", "0.0", "1", "0"]
    assert rows["all"] == ["100.0", "33.3", "50.0", "50.0", "3", "1"]


def test_user_errors_are_one_message(model, corpus, tmp_path):
    (tmp_path / "empty.jsonl").touch()
    for arguments, code in [
        ((tmp_path / "none", corpus), "E504"),
        ((tmp_path, corpus), "E504"),
        ((model, tmp_path / "none.jsonl"), "E301"),
        ((model, tmp_path / "empty.jsonl"), "E352"),
    ]:
        result = run(*arguments)
        assert result.exit_code == 1
        assert f"[{code}]" in result.output
        assert "Traceback" not in result.output


def test_an_output_that_cannot_be_written_is_said_before_the_work(model, corpus, tmp_path):
    for model_or_none in (model, tmp_path / "none"):
        result = run(model_or_none, corpus, "--output", tmp_path)
        assert result.exit_code == 1
        assert "[E534]" in result.output
        assert "SYMPTOM" not in result.output
