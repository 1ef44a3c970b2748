"""Rendered tongues: they say that they are rendered, and show what they were asked to show.

The attributes are checked on the pixels: two pictures with one seed differ in the attribute alone.
"""

import json

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from spacy_tcm.errors import TCMError
from spacy_tcm.images.load import load_tongue_image
from spacy_tcm.images.render import (
    RENDERED,
    attributes_from_meta,
    random_attributes,
    render_tongue,
    save_rendered,
)
from spacy_tcm.images.render_face import Scene
from spacy_tcm.images.render_surface import Outline
from spacy_tcm.tags import TONGUE_ATTRIBUTES

PLAIN = {
    "body_color": "regular",
    "coating_color": "white",
    "coating_thickness": "thin",
    "fissure": "none",
    "tooth_marks": "none",
    "spots": "none",
}
SEEDS = range(6)
SIZE = 176


def outline(seed, tooth_marks="none", size=SIZE):
    """Where the tongue is in the picture of this seed."""
    streams = [numpy.random.default_rng(s) for s in numpy.random.SeedSequence(seed).spawn(6)]
    return Outline(Scene(streams[0], size), streams[3], tooth_marks)


def middle_of(shape):
    return (shape.inside > 0.9) & (numpy.abs(shape.across) < 0.4) & (shape.along < 0.55)


def lab(pixels):
    """CIE Lab of sRGB pixels (..., 3), written apart from the renderer's own conversion."""
    share = pixels / 255
    linear = numpy.where(share > 0.04045, ((share + 0.055) / 1.055) ** 2.4, share / 12.92)
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    xyz = linear @ numpy.array(to_xyz).T / [0.9505, 1, 1.089]
    f = numpy.where(xyz > 0.008856, numpy.cbrt(xyz), 7.787 * xyz + 16 / 116)
    x, y, z = numpy.moveaxis(f, -1, 0)
    return numpy.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def draw(seed, size=SIZE, **changes):
    attributes = {k: v for k, v in (PLAIN | changes).items() if v is not None}
    return render_tongue(attributes, size=size, seed=seed)


def middle_lab(seed, **changes):
    return lab(draw(seed, **changes)[middle_of(outline(seed))]).mean(axis=0)


# --- what is asked for can be seen


@pytest.mark.parametrize("seed", SEEDS)
def test_coating_colour(seed):
    found = {c: middle_lab(seed, coating_color=c, coating_thickness="thick")
             for c in TONGUE_ATTRIBUTES["coating_color"]}  # fmt: skip
    yellowness = [found[c][2] for c in ("white", "light_yellow", "yellow")]
    assert yellowness[0] + 3 < yellowness[1] < yellowness[2] - 3
    assert found["gray_black"][0] < min(found[c][0] for c in found if c != "gray_black") - 10


@pytest.mark.parametrize("seed", SEEDS)
def test_coating_thickness(seed):
    """The more white coating, the less red the middle."""
    redness = [
        middle_lab(seed, coating_thickness=t, coating_color=None if t == "none" else "white")[1]
        for t in TONGUE_ATTRIBUTES["coating_thickness"]
    ]
    assert redness[0] - 2 > redness[1] > redness[2] + 2


@pytest.mark.parametrize("seed", SEEDS)
def test_body_colour(seed):
    """Seen at the sides, where no coating lies."""
    shape = outline(seed)
    sides = (shape.inside > 0.9) & (numpy.abs(shape.across) > 0.7) & (shape.along < 0.6)
    light, regular, dark = (
        lab(draw(seed, body_color=c)[sides]).mean(axis=0) for c in TONGUE_ATTRIBUTES["body_color"]
    )
    assert light[0] > regular[0] > dark[0] + 3
    assert light[1] + 3 < regular[1]
    assert light[1] + 3 < dark[1]


