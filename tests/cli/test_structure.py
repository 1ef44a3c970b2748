import base64
import json
import re
import sys
from hashlib import sha256
from pathlib import Path

import numpy
import pytest
import spacy
import typer
from PIL import ExifTags, Image
from spacy.language import Language
from spacy.training import Example
from typer.testing import CliRunner

from spacy_tcm.cli.structure import structure
from spacy_tcm.images.load import load_tongue_image
from spacy_tcm.images.render import random_attributes, render_tongue

from ..tongues import EFFICIENTNET

EXAMPLES = Path(__file__).parents[2] / "assets" / "examples"

app = typer.Typer()
app.command()(structure)


@Language.component("structure_test_photo")
def look_at_photo(doc):
    loaded = load_tongue_image(doc._.tongue_image, 32)
    doc._.tongue = {
        "status": loaded.status,
        "reasons": list(loaded.reasons),
        "quality": loaded.quality,
        "attributes": {},
    }
    return doc


@Language.component("structure_test_bomb")
def bomb(doc):
    if "💥" in doc.text:
        raise RuntimeError(doc.text)
    return doc


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    nlp = spacy.blank("tcm")
    patterns = [
        {"label": "SYMPTOM", "pattern": [{"TEXT": "便"}, {"TEXT": "血"}]},
        {"label": "TONGUE", "pattern": [{"TEXT": "舌"}, {"TEXT": "红"}]},
    ]
    nlp.add_pipe("entity_ruler").add_patterns(patterns)
    nlp.add_pipe("structure_test_photo")
    nlp.add_pipe("structure_test_bomb")
    path = tmp_path_factory.mktemp("model") / "model"
    nlp.to_disk(path)
    return str(path)


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def read_lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_the_examples(model, tmp_path):
    records = EXAMPLES / "examples.jsonl"
    images = EXAMPLES / "images"
    out = tmp_path / "out"
    result = run(records, "--images", images, "--out", out, "--model", model, "--html")
    assert result.exit_code == 0, result.output
    given, found = read_lines(records), read_lines(out / "records.jsonl")
    assert [entry["id"] for entry in found] == [record["id"] for record in given]
    assert [entry["text"] for entry in found] == [record["text"] for record in given]
    statuses = {entry["id"]: entry["tongue"]["status"] for entry in found}
    assert statuses.pop("example-08") == "none"
    assert statuses.pop("example-09") == "rejected"
    assert set(statuses.values()) == {"ok"}
    assert [warning["id"] for warning in read_lines(out / "warnings.jsonl")] == ["example-09"]
    assert str(out / "page.html") in result.output
    assert (out / "page.html").read_text(encoding="utf-8").count("data:image/jpeg") == 8
    for entry in found:
        for entity in entry["entities"]:
            assert entry["text"][entity["start"] : entity["end"]] == entity["text"]


def test_example_photos_are_small_and_say_that_they_are_rendered():
    from PIL import Image

    from spacy_tcm.images.render import RENDERED

    photos = sorted((EXAMPLES / "images").glob("*.jpg"))
    assert len(photos) == 9
    for path in photos:
        assert path.stat().st_size < 25_000
        with Image.open(path) as photo:
            assert photo.info["comment"].startswith(RENDERED.encode())
            assert not photo.getexif()


def test_some_records_fail(model, tmp_path):
    records = tmp_path / "in" / "a.jsonl"
    records.parent.mkdir()
    rows = ['{"id": "1", "text": "便血"}', "{", '{"id": "3", "text": "💥舌红"}']
    records.write_text("\n".join(rows), encoding="utf-8")
    result = run(records, "--out", tmp_path / "out", "--model", model)
    assert result.exit_code == 1
    found = read_lines(tmp_path / "out" / "records.jsonl")
    assert [entry["status"] for entry in found] == ["ok", "error", "error"]
    errors = read_lines(tmp_path / "out" / "errors.jsonl")
    assert [(error["source"], error["code"]) for error in errors] == [
        ("a.jsonl:2", "E511"),
        ("a.jsonl:3", "E520"),
    ]
    assert "舌红" not in result.output
    assert "structure_test_bomb" in result.output


