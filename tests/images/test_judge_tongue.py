"""Verdicts on a tongue that was found: each fault by itself, and a good photo has none."""

import numpy
import pytest
from PIL import Image, ImageFilter

from spacy_tcm.images.quality import TONGUE_BOUNDS, judge_tongue
from spacy_tcm.images.reasons import REASONS
from spacy_tcm.images.region import find_region
from spacy_tcm.images.render import random_attributes, render_tongue

SIDE = 128
Y, X = numpy.mgrid[:SIDE, :SIDE]
DISK = (Y - 64) ** 2 + (X - 64) ** 2 < 40**2
ALL = numpy.ones((SIDE, SIDE), dtype=bool)


def judge(pixels=None, probability=None, cast=0.0):
    if pixels is None:
        pixels = render_tongue(random_attributes(1), size=SIDE, seed=1)
    probability = 0.95 * DISK if probability is None else probability
    region = find_region(probability.astype("float32"), ALL)
    return judge_tongue(pixels, region.mask, region, cast)


def rendered(change):
    pixels = render_tongue(random_attributes(1), size=SIDE, seed=1)
    return change(pixels.astype(float)).clip(0, 255).astype("uint8")


def blur(pixels):
    image = Image.fromarray(pixels.astype("uint8")).filter(ImageFilter.GaussianBlur(5))
    return numpy.asarray(image).astype(float)


def test_a_good_photo_has_no_fault():
    measured, reasons = judge()
    assert reasons == ()
    assert measured["tongue_share"] == pytest.approx(DISK.mean(), abs=1e-3)
    assert all(isinstance(value, float) for value in measured.values())


@pytest.mark.parametrize(
    ("reason", "arguments"),
    [
        ("no_tongue", {"probability": 0.55 * DISK}),
        ("no_tongue", {"probability": 0.95 * ((Y - 64) ** 2 * 9 + (X - 64) ** 2 < 50**2)}),
        ("tongue_too_small", {"probability": 0.95 * ((Y - 64) ** 2 + (X - 64) ** 2 < 8**2)}),
        ("several_tongues", {"probability": 0.95 * ((Y - 64) ** 2 + (X % 64 - 32) ** 2 < 26**2)}),
        ("cut_off", {"probability": 0.95 * ((Y - 128) ** 2 + (X - 64) ** 2 < 40**2)}),
        ("blurred", {"pixels": rendered(blur)}),
        ("tongue_too_dark", {"pixels": rendered(lambda p: p / 6)}),
        ("tongue_too_bright", {"pixels": rendered(lambda p: 215 + p / 8)}),
        ("clipped", {"pixels": rendered(lambda p: numpy.where(Y[..., None] < 60, 255, p))}),
        ("colour_cast", {"cast": 12.0}),
    ],
)
def test_each_fault(reason, arguments):
    _, reasons = judge(**arguments)
    assert reason in reasons
    assert set(reasons) <= {reason, "blurred"}, "darkness and brightness hide detail, too"
    assert set(reasons) <= set(REASONS)


def test_a_second_part_counts_if_it_is_surely_a_tongue():
    first = (Y - 64) ** 2 + (X - 40) ** 2 < 30**2
    second = (Y - 64) ** 2 + (X - 100) ** 2 < 18**2
    assert judge(probability=0.95 * first + 0.95 * second)[1] == ("several_tongues",)
    measured, reasons = judge(probability=0.95 * first + 0.85 * second)
    assert (measured["second_tongue"], reasons) == (0, ())


def test_every_bound_is_of_something_measured():
    measured, _ = judge()
    assert {name for _, name, _, _ in TONGUE_BOUNDS} == set(measured)
    assert {reason for reason, _, _, _ in TONGUE_BOUNDS} <= set(REASONS)