@pytest.mark.parametrize("seed", SEEDS)
def test_fissures_are_dark_lines(seed):
    middle = middle_of(outline(seed))
    plain = lab(draw(seed))[..., 0]
    shares = []
    for degree in ("light", "severe"):
        darker = plain - lab(draw(seed, fissure=degree))[..., 0]
        shares.append((darker[middle] > 6).mean())
    assert 0.005 < shares[0] < shares[1]


@pytest.mark.parametrize("seed", SEEDS)
def test_tooth_marks_are_at_the_sides(seed):
    shape = outline(seed)
    near = (numpy.abs(shape.across) > 0.7) & (numpy.abs(shape.across) < 1.05)
    sides = near & (shape.along > 0.2) & (shape.along < 0.85)
    plain = draw(seed).astype(int)
    changes = []
    for degree in ("light", "severe"):
        change = numpy.abs(draw(seed, tooth_marks=degree) - plain).mean(axis=2)
        changes.append(change[sides].mean())
        assert change[sides].mean() > 2 * change[middle_of(shape)].mean()
    assert changes[0] < changes[1]
    areas = [outline(seed, degree).inside.sum() for degree in ("none", "light", "severe")]
    assert areas[0] > areas[1] > areas[2]


@pytest.mark.parametrize("seed", SEEDS)
def test_spots(seed):
    tongue = outline(seed).inside > 0.9
    difference = lab(draw(seed, spots="present")) - lab(draw(seed))
    darker = difference[..., 0] < -4
    assert 0.005 < darker[tongue].mean() < 0.25
    assert darker[tongue].mean() > 5 * darker[~tongue].mean()


def test_one_seed_shows_one_person():
    outside = outline(1).inside < 0.01
    one, other = draw(1).astype(int), draw(1, body_color="dark", coating_color="yellow").astype(int)
    # Only JPEG blocks at the edge of the tongue differ outside it.
    assert (numpy.abs(one - other)[outside].max(axis=1) > 12).mean() < 0.02


# --- the pictures


@given(st.integers(0, 2**64), st.sampled_from([32, 33, 64, 101]))
@settings(max_examples=25, deadline=None)
def test_any_seed_gives_a_usable_picture(seed, size):
    attributes = random_attributes(seed)
    pixels = render_tongue(attributes, size=size, seed=seed)
    assert (pixels.shape, pixels.dtype) == ((size, size, 3), numpy.uint8)
    assert load_tongue_image(pixels, 64).status == "ok"


def test_same_arguments_same_pixels():
    for size in (64, 352):
        numpy.testing.assert_array_equal(draw(5, size), draw(5, size))
    assert (draw(5) != draw(6)).any()


def test_global_random_state_is_neither_used_nor_changed():
    numpy.random.seed(1)
    before = numpy.random.get_state()[1].copy()
    one = draw(2)
    numpy.testing.assert_array_equal(numpy.random.get_state()[1], before)
    numpy.random.seed(2)
    numpy.testing.assert_array_equal(draw(2), one)


def test_colours_are_those_of_tongues():
    """Lab means of 600 real close-ups: tongue (64, 27, 9), its surroundings (48, 21, 18)."""
    tongues, surroundings = [], []
    for seed in range(40):
        streams = numpy.random.SeedSequence(seed).spawn(6)
        if Scene(numpy.random.default_rng(streams[0]), 8).kind != "close":
            continue
        inside = outline(seed, size=96).inside
        picture = lab(draw(seed, 96))
        tongues.append(picture[inside > 0.5].mean(axis=0))
        surroundings.append(picture[inside < 0.5].mean(axis=0))
    assert len(tongues) > 12
    assert numpy.mean(tongues, axis=0) == pytest.approx([64, 27, 9], abs=4)
    assert numpy.mean(surroundings, axis=0) == pytest.approx([48, 21, 18], abs=4)


# --- attributes


