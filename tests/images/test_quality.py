"""Only photos that show nothing are rejected; the numbers mean what their names say."""

import numpy
import pytest

from spacy_tcm.images.quality import measure_quality, verdict
from spacy_tcm.images.reasons import REASONS
from spacy_tcm.images.render import random_attributes, render_tongue


def flat(*colour):
    return numpy.full((40, 50, 3), colour, dtype="uint8")


def tongue(size=96, seed=3):
    return render_tongue(random_attributes(seed), size=size, seed=seed)


def scaled(pixels, factor):
    return numpy.clip(pixels * factor, 0, 255).astype("uint8")


@pytest.mark.parametrize(
    ("colour", "expected"),
    [
        ((0, 0, 0), {"brightness": 0, "dark_share": 1, "bright_share": 0, "red_cast": 0}),
        ((255, 255, 255), {"brightness": 1, "dark_share": 0, "bright_share": 1, "blue_cast": 0}),
        ((255, 0, 0), {"brightness": 0.299, "colourfulness": 1, "red_cast": 2, "blue_cast": -1}),
        ((100, 100, 100), {"colourfulness": 0, "contrast": 0, "sharpness": 0}),
    ],
)
def test_numbers_of_even_pictures(colour, expected):
    quality = measure_quality(flat(*colour))
    assert {name: quality[name] for name in expected} == pytest.approx(expected, abs=1e-3)


def test_contrast_and_sharpness():
    halves = flat(0, 0, 0)
    halves[:, 25:] = 255
    assert measure_quality(halves)["contrast"] == pytest.approx(0.5, abs=1e-3)
    stripes = flat(0, 0, 0)
    stripes[:, ::2] = 255
    assert measure_quality(stripes)["sharpness"] > 5 * measure_quality(halves)["sharpness"]


def test_blur_lowers_sharpness():
    sharp = tongue().astype("float32")
    soft = (sharp + numpy.roll(sharp, 1, 0) + numpy.roll(sharp, 1, 1)) / 3
    before = measure_quality(sharp.astype("uint8"))["sharpness"]
    assert measure_quality(soft.astype("uint8"))["sharpness"] < 0.6 * before


def test_values_are_finite_plain_floats():
    generator = numpy.random.default_rng(0)
    for shape in [(3, 3, 3), (3, 200, 3), (64, 64, 3)]:
        quality = measure_quality(generator.integers(0, 256, shape, dtype="uint8"))
        assert all(type(value) is float for value in quality.values())
        assert numpy.isfinite(list(quality.values())).all()


@pytest.mark.parametrize(
    ("pixels", "reason"),
    [
        (scaled(tongue(), 0.05), "too_dark"),
        (255 - scaled(255 - tongue(), 0.03), "too_bright"),
        (flat(180, 90, 90), "blank"),
        (tongue()[:, :, :1].repeat(3, axis=2), "grayscale"),
    ],
)
def test_gross_failures(pixels, reason):
    reasons = verdict(measure_quality(pixels))
    assert reason in reasons
    assert set(reasons) <= set(REASONS)


def test_poor_light_is_no_reason():
    for factor in (0.25, 0.5, 1.3):
        for seed in range(5):
            assert verdict(measure_quality(scaled(tongue(seed=seed), factor))) == ()