def test_a_bad_photo_path_does_not_cost_the_note(model, tmp_path):
    rows = [
        {"id": "1", "text": "便血", "image": "../example-01.jpg"},
        {"id": "2", "text": "便血", "image": "..\\images\\example-01.jpg"},
        {"id": "3", "text": "便血", "image": 3},
    ]
    content = "\n".join(json.dumps(row) for row in rows)
    (tmp_path / "a.jsonl").write_text(content, encoding="utf-8")
    out = tmp_path / "out"
    arguments = ("--images", EXAMPLES / "images", "--out", out, "--model", model, "--html")
    result = run(tmp_path / "a.jsonl", *arguments)
    assert result.exit_code == 0, result.output
    for entry in read_lines(out / "records.jsonl"):
        assert len(entry["entities"]) == 1
        assert entry["tongue"]["reasons"] == ["bad_path"]
    assert [w["code"] for w in read_lines(out / "warnings.jsonl")] == ["W504"] * 3
    assert json.loads((out / "summary.json").read_text())["photos"] == {"rejected": 3}


def test_an_unclosed_quotation_mark_shows_in_the_exit_code(model, tmp_path):
    (tmp_path / "a.csv").write_text('id,text\n1,"便血\n2,舌红\n', encoding="utf-8")
    result = run(tmp_path / "a.csv", "--out", tmp_path / "out", "--model", model)
    assert result.exit_code == 1
    assert "[E522]" in result.output
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["errors"] == 1


def test_a_folder_of_all_kinds(model, tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    (source / "a.txt").write_text("便血\n舌红", encoding="utf-8")
    (source / "b.csv").write_bytes("编号,病历\n7,便血\n".encode("gb18030"))
    (source / "c.docx").write_bytes(b"PK")
    (source / "张三.jpg").write_bytes(b"x")
    arguments = (source, "--out", tmp_path / "out", "--model", model)
    result = run(*arguments, "--text-field", "病历", "--id-field", "编号", "--n-process", 2)
    assert result.exit_code == 0, result.output
    found = read_lines(tmp_path / "out" / "records.jsonl")
    assert [(entry["id"], len(entry["entities"])) for entry in found] == [("a", 2), ("7", 1)]
    assert "other kinds of files (2): .docx, .jpg" in result.output
    assert "张三" not in result.output
    result = run(*arguments, "--records-per-line", "--text-field", "病历", "--quiet")
    found = read_lines(tmp_path / "out" / "records.jsonl")
    assert [entry["id"] for entry in found] == ["a-1", "a-2", "b-2"]


def test_quiet_says_nothing(model, tmp_path):
    (tmp_path / "a.txt").write_text("便血", encoding="utf-8")
    result = run(tmp_path / "a.txt", "--out", tmp_path / "out", "--model", model, "--quiet")
    assert (result.exit_code, result.output) == (0, "")


def test_no_records_is_fine(model, tmp_path):
    (tmp_path / "a.jsonl").write_text("")
    result = run(tmp_path / "a.jsonl", "--out", tmp_path / "out", "--model", model, "--html")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "out" / "page.html").is_file()


def test_old_pages_go_with_the_old_results(model, tmp_path):
    (tmp_path / "a.txt").write_text("便血", encoding="utf-8")
    arguments = (tmp_path / "a.txt", "--out", tmp_path / "out", "--model", model)
    run(*arguments, "--html")
    assert (tmp_path / "out" / "page.html").is_file()
    run(*arguments)
    assert not (tmp_path / "out" / "page.html").exists()


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["{tmp}/none.jsonl", "--out", "{tmp}/out"], "E501"),
        (["{tmp}/empty", "--out", "{tmp}/out"], "E502"),
        (["{tmp}/in/a.txt", "--out", "{tmp}/out", "--images", "{tmp}/none"], "E503"),
        (["{tmp}/in/a.txt", "--out", "{tmp}/out", "--model", "{tmp}/in"], "E504"),
        (["{tmp}/in/a.txt", "--out", "{tmp}/out", "--model", "no_such_pipeline"], "E504"),
        (["{tmp}/in", "--out", "{tmp}/in/out"], "E505"),
        (["{tmp}/in", "--out", "{tmp}/in"], "E505"),
        (["{tmp}/in/a.txt", "--out", "{tmp}/in"], "E505"),
        (["{tmp}/in/a.txt", "--out", "{tmp}/file"], "E506"),
        (["{tmp}/in/a.txt", "--out", "{tmp}", "--images", "{tmp}/in"], "E505"),
        (["{tmp}/in/a.txt", "--out", "{tmp}/empty", "--images", "{tmp}/empty/photos"], "E507"),
        (["{tmp}/in/a.txt", "--out", "{tmp}/empty", "--images", "{tmp}/empty"], "E507"),
        (["{tmp}/in/a.txt", "--out", "{tmp}/out", "--heat-maps"], "E508"),
        (["{tmp}/in/a.txt", "--out", "{tmp}/out", "--crop-only"], "E508"),
        (["{tmp}/in/a.txt"], ""),
        (["{tmp}/in/a.txt", "--out", "{tmp}/out", "--n-process", "0"], ""),
    ],
)
def test_usage_errors(model, tmp_path, arguments, code):
    (tmp_path / "empty" / "photos").mkdir(parents=True)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_text("便血", encoding="utf-8")
    (tmp_path / "file").write_text("x")
    arguments = [argument.format(tmp=tmp_path) for argument in arguments]
    if "--model" not in arguments:
        arguments += ["--model", model]
    result = run(*arguments)
    assert result.exit_code == 2
    assert f"[{code}]" in result.output or not code
    assert not (tmp_path / "out").exists()
    if code == "E504":
        assert "pip install models/tcm_multimodal" in result.output
        assert "--model training/model-best" in result.output