@pytest.mark.parametrize(
    "changes",
    [{"fissure": None}, {"coating_thickness": "none"}, {"coating_color": None}, {"moss": "green"},
     {"body_color": "blue"}, {"coating_color": "none"}, {"spots": "severe"}],
)  # fmt: skip
def test_wrong_attributes(changes):
    with pytest.raises(TCMError, match=r"\[E23[12]\]"):
        draw(0, 32, **changes)


@pytest.mark.parametrize(
    ("meta", "expected"),
    [
        ({"舌色": ["淡白"], "苔色": ["白"], "苔质": ["薄"]},
         PLAIN | {"body_color": "light"}),
        ({"舌色": ["淡红"], "苔色": ["白"], "苔质": ["薄", "腻"]}, PLAIN),
        ({"舌色": ["暗红", "淡白"], "苔色": ["灰"], "苔质": ["腻", "厚"]},
         PLAIN | {"body_color": "dark", "coating_color": "gray_black",
                  "coating_thickness": "thick"}),
        ({"舌色": ["淡红"], "苔色": ["淡黄"], "苔质": ["薄"], "舌形": []},
         PLAIN | {"coating_color": "light_yellow"}),
    ],
)  # fmt: skip
def test_attributes_from_meta(meta, expected):
    assert attributes_from_meta(meta) == expected


@pytest.mark.parametrize(("value", "expected"), [
    ("红", "dark"), ("绛", "dark"), ("淡紫", "dark"), ("青紫", "dark"), ("淡红", "regular"),
])  # fmt: skip
def test_body_colours_from_meta(value, expected):
    assert attributes_from_meta({"舌色": [value]})["body_color"] == expected


@pytest.mark.parametrize("value", ["少", "无", "剥"])
def test_no_coating_has_no_colour(value):
    attributes = attributes_from_meta({"苔色": ["黄"], "苔质": [value]})
    assert attributes["coating_thickness"] == "none"
    assert "coating_color" not in attributes
    render_tongue(attributes, size=32, seed=0)


@pytest.mark.parametrize(("sign", "name"), [
    ("裂纹", "fissure"), ("齿痕", "tooth_marks"),
    ("点刺", "spots"), ("瘀点", "spots"), ("瘀斑", "spots"),
])  # fmt: skip
def test_findings_from_meta(sign, name):
    drawn = {attributes_from_meta({"舌形": ["胖大", sign]}, seed)[name] for seed in range(30)}
    assert drawn == set(TONGUE_ATTRIBUTES[name]) - {"none"}
    for other in {"fissure", "tooth_marks", "spots"} - {name}:
        assert attributes_from_meta({"舌形": [sign]})[other] == "none"


def test_what_the_record_leaves_open_is_drawn_by_seed():
    for name in ("body_color", "coating_color", "coating_thickness"):
        drawn = {attributes_from_meta({}, seed)[name] for seed in range(60)}
        assert drawn == set(TONGUE_ATTRIBUTES[name]) - {"none"}
    assert attributes_from_meta({"舌色": None}, 7) == attributes_from_meta({}, 7)


def test_random_attributes_reach_every_value():
    drawn = [random_attributes(seed) for seed in range(120)]
    for name, values in TONGUE_ATTRIBUTES.items():
        assert {attributes[name] for attributes in drawn if name in attributes} == set(values)


# --- files


def test_saved_files_say_what_they_are(tmp_path):
    pixels = draw(0)
    save_rendered(pixels, tmp_path / "a.jpg", PLAIN)
    with Image.open(tmp_path / "a.jpg") as file:
        comment = file.info["comment"].decode("ascii")
        assert file.format == "JPEG"
        assert numpy.abs(numpy.asarray(file).astype(int) - pixels).mean() < 6
    assert comment.startswith(RENDERED)
    assert "not a photograph" in comment
    assert json.loads(comment.removeprefix(RENDERED)) == PLAIN
    assert load_tongue_image(str(tmp_path / "a.jpg"), 64).status == "ok"
