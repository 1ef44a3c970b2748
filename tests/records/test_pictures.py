"""What is kept of photos: when, under which name, and what is not."""

import contextlib

import numpy
import pytest
from PIL import Image

from spacy_tcm.images.load import photo_id
from spacy_tcm.images.render import RENDERED, random_attributes, render_tongue, save_rendered
from spacy_tcm.records.inputs import InputRecord
from spacy_tcm.records.job import annotate
from spacy_tcm.records.pictures import Pictures, find_picture, is_rendered


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "张三.jpg"
    attributes = random_attributes(1)
    save_rendered(render_tongue(attributes, size=64, seed=1), path, attributes)
    return path


def run(nlp, out, *paths, **options):
    items = [InputRecord(str(i), "x", "便血", path.name, str(path)) for i, path in enumerate(paths)]
    out.mkdir(exist_ok=True)
    with Pictures(out, **options) as pictures:
        return list(annotate(nlp, items, pictures=pictures))


def names(out):
    return sorted(path.relative_to(out).as_posix() for path in out.rglob("*"))


def test_nothing_is_kept_unless_asked(nlp, image, tmp_path):
    run(nlp, tmp_path / "out", image)
    assert names(tmp_path / "out") == []
    run(nlp, tmp_path / "out", image, heat_maps=True)  # the pipeline makes none
    assert names(tmp_path / "out") == []


def test_one_file_for_one_photo(nlp, image, tmp_path):
    copy = tmp_path / "李四.jpg"
    copy.write_bytes(image.read_bytes())
    out = tmp_path / "out"
    entries = run(nlp, out, image, copy, tmp_path / "none.jpg", photos=True)
    photo = photo_id(str(image))
    assert [entry["image"] for entry in entries] == [photo, photo, None]
    assert names(out) == ["photos", f"photos/{photo}.jpg"]
    found = find_picture(out, photo)
    assert is_rendered(found)
    with Image.open(found) as kept:
        assert kept.info["comment"] == RENDERED.encode()
    assert find_picture(out, photo, "fissure") is None
    assert find_picture(out, None) is None


def test_an_array_is_kept_as_it_is(nlp, image, tmp_path):
    """What a tongue encoder with crop_only leaves; None of a rejected photo."""
    crop = numpy.full((40, 40, 3), 127, dtype="uint8")
    crops = iter([crop, None])

    class Crop:
        def __call__(self, doc):
            doc._.tongue_image = next(crops)
            return doc

    nlp.add_pipe("records_test_photo", name="crop")
    nlp._components[-1] = ("crop", Crop())
    out = tmp_path / "out"
    other = tmp_path / "other.png"
    Image.open(image).save(other)
    run(nlp, out, image, other, photos=True)
    (name,) = names(out / "photos")
    assert name == f"{photo_id(str(image))}.jpg"
    with Image.open(out / "photos" / name) as kept:
        assert kept.size == (40, 40)


def test_an_earlier_run_goes_and_foreign_files_stay(nlp, image, tmp_path):
    out = tmp_path / "out"
    run(nlp, out, image, photos=True)
    (out / "photos" / "mine.jpg").write_bytes(b"x")
    other = tmp_path / "other.png"
    Image.fromarray(render_tongue(random_attributes(2), size=64, seed=2)).save(other)
    run(nlp, out, other, photos=True)
    assert names(out / "photos") == ["mine.jpg", f"{photo_id(str(other))}.jpg"]
    run(nlp, out, image)
    assert names(out) == ["photos", "photos/mine.jpg"]


def test_a_run_that_breaks_leaves_the_earlier_pictures(nlp, image, tmp_path):
    out = tmp_path / "out"
    run(nlp, out, image, photos=True)
    before = names(out)
    other = tmp_path / "other.png"
    Image.fromarray(render_tongue(random_attributes(2), size=64, seed=2)).save(other)
    items = [InputRecord("a", "x", "便血", "other.png", str(other))]
    with contextlib.suppress(KeyboardInterrupt), Pictures(out, photos=True) as pictures:
        list(annotate(nlp, items, pictures=pictures))
        assert len(names(out / "photos.part")) == 1
        raise KeyboardInterrupt
    assert names(out) == before
    (out / "photos.part").mkdir()  # of a run that was killed
    (out / "photos.part" / "photo-0123456789abcdef.jpg").write_bytes(b"x")
    run(nlp, out, image, photos=True)
    assert names(out) == before
