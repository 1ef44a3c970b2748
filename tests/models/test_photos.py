"""From files to what the net reads, with the segmenter of this repository."""

from pathlib import Path

import numpy
import pytest
from PIL import Image

from spacy_tcm.errors import ModelError
from spacy_tcm.images.colour import N_COLOURS, WARM, relight
from spacy_tcm.images.load import LoadedImage
from spacy_tcm.images.render import random_attributes, render_tongue
from spacy_tcm.models import photos as module
from spacy_tcm.models.photos import KeptPhotos, prepare_photos
from spacy_tcm.models.segmenter import build_tongue_segmenter

WEIGHTS = Path(__file__).parents[2] / "assets" / "tongue" / "segmenter.safetensors"


@pytest.fixture(scope="module")
def segmenter():
    model = build_tongue_segmenter(str(WEIGHTS), image_size=96)
    model.initialize()
    return model


@pytest.fixture(scope="module")
def tongue():
    return render_tongue(random_attributes(3), size=320, seed=3)


def test_the_tongue_is_cut_out(segmenter, tongue):
    wide = numpy.pad(tongue, ((0, 0), (150, 90), (0, 0)), mode="edge")
    (photo,) = prepare_photos([wide], 64, segmenter)
    assert photo.info.status == "ok"
    assert photo.pixels.shape == (64, 64, 3)
    assert photo.colours.shape == (N_COLOURS,)
    assert photo.mask.shape == (64, 64)
    assert 0.4 < photo.mask.mean() < 0.9
    _, columns = numpy.nonzero(photo.mask)
    assert abs(columns.mean() - 32) < 4, "in the middle, though it was not"
    assert photo.info.quality["tongue_share"] < 0.5
    assert photo.info.quality["brightness"] > 0, "numbers of the whole photo stay"


def test_order_and_company_change_nothing(segmenter, tongue):
    nothing = numpy.random.default_rng(0).integers(60, 200, (90, 120, 3)).astype("uint8")
    images = [None, tongue, nothing, "nowhere.jpg", tongue[:, ::-1].copy()]
    together = prepare_photos(images, 64, segmenter)
    assert [p.info.status for p in together] == ["none", "ok", "rejected", "rejected", "ok"]
    assert together[3].info.reasons == ("missing_file",)
    for image, photo in zip(images, together, strict=True):
        (alone,) = prepare_photos([image], 64, segmenter)
        assert alone.info.reasons == photo.info.reasons
        if photo.pixels is not None:
            numpy.testing.assert_array_equal(alone.pixels, photo.pixels)


@pytest.mark.parametrize("colour", [(205, 160, 130), (90, 140, 90)])
def test_skin_or_a_wall_is_no_tongue(segmenter, colour):
    shade = numpy.linspace(0.4, 1.1, 240)[None, :, None]
    noise = numpy.random.default_rng(1).normal(0, 6, (200, 240, 3))
    picture = (numpy.array(colour) * shade + noise).clip(0, 255).astype("uint8")
    (photo,) = prepare_photos([picture], 64, segmenter)
    assert photo.info.reasons == ("no_tongue",)
    assert photo.pixels is None


def test_a_warm_light_is_mostly_taken_back(segmenter, tongue):
    lit = relight(tongue, WARM)
    usual, warm = prepare_photos([tongue, lit], 64, segmenter)
    bare_usual, bare_warm = prepare_photos([tongue, lit], 64, segmenter, balanced=False)
    with_, without = (
        abs(a.colours - b.colours).mean() for a, b in ((usual, warm), (bare_usual, bare_warm))
    )
    assert with_ < 0.7 * without
    (simulated,) = prepare_photos([tongue], 64, segmenter, light=WARM)
    assert abs(simulated.colours - warm.colours).mean() < 0.15 * without


def test_without_a_segmenter_the_whole_photo_is_the_tongue(tongue):
    (photo,) = prepare_photos([tongue[:200]], 64)
    assert photo.info.status == "ok"
    assert photo.mask.mean() == pytest.approx(40 / 64), "but for the padding"
    assert not photo.mask[:12].any()


def test_training_prepares_each_file_once_under_each_light(tmp_path, tongue, monkeypatch):
    from PIL import Image

    path = str(tmp_path / "a.png")
    Image.fromarray(tongue).save(path)
    calls = []

    def count(images, *args):
        calls.append(args[-2])
        return prepare_photos(images, *args)

    monkeypatch.setattr(module, "prepare_photos", count)
    kept = KeptPhotos()
    numpy.random.seed(0)
    found = [kept.prepare([path, None], 64, lights=2)[0] for _ in range(40)]
    from_files = [light for light in calls if light]
    assert len({id(photo) for photo in found}) == 3, "its own light and two others"
    assert len(calls) == 3 + 40, "None costs nothing and is not kept"
    assert len(set(from_files)) >= 3
    few = KeptPhotos(most=0)
    assert few.prepare([path], 64)[0] is not few.prepare([path], 64)[0]


@pytest.mark.parametrize("side", [64, 160])
def test_where_the_photo_was_padded(side):
    for start, stop in [(0, 512), (3, 509), (64, 448), (101, 410), (192, 321)]:
        mask = numpy.zeros((512, 512), dtype="uint8")
        mask[start:stop] = 255
        size = (512, stop - start)
        for plane, content in (
            (mask, (start, 0, size[1], size[0])),
            (mask.T, (0, start, size[0], size[1])),
        ):
            whole = Image.fromarray(numpy.ascontiguousarray(plane))
            photo = LoadedImage("ok", image=whole.convert("RGB"), content=content)
            expected = module._to_mask(whole, side)
            numpy.testing.assert_array_equal(module._content(photo, side), expected)


def test_weights_and_sizes_are_checked(tmp_path):
    with pytest.raises(ModelError, match=r"E452.*100"):
        build_tongue_segmenter(str(WEIGHTS), image_size=100)
    with pytest.raises(ModelError, match="E453"):
        build_tongue_segmenter().initialize()
    with pytest.raises(ModelError, match=r"E451.*nowhere"):
        build_tongue_segmenter(str(tmp_path / "nowhere.safetensors")).initialize()
    trunk = WEIGHTS.with_name("trunk.safetensors")
    with pytest.raises(ModelError, match="E402"):
        build_tongue_segmenter(str(trunk)).initialize()
