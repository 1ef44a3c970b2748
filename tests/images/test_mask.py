"""Against SciPy, which is installed for development only."""

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import ndimage

from spacy_tcm.images.mask import dilate, fill_holes, find_rim, label_parts

MASKS = arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=12))


@given(MASKS, st.integers(0, 5))
def test_as_scipy(mask, steps):
    before = mask.copy()
    parts, n_parts = label_parts(mask)
    expected, n_expected = ndimage.label(mask)
    assert n_parts == n_expected
    numpy.testing.assert_array_equal(parts, expected)
    numpy.testing.assert_array_equal(fill_holes(mask), ndimage.binary_fill_holes(mask))
    numpy.testing.assert_array_equal(find_rim(mask), mask & ~ndimage.binary_erosion(mask))
    grown = ndimage.binary_dilation(mask, iterations=steps) if steps else mask
    numpy.testing.assert_array_equal(dilate(mask, steps), grown)
    numpy.testing.assert_array_equal(mask, before)


@pytest.mark.parametrize("density", [0.3, 0.5, 0.6, 0.9])
def test_many_parts(density):
    """Near 0.6 parts are largest and most winding."""
    mask = numpy.random.default_rng(0).random((160, 160)) < density
    parts, _ = label_parts(mask)
    numpy.testing.assert_array_equal(parts, ndimage.label(mask)[0])
    numpy.testing.assert_array_equal(fill_holes(mask), ndimage.binary_fill_holes(mask))
