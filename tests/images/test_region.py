import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_tcm.images.region import MARGIN, cut_square, find_region

SIDE = 64
ALL = numpy.ones((SIDE, SIDE), dtype=bool)


def disk(row, column, radius):
    y, x = numpy.mgrid[:SIDE, :SIDE]
    return ((y - row) ** 2 + (x - column) ** 2 <= radius**2).astype("float32")


def test_one_tongue():
    region = find_region(0.9 * disk(30, 34, 12), ALL)
    assert region.mask.sum() == disk(30, 34, 12).sum()
    assert region.share == pytest.approx(region.mask.mean())
    assert region.certainty == pytest.approx(0.9)
    assert region.second_share == region.second_certainty == region.at_edge == 0
    assert region.roundness == pytest.approx(1, abs=0.02)
    top, left, side = region.square()
    assert side == round(25 * (1 + 2 * MARGIN))
    assert (top + side / 2, left + side / 2) == pytest.approx((30.5, 34.5), abs=1)


def test_holes_are_filled_and_the_largest_part_wins():
    large = disk(20, 20, 14) - disk(20, 20, 3)
    region = find_region(large + 0.8 * disk(50, 50, 7), ALL)
    assert region.mask[20, 20]
    assert not region.mask[50, 50]
    assert region.second_certainty == pytest.approx(0.8)
    assert region.second_share == pytest.approx(disk(50, 50, 7).sum() / large.sum())


def test_padding_is_no_photo():
    content = ALL.copy()
    content[:, :20] = content[:, 44:] = False
    region = find_region(disk(32, 32, 20), content)
    assert not region.mask[:, :20].any()
    assert region.at_edge > 1, "straight along both sides of the photo"
    assert region.share == pytest.approx(region.mask.sum() / content.sum())


def test_only_the_edges_below_and_beside_cut_a_tongue_off():
    # Its chord at a distance of 16 from the middle, in the band of two pixels along the edge.
    chord = 2 * numpy.sqrt(20**2 - 16**2) / numpy.sqrt(disk(32, 32, 20).sum())
    for row, column in [(47, 32), (32, 16), (32, 47)]:
        region = find_region(disk(row, column, 20), ALL)
        assert region.at_edge == pytest.approx(chord, abs=0.15), (row, column)
    assert find_region(disk(16, 32, 20), ALL).at_edge == 0, "the mouth is above"
    padded = ALL.copy()
    padded[52:] = padded[:, 52:] = False
    assert find_region(disk(36, 26, 20), padded).at_edge > 0.4, "where the photo ends"
    assert find_region(disk(30, 30, 17), padded).at_edge == 0


@pytest.mark.parametrize("turned", [False, True])
def test_roundness_is_the_ratio_of_the_axes(turned):
    y, x = numpy.mgrid[:SIDE, :SIDE] - 32
    ellipse = (y**2 / 12**2 + x**2 / 24**2 < 1).astype("float32")
    region = find_region(ellipse.T if turned else ellipse, ALL)
    assert region.roundness == pytest.approx(0.5, abs=0.02)
    line = (y == 0).astype("float32")
    assert find_region(line, ALL).roundness == pytest.approx(1 / 64, abs=1e-3)


def test_nothing_found():
    assert find_region(numpy.full((SIDE, SIDE), 0.4, dtype="float32"), ALL) is None
    assert find_region(disk(32, 32, 9), ~ALL) is None


@given(st.integers(-80, 80), st.integers(-80, 80), st.integers(1, 90))
def test_squares_may_leave_the_photo(top, left, side):
    plane = numpy.arange(SIDE * SIDE).reshape(SIDE, SIDE) + 1
    found = cut_square(plane, (top, left, side))
    padded = numpy.pad(plane, 200)
    expected = padded[200 + top : 200 + top + side, 200 + left : 200 + left + side]
    numpy.testing.assert_array_equal(found, expected)
