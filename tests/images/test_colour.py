"""Lab against published values; light is taken back where it is more than faces differ."""

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_tcm.images.colour import (
    FACE_CHROMA,
    FACE_DEVIATION,
    N_COLOURS,
    RADIUS,
    WARM,
    balancing_gains,
    cast_distance,
    lab_from_rgb,
    measure_face,
    measure_zones,
    random_light,
    relight,
)


def face_pixels(log_gains=(0.0, 0.0, 0.0), side=40):
    """An even picture of the usual face's chroma, under a light."""
    linear = 0.2 * numpy.exp(numpy.array([FACE_CHROMA[0], 0.0, FACE_CHROMA[1]]) + log_gains)
    encoded = 255 * (1.055 * linear ** (1 / 2.4) - 0.055)
    return numpy.tile(encoded.round().astype("uint8"), (side, side, 1))


def test_lab_of_known_colours():
    """CIE Lab, D65: sRGB white, red, green, blue and mid grey."""
    rgb = [(255, 255, 255), (255, 0, 0), (0, 255, 0), (0, 0, 255), (128, 128, 128)]
    expected = [
        (100, 0, 0),
        (53.24, 80.09, 67.20),
        (87.73, -86.18, 83.18),
        (32.30, 79.19, -107.86),
        (53.59, 0, 0),
    ]
    found = lab_from_rgb(numpy.array(rgb, dtype="uint8").T)
    numpy.testing.assert_allclose(found.T, expected, atol=0.02)


@given(st.tuples(*[st.floats(-0.7, -0.05)] * 3))
def test_light_can_be_taken_back(gains):
    """Up to rounding, if nothing was clipped."""
    pixels = numpy.arange(60, 240, dtype="uint8").reshape(-1, 1, 1).repeat(3, 2)
    back = relight(relight(pixels, gains), [-gain for gain in gains])
    assert abs(back.astype(int) - pixels).max() <= 3
    assert relight(pixels, (0.0, 0.0, 0.0)) is pixels


def test_a_usual_face_keeps_its_colour():
    chroma = measure_face(face_pixels(), numpy.ones((40, 40), dtype=bool))
    assert chroma == pytest.approx(FACE_CHROMA, abs=0.02)
    assert cast_distance(chroma) < 0.3
    assert balancing_gains(chroma) == (0, 0, 0)
    assert balancing_gains(None) == (0, 0, 0)


@pytest.mark.parametrize("strength", [-1.0, 1.0])
def test_a_strong_light_is_taken_back_to_what_faces_vary(strength):
    everywhere = numpy.ones((40, 40), dtype=bool)
    pixels = face_pixels(strength * numpy.array(WARM))
    chroma = measure_face(pixels, everywhere)
    assert cast_distance(chroma) > 4
    after = measure_face(relight(pixels, balancing_gains(chroma)), everywhere)
    assert cast_distance(after) == pytest.approx(RADIUS, abs=0.3)


@given(st.floats(-1.5, 1.5), st.floats(-1.5, 1.5))
def test_gains_never_overshoot(red, blue):
    chroma = (FACE_CHROMA[0] + red, FACE_CHROMA[1] + blue)
    gains = balancing_gains(chroma)
    left = cast_distance((chroma[0] + gains[0], chroma[1] + gains[2]))
    assert left == pytest.approx(min(RADIUS, cast_distance(chroma)), abs=1e-6)


def test_too_little_face_says_nothing():
    pixels = face_pixels()
    few = numpy.zeros((40, 40), dtype=bool)
    few[:5, :5] = True
    assert measure_face(pixels, few) is None
    assert measure_face(numpy.zeros_like(pixels), ~few) is None, "black"
    assert measure_face(numpy.full_like(pixels, 255), ~few) is None, "clipped"


def test_zones_are_measured_where_they_are():
    pixels = numpy.full((100, 100, 3), 128, dtype="uint8")
    pixels[80:] = (200, 60, 60)  # the tip
    mask = numpy.ones((100, 100), dtype=bool)
    zones = measure_zones(pixels, mask).reshape(5, 2, 3)
    assert zones.shape == (5, 2, 3)
    assert N_COLOURS == 30
    assert zones[2, 0, 1] > 1, "red"
    assert zones[[0, 1, 3, 4], 0, 1] == pytest.approx(-2.5, abs=1e-3), "a of grey is 0"
    assert zones[[0, 1, 3, 4], 1] == pytest.approx(-2, abs=1e-3), "even"


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1)])
def test_zones_of_a_sliver(shape):
    mask = numpy.zeros((50, 50), dtype=bool)
    mask[: shape[0], : shape[1]] = True
    found = measure_zones(face_pixels(side=50), mask)
    assert numpy.isfinite(found).all()
    assert FACE_DEVIATION[0] > 0


def test_lights_repeat():
    first = random_light(numpy.random.default_rng(3))
    assert first == random_light(numpy.random.default_rng(3))
    assert first != random_light(numpy.random.default_rng(4))
    assert random_light(numpy.random.default_rng(3), 0.0) == (0, 0, 0)
