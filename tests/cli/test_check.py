import json
from pathlib import Path

import typer
from typer.testing import CliRunner

from spacy_tcm.cli.check import check

app = typer.Typer()
app.command()(check)

GOOD = {"id": "good", "text": "便血3天", "entities": [[0, 2, "SYMPTOM"], [2, 4, "TIME"]]}
CUT = {"id": "cut", "text": "服药30mgbid", "entities": [[2, 6, "DOSAGE"]]}


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def write(path: Path, *records: dict) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def test_a_good_corpus_passes(tmp_path):
    result = run(write(tmp_path / "a.jsonl", GOOD))
    assert result.exit_code == 0
    assert "1 records, 0 photos (0 missing)" in result.output


def test_misaligned_entities_above_the_threshold_fail(tmp_path):
    path = write(tmp_path / "a.jsonl", GOOD, CUT)
    result = run(path)
    assert result.exit_code == 1
    assert "record 'cut', [2, 6) DOSAGE" in result.output
    assert "33.33% > 1.00%" in result.output
    assert "服药" not in result.output
    assert run(path, "--max-misaligned", "0.34").exit_code == 0


def test_problems_and_missing_photos_fail(tmp_path):
    overlap = {**GOOD, "entities": [[0, 2, "SYMPTOM"], [1, 4, "TIME"]]}
    result = run(write(tmp_path / "a.jsonl", overlap))
    assert result.exit_code == 1
    assert "problems: overlap: 1" in result.output
    result = run(write(tmp_path / "b.jsonl", {**GOOD, "image": "1.jpg"}), "--images", tmp_path)
    assert result.exit_code == 1
    assert "missing photos: 1" in result.output


def test_a_corpus_without_a_record_fails(tmp_path):
    result = run(write(tmp_path / "a.jsonl"))
    assert result.exit_code == 1
    assert "[E352]" in result.output


def test_a_corpus_that_is_not_there(tmp_path):
    result = run(tmp_path / "none.jsonl")
    assert result.exit_code == 1
    assert "[E301]" in result.output
    assert "Traceback" not in result.output


def test_a_photo_name_too_long_is_one_missing_photo(tmp_path):
    long = {**GOOD, "id": "long", "image": "x" * 300 + ".jpg"}
    result = run(write(tmp_path / "a.jsonl", long, CUT))
    assert result.exit_code == 1
    assert "2 records, 1 photos (1 missing)" in result.output
    assert "line 1, record 'long'" in result.output
    assert "record 'cut', [2, 6) DOSAGE" in result.output
    assert "xxx" not in result.output
