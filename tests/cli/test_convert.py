import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from spacy_tcm.cli.convert import convert
from spacy_tcm.training.reading import read_records

app = typer.Typer()
app.command()(convert)

MARKED = """\
=== {id} | 肛肠科 | note
⟦便血|SYMPTOM⟧⟦3天|TIME⟧，服药⟦30mg|DOSAGE⟧bid。
--- fields
{{"一般.病程": {{"value": {value}, "unit": "日", "evidence": "便血3天"}}}}
--- meta
{{"tongue": {{}}}}
"""
FIELDS = Path(__file__).parents[2] / "assets" / "fields.json"


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    folder = tmp_path / "notes"
    folder.mkdir()
    for name in ("a", "b", "c"):
        text = MARKED.format(id=f"{name}1", value=3) + "\n" + MARKED.format(id=f"{name}2", value=3)
        (folder / f"{name}.txt").write_text(text, encoding="utf-8")
    return folder


def split_file(path: Path, **parts) -> Path:
    path.write_text(json.dumps(parts), encoding="utf-8")
    return path


def test_writes_one_file_per_input_that_reads_back(notes, tmp_path):
    out = tmp_path / "out"
    result = run(notes, out, "--fields", FIELDS)
    assert result.exit_code == 0
    assert f"{out / 'a.jsonl'}: 2 records, 6 entities" in result.output
    assert sorted(path.name for path in out.iterdir()) == ["a.jsonl", "b.jsonl", "c.jsonl"]
    assert list(read_records(out)) == list(read_records(notes))
    assert "便血" in (out / "a.jsonl").read_text(encoding="utf-8")


def test_splits_by_file(notes, tmp_path):
    split = split_file(tmp_path / "split.json", train=["a", "c"], dev=["b"])
    out = tmp_path / "out"
    assert run(notes, out, "--split", split).exit_code == 0
    assert sorted(path.name for path in out.iterdir()) == ["dev.jsonl", "train.jsonl"]
    assert [r["id"] for r in read_records(out / "train.jsonl")] == ["a1", "a2", "c1", "c2"]
    assert [r["id"] for r in read_records(out / "dev.jsonl")] == ["b1", "b2"]


@pytest.mark.parametrize(
    ("parts", "code"),
    [
        ({"train": ["a", "b"]}, "E341"),
        ({"train": ["a", "b", "c"], "dev": ["a"]}, "E341"),
        ({"train": ["a", "b", "c", "d"]}, "E342"),
        ({"train": "a"}, "E340"),
    ],
)
def test_a_split_that_does_not_name_every_file_once(notes, tmp_path, parts, code):
    split = split_file(tmp_path / "split.json", **parts)
    result = run(notes, tmp_path / "out", "--split", split)
    assert result.exit_code == 1
    assert code in result.output


def test_spacy_format_keeps_what_tokens_cannot_express(notes, tmp_path):
    out = tmp_path / "out"
    assert run(notes, out, "--format", "spacy").exit_code == 0
    for record, source in zip(read_records(out), read_records(notes), strict=True):
        assert record["entities"] == source["entities"]
        assert (record["id"], record["text"]) == (source["id"], source["text"])


def test_label_map_makes_a_partial_corpus(tmp_path):
    source = tmp_path / "other.jsonl"
    record = {"id": "1", "text": "便血3天", "entities": [[0, 2, "症状"], [2, 4, "时间"]]}
    source.write_text(json.dumps(record), encoding="utf-8")
    label_map = tmp_path / "map.json"
    label_map.write_text(json.dumps({"症状": "SYMPTOM", "时间": None}), encoding="utf-8")
    assert run(source, tmp_path / "out", "--label-map", label_map).exit_code == 0
    (written,) = read_records(tmp_path / "out")
    assert written["entities"] == [[0, 2, "SYMPTOM"]]
    assert written["labels"] == ["SYMPTOM"]
    for wrong in ("SYMPTOMS", ["SIGN", "SYMPTOMS"], [["SIGN"]], 3):
        label_map.write_text(json.dumps({"症状": wrong}), encoding="utf-8")
        assert "E345" in run(source, tmp_path / "out", "--label-map", label_map).output


@pytest.mark.parametrize("form", ["jsonl", "spacy"])
def test_label_map_to_one_of_several(tmp_path, form):
    source = tmp_path / "other.jsonl"
    record = {"id": "1", "text": "便血3天", "entities": [[0, 2, "症状"]]}
    source.write_text(json.dumps(record), encoding="utf-8")
    label_map = tmp_path / "map.json"
    label_map.write_text(json.dumps({"症状": ["SYMPTOM", "SIGN"]}), encoding="utf-8")
    out = tmp_path / "out"
    result = run(source, out, "--label-map", label_map, "--format", form)
    assert result.exit_code == 0, result.output
    (written,) = read_records(out)
    assert written["entities"] == [[0, 2, "SYMPTOM|SIGN"]]
    assert written["labels"] == ["SIGN", "SYMPTOM"]


@pytest.mark.parametrize(
    ("change", "code", "line"),
    [
        (lambda text: text.replace("⟦便血|SYMPTOM⟧", "⟦便血|COMPLAINT⟧"), "E313", "line 1"),
        (lambda text: text.replace('"便血3天"', '"便血4天"'), "E315", "line 1"),
        (lambda text: text.replace('"日"', '"时"'), "E319", "line 1"),
        (lambda text: text.replace("b2 |", "a1 |"), "E316", "line 8"),
        (lambda text: text.replace("⟦便血|SYMPTOM⟧", "⟦便血|SYMPTOM"), "E332", "line 2"),
    ],
)
def test_a_wrong_record_stops_all_with_its_place_and_nothing_written(
    notes, tmp_path, change, code, line
):
    path = notes / "b.txt"
    path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")
    result = run(notes, tmp_path / "out", "--fields", FIELDS)
    assert result.exit_code == 1
    assert f"[{code}]" in result.output
    assert f"b.txt, {line}, " in result.output
    assert "便血" not in result.output
    assert not (tmp_path / "out").exists()


def test_never_overwrites_an_input_or_another_output(tmp_path):
    record = json.dumps({"id": "1", "text": "", "entities": []})
    (tmp_path / "x").mkdir()
    for path in (tmp_path / "a.jsonl", tmp_path / "x" / "a.jsonl"):
        path.write_text(record, encoding="utf-8")
    assert "E343" in run(tmp_path / "a.jsonl", tmp_path).output
    both = run(tmp_path / "a.jsonl", tmp_path / "x" / "a.jsonl", tmp_path / "out")
    assert both.exit_code == 1
    assert "E344" in both.output


def test_the_output_is_a_file(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"id": "1", "text": "", "entities": []}), encoding="utf-8")
    before = path.read_bytes()
    result = run(path, path)
    assert result.exit_code == 1
    assert "[E533]" in result.output
    assert path.read_bytes() == before


def test_the_first_problem_points_to_the_command_that_lists_all(notes, tmp_path):
    assert "spacy_tcm check" not in run(notes, tmp_path / "out").output
    path = notes / "a.txt"
    path.write_text(path.read_text(encoding="utf-8").replace("SYMPTOM", "X"), encoding="utf-8")
    result = run(notes, tmp_path / "out2")
    assert result.exit_code == 1
    assert result.output.count("[E313]") == 1
    assert "`python -m spacy_tcm check`" in result.output
