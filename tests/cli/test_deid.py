import json
import stat

import pytest
import typer
from typer.testing import CliRunner

from spacy_tcm.cli.deid import deid
from spacy_tcm.records.inputs import InputOptions, read_inputs

app = typer.Typer()
app.command()(deid)

ROWS = [
    {"id": "ZY0012", "patient": "张伟", "text": "患者张伟，男，2024年3月5日来诊。"},
    {"id": "ZY0013", "patient": "张伟", "text": "患者张伟，男，2024年3月12日复诊。"},
    {"id": "ZY0014", "patient": 7, "text": "便血3天。"},
    {"id": "ZY0015", "text": "患者张伟，男，黄芪30g"},
]


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def lines(path):
    return [json.loads(line) for line in path.read_text("utf8").splitlines()]


@pytest.fixture
def notes(tmp_path):
    path = tmp_path / "notes.jsonl"
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS), "utf8")
    return path


@pytest.fixture
def key(tmp_path):
    path = tmp_path / "key"
    path.write_text("0123456789abcdef", "utf8")
    return path


def test_masked_copies_tell_nobody(notes, tmp_path):
    out = tmp_path / "out"
    result = run(notes, "--out", out)
    assert result.exit_code == 0, result.output
    assert f"{out}: 4 records, 5 identifiers replaced, 0 records not read" in result.output
    records = lines(out / "records.jsonl")
    assert [r["text"] for r in records] == [
        "患者[姓名]，男，[日期]来诊。",
        "患者[姓名]，男，[日期]复诊。",
        "便血3天。",
        "患者[姓名]，男，黄芪30g",
    ]
    assert records[0]["patient"] == records[1]["patient"] != records[2]["patient"]
    assert json.loads((out / "audit.json").read_text("utf8")) == {
        "action": "placeholder",
        "records": 4,
        "photos": 0,
        "errors": 0,
        "identifiers": 5,
        "by_kind": {"DATE": 2, "NAME": 3},
    }
    assert {path.name for path in out.iterdir()} == {"records.jsonl", "errors.jsonl", "audit.json"}
    for path in out.iterdir():
        assert not any(word in path.read_text("utf8") for word in ("张伟", "ZY00", "3月"))
    copies = list(read_inputs(out / "records.jsonl", InputOptions()))
    assert [copy.id for copy in copies] == [r["id"] for r in records]


def test_surrogates_follow_from_patient_and_key(notes, tmp_path, key):
    for name in ("a", "b"):
        options = ("--action", "surrogate", "--key-file", key)
        assert run(notes, "--out", tmp_path / name, *options).exit_code == 0
    first, second, _, other = (r["text"] for r in lines(tmp_path / "a" / "records.jsonl"))
    assert first[:5] == second[:5] != other[:5]
    assert lines(tmp_path / "a" / "records.jsonl") == lines(tmp_path / "b" / "records.jsonl")
    assert run(notes, "--out", tmp_path / "c", "--action", "surrogate").exit_code == 0
    assert lines(tmp_path / "c" / "records.jsonl") != lines(tmp_path / "a" / "records.jsonl")


def test_the_map_brings_all_back(notes, tmp_path):
    out, map_file = tmp_path / "out", tmp_path / "map.jsonl"
    map_file.write_text("old", "utf8")
    assert run(notes, "--out", out, "--map", map_file).exit_code == 0
    assert stat.S_IMODE(map_file.stat().st_mode) == 0o600
    for row, copy, entry in zip(ROWS, lines(out / "records.jsonl"), lines(map_file), strict=True):
        assert (entry["id"], entry["new_id"]) == (row["id"], copy["id"])
        text = copy["text"]
        for item in reversed(entry["items"]):
            text = text[: item["new_start"]] + item["value"] + text[item["new_end"] :]
        assert text == row["text"]


def test_photos_are_named_only_where_that_is_asked_for(notes, tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "ZY0014.jpg").write_bytes(b"")
    result = run(notes, "--out", tmp_path / "a", "--images", photos)
    assert "1 records have a photo, which the copies do not name" in result.output
    assert all("image" not in row for row in lines(tmp_path / "a" / "records.jsonl"))

    result = run(notes, "--out", tmp_path / "b", "--images", photos, "--keep-image-names")
    assert result.exit_code == 0
    assert "a photo" not in result.output
    images = [row.get("image") for row in lines(tmp_path / "b" / "records.jsonl")]
    assert images == [None, None, "ZY0014.jpg", None]
    assert json.loads((tmp_path / "b" / "audit.json").read_text("utf8"))["photos"] == 1

    result = run(notes, "--out", tmp_path / "c", "--keep-image-names")
    assert "[E639]" in result.output
    assert result.exit_code == 1


def test_ids_can_stay(notes, tmp_path):
    assert run(notes, "--out", tmp_path / "out", "--keep-ids").exit_code == 0
    assert [r["id"] for r in lines(tmp_path / "out" / "records.jsonl")] == [r["id"] for r in ROWS]


def test_what_cannot_be_read_is_told_without_the_text(notes, tmp_path):
    with notes.open("a", encoding="utf8") as stream:
        stream.write('\n{"id": "ZY0016", "text": ["张伟"]}\n{"text": "张伟')
    out = tmp_path / "out"
    result = run(notes, "--out", out)
    assert result.exit_code == 1
    assert [(e["number"], e["code"]) for e in lines(out / "errors.jsonl")] == [
        (5, "E512"),
        (6, "E511"),
    ]
    assert not any(word in result.output for word in ("张伟", "ZY00"))
    assert "张伟" not in (out / "errors.jsonl").read_text("utf8")


def test_a_table_of_ones_own(notes, tmp_path):
    table = tmp_path / "table.json"
    table.write_text("{}", "utf8")
    result = run(notes, "--out", tmp_path / "out", "--table", table)
    assert (result.exit_code, "E636" in result.output) == (1, True)


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["--map", "out/map.jsonl"], "E638"),
        (["--key-file", "none"], "E637"),
        (["--map", "."], "E534"),
    ],
)
def test_what_stops_it(notes, tmp_path, monkeypatch, options, code):
    monkeypatch.chdir(tmp_path)
    result = run(notes, "--out", "out", *options)
    assert result.exit_code == 1
    assert f"[{code}]" in result.output
    assert not (tmp_path / "out").exists()


def test_input_and_output_do_not_mix(notes, tmp_path):
    assert "E505" in run(tmp_path, "--out", tmp_path / "out").output
    assert "E501" in run(tmp_path / "none", "--out", tmp_path / "out").output