# What leaves the photo

PLACE, TAKEN = b"31.2304N-121.4737E", b"2024:05:17 08:30:00"


@pytest.fixture(scope="module")
def tongue_model(tmp_path_factory):
    """A tongue encoder that finds the tongue, otherwise untrained."""
    nlp = spacy.blank("tcm")
    config = {**EFFICIENTNET, "weights": None}
    encoder = nlp.add_pipe("tongue_encoder", config={"model": config, "abstain_below": 0.0})
    attributes = {"body_color": ["light", "dark"], "tooth_marks": ["light", "severe"]}
    example = Example(nlp.make_doc(""), nlp.make_doc(""))
    encoder.initialize(lambda: [example], nlp=nlp, attributes=attributes)
    path = tmp_path_factory.mktemp("tongue_model") / "model"
    nlp.to_disk(path)
    return str(path)


@pytest.fixture
def ward(tmp_path):
    """Two notes, with the photo of a tongue and one that cannot be used, as a phone names them."""
    images = tmp_path / "images"
    images.mkdir()
    tongue = render_tongue(random_attributes(3), size=240, seed=3)
    face = numpy.pad(tongue, ((0, 0), (120, 120), (0, 0)), mode="edge")
    exif = Image.Exif()
    exif[ExifTags.Base.DateTime] = TAKEN.decode()
    exif[ExifTags.Base.ImageDescription] = "张三"
    exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSAreaInformation] = PLACE
    for name, pixels in (("张三_0001.jpg", face), ("张三_0002.jpg", numpy.full_like(face, 2))):
        Image.fromarray(pixels).save(images / name, exif=exif, comment="张三".encode())
        data = (images / name).read_bytes()
        assert b"Exif" in data
        assert PLACE in data
        assert TAKEN in data
    rows = [
        {"id": "1", "text": "便血", "image": "张三_0001.jpg"},
        {"id": "2", "text": "便血", "image": "张三_0002.jpg"},
        {"id": "3", "text": "便血", "image": "张三_0003.jpg"},
        {"id": "4", "text": "便血", "image": "../张三.jpg"},
        {"id": "5", "text": "便血"},
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return tmp_path


def contents(out):
    """Every output file, by its path; and what lies in data URIs."""
    for path in out.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            yield path.relative_to(out).as_posix(), data
            for uri in re.findall(rb"base64,([^\"]+)", data):
                yield f"{path.name}: picture", base64.b64decode(uri)


PHOTO_OPTIONS = [
    [],
    ["--html"],
    ["--html", "--heat-maps"],
    ["--crop-only", "--html", "--heat-maps"],
]


@pytest.mark.parametrize("options", PHOTO_OPTIONS, ids=" ".join)
def test_nothing_of_a_photo_leaves_but_its_pixels(tongue_model, ward, options):
    images, out = ward / "images", ward / "out"
    arguments = ("--images", images, "--out", out, "--model", tongue_model, *options)
    result = run(ward / "a.jsonl", *arguments)
    assert result.exit_code == 0, result.output
    ids = [
        "photo-" + sha256((images / name).read_bytes()).hexdigest()[:16]
        for name in ("张三_0001.jpg", "张三_0002.jpg")
    ]
    entries = read_lines(out / "records.jsonl")
    assert [entry["image"] for entry in entries] == [*ids, None, None, None]
    statuses = [entry["tongue"]["status"] for entry in entries]
    assert statuses == ["ok", "rejected", "rejected", "rejected", "none"]
    warnings = read_lines(out / "warnings.jsonl")
    assert [(w["id"], w["code"]) for w in warnings] == [("2", "W501"), ("3", "W501"), ("4", "W504")]
    attributes = entries[0]["tongue"]["attributes"]
    pictures = set()
    if "--html" in options:
        pictures.add(f"photos/{ids[0]}.jpg")
    if "--heat-maps" in options:
        pictures |= {f"heat_maps/{ids[0]}-{name}.jpg" for name in attributes}
    for found in attributes.values():
        assert ("regions" in found) == ("--heat-maps" in options)
    found = dict(contents(out))
    assert {name for name in found if name.endswith(".jpg")} == pictures
    assert sum(name.endswith("picture") for name in found) == bool(pictures)
    for name, data in found.items():
        for secret in (b"Exif", PLACE, TAKEN, "张三".encode(), b"\\u5f20", b"_000"):
            assert secret not in data, name
    assert "张三" not in result.output


def test_crop_only_keeps_the_tongue_alone(tongue_model, ward):
    out = ward / "out"
    arguments = ("--images", ward / "images", "--out", out, "--model", tongue_model)
    assert run(ward / "a.jsonl", *arguments, "--html").exit_code == 0
    (whole,) = (out / "photos").iterdir()
    with Image.open(whole) as photo:
        assert photo.size == (360, 180)
        assert abs(numpy.asarray(photo)[[0, -1]].astype(int) - 127).max() > 60
    assert run(ward / "a.jsonl", *arguments, "--crop-only", "--n-process", 2).exit_code == 0
    assert [path.name for path in (out / "photos").iterdir()] == [whole.name]
    with Image.open(whole) as crop:
        assert crop.size == (64, 64)
        border = numpy.asarray(crop)[[0, -1]].astype(int)
    assert abs(border - 127).max() < 30, "grey around the tongue, but for what JPEG loses"
    assert run(ward / "a.jsonl", *arguments).exit_code == 0
    assert not (out / "photos").exists()


def test_names_of_photos_on_request(tongue_model, ward):
    out = ward / "out"
    arguments = ("--images", ward / "images", "--out", out, "--model", tongue_model, "--html")
    assert run(ward / "a.jsonl", *arguments, "--keep-image-names").exit_code == 0
    entries = read_lines(out / "records.jsonl")
    names = ["张三_0001.jpg", "张三_0002.jpg", "张三_0003.jpg", None, None]
    assert [entry["image"] for entry in entries] == names
    page = (out / "page.html").read_text(encoding="utf-8")
    assert "张三_0001.jpg" in page
    assert page.count("data:image/jpeg") == 1, "found by its hash"


def test_heat_maps_without_captum(tongue_model, ward, monkeypatch):
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    arguments = ("--out", ward / "out", "--model", tongue_model)
    result = run(ward / "a.jsonl", *arguments, "--heat-maps")
    assert result.exit_code == 2
    assert "[E463]" in result.output
    assert not (ward / "out").exists()
    assert run(ward / "a.jsonl", *arguments).exit_code == 0


def test_a_memory_budget_is_kept_and_reported(model, tmp_path):
    source = tmp_path / "in.jsonl"
    source.write_text('{"text": "便血"}\n{"text": "舌红"}\n', "utf-8")
    args = [str(source), "--model", model, "--memory-budget"]
    done = CliRunner().invoke(app, [*args, "64GB", "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert "Memory: " in done.output
    summary = json.loads((tmp_path / "out" / "summary.json").read_text("utf-8"))
    assert summary["batching"]["records"] == 2
    assert summary["batching"]["budget_bytes"] == 64 * 10**9
    for budget, more, code in [
        ("1MB", [], "E525"),
        ("much", [], "E527"),
        ("64GB", ["--n-process", "2"], "E526"),
    ]:
        out = tmp_path / code
        refused = CliRunner().invoke(app, [*args, budget, "--out", str(out), *more])
        assert refused.exit_code == 2
        assert code in refused.output
        assert not out.exists()
