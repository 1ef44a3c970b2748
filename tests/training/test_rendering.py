import json

import pytest
import typer
from typer.testing import CliRunner

from spacy_tcm.cli.render import render
from spacy_tcm.errors import RecordError
from spacy_tcm.images.load import load_tongue_image
from spacy_tcm.training.reading import read_with_images
from spacy_tcm.training.rendering import render_records

TONGUE = {"舌色": ["淡白"], "舌形": ["裂纹"], "苔色": ["黄"], "苔质": ["厚"]}


def record(record_id: str, tongue=TONGUE) -> dict:
    return {"id": record_id, "text": "舌淡", "entities": [], "meta": {"tongue": tongue}}


def test_command_writes_photos_and_a_corpus_that_finds_them(tmp_path):
    app = typer.Typer()
    app.command()(render)
    source = tmp_path / "a.jsonl"
    records = [record("w1"), record("w2", tongue={}), {"id": "w3", "text": "", "entities": []}]
    source.write_text("".join(json.dumps(r) + "\n" for r in records), encoding="utf-8")
    photos, out = tmp_path / "photos", tmp_path / "made" / "b.jsonl"
    arguments = [source, photos, "--corpus-out", out, "--size", 64]
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    assert "3 records, 1 rendered photos" in result.output
    (drawn, image), (_, none), (bare, _) = read_with_images(out, image_root=photos)
    assert drawn["image"] == "w1.jpg"
    assert drawn["tongue"]["body_color"] == "light"
    assert drawn["tongue"]["coating_color"] == "yellow"
    assert drawn["tongue"]["coating_thickness"] == "thick"
    assert load_tongue_image(str(image), 64).status == "ok"
    assert none is None
    assert bare == records[2]


def invoke(*arguments):
    app = typer.Typer()
    app.command()(render)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_outputs_that_cannot_be_written_are_said_before_the_work(tmp_path):
    source, photos = tmp_path / "a.jsonl", tmp_path / "photos"
    source.write_text(json.dumps(record("w1")), encoding="utf-8")
    before = source.read_bytes()
    for arguments, code in [
        ((source, source, "--corpus-out", tmp_path / "b.jsonl"), "E533"),
        ((source, photos, "--corpus-out", tmp_path), "E534"),
    ]:
        result = invoke(*arguments)
        assert result.exit_code == 1
        assert f"[{code}]" in result.output
    assert list(tmp_path.iterdir()) == [source]
    assert source.read_bytes() == before


def test_says_why_no_photo_was_rendered(tmp_path):
    source = tmp_path / "a.jsonl"
    outputs = (tmp_path / "photos", "--corpus-out", tmp_path / "b.jsonl", "--size", 32)
    given = {"id": "1", "text": "", "entities": [], "tongue": {"fissure": "light"}}
    source.write_text(json.dumps(given), encoding="utf-8")
    result = invoke(source, *outputs)
    assert result.exit_code == 0
    assert "1 records, 0 rendered photos" in result.output
    assert f"[W531] No record of {source} has" in result.output
    assert '{"tongue": {"舌色"' in result.output
    source.write_text(json.dumps(record("w1")), encoding="utf-8")
    assert "[W531]" not in invoke(source, *outputs).output


def test_a_photo_depends_on_id_and_seed_not_on_place(tmp_path):
    def drawn(name: str, *ids: str, seed: int = 0) -> bytes:
        records = [record(record_id) for record_id in ids]
        list(render_records(records, tmp_path / name, size=48, seed=seed))
        return (tmp_path / name / "b.jpg").read_bytes()

    first = drawn("one", "a", "b")
    assert drawn("two", "b") == first
    assert drawn("three", "b", seed=1) != first


def test_share_is_by_chance_per_record(tmp_path):
    records = [record(f"r{n}") for n in range(40)]
    done = list(render_records(records, tmp_path, size=32, seed=0, share=0.5))
    assert 10 <= sum("image" in r for r in done) <= 30
    assert not any(
        "image" in r for r in render_records(records, tmp_path, size=32, seed=0, share=0)
    )


def test_file_names_are_safe_and_apart(tmp_path):
    ids = ["../../etc/x", "A1", "a1", "病案 一", "x" * 300, ".hidden"]
    done = list(render_records(map(record, ids), tmp_path / "p", size=32, seed=0))
    names = [r["image"] for r in done]
    assert names[1] == "A1.jpg"
    assert len({name.casefold() for name in names}) == len(ids)
    assert sorted(path.name for path in (tmp_path / "p").iterdir()) == sorted(names)
    assert all(name.isascii() and "/" not in name and name[0] != "." for name in names)


def test_a_description_of_another_shape_is_an_error(tmp_path):
    with pytest.raises(RecordError, match=r"E531.*'r1'"):
        list(render_records([record("r1", tongue={"舌色": "红"})], tmp_path, size=32, seed=0))
