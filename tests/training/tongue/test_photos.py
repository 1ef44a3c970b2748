import pytest
import spacy
from PIL import Image

from spacy_tcm.errors import RecordError
from spacy_tcm.training.tongue.photos import create_photo_corpus

TABLE = """image,body_color,fissure,split
a,light,,train
b.png,,severe,train
c,,,train
d,dark,none,dev
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "images").mkdir()
    for name in ("a.jpg", "b.png", "c.jpg", "d.jpg"):
        Image.new("RGB", (40, 40), (180, 90, 90)).save(tmp_path / "images" / name)
    (tmp_path / "labels.csv").write_text(TABLE, encoding="utf8")
    return tmp_path


def read(folder, **settings):
    return list(create_photo_corpus(folder / "labels.csv", **settings)(spacy.blank("tcm")))


def test_empty_is_unknown(folder):
    found = read(folder)
    assert [e.reference._.tongue_labels for e in found] == [
        {"body_color": "light"},
        {"fissure": "severe"},
        {"body_color": "dark", "fissure": "none"},
    ], "c says nothing"
    assert [e.predicted._.record_id for e in found] == ["a", "b.png", "d"]
    assert found[0].predicted._.tongue_image == str(folder / "images" / "a.jpg")
    assert found[1].predicted._.tongue_image == str(folder / "images" / "b.png")
    assert all(e.predicted.text == "" for e in found)


def test_split_attributes_and_limit(folder):
    assert [e.predicted._.record_id for e in read(folder, split="dev")] == ["d"]
    assert [e.reference._.tongue_labels for e in read(folder, attributes=["fissure"])] == [
        {"fissure": "severe"},
        {"fissure": "none"},
    ]
    assert len(read(folder, limit=1)) == 1


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"split": "test"}, "E383"),
        ({"attributes": ["spots"]}, "E382.*spots"),
        ({"image_root": "nowhere"}, "E384.*'a'"),
    ],
)
def test_errors_name_the_cause(folder, settings, code):
    with pytest.raises(RecordError, match=code):
        read(folder, **settings)


def test_missing_table(tmp_path):
    with pytest.raises(RecordError, match=r"E381.*labels\.csv"):
        read(tmp_path)


def test_held_out_and_learned_are_all_once(folder):
    rows = "".join(f"a{n},light,,train\n" for n in range(40))
    (folder / "labels.csv").write_text("image,body_color,fissure,split\n" + rows, encoding="utf8")
    for n in range(40):
        Image.new("RGB", (4, 4)).save(folder / "images" / f"a{n}.jpg")
    parts = {
        part: {e.predicted._.record_id for e in read(folder, held_out=0.3, part=part)}
        for part in ("learned", "held_out", "all")
    }
    assert parts["learned"] | parts["held_out"] == parts["all"]
    assert not parts["learned"] & parts["held_out"]
    assert 4 < len(parts["held_out"]) < 20


@pytest.mark.parametrize("settings", [{"held_out": 1.0}, {"part": "some"}])
def test_impossible_parts(folder, settings):
    with pytest.raises(RecordError, match="E385"):
        read(folder, **settings)
