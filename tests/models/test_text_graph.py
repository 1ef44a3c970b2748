"""How texts are put into batches for the graphs, and what tokens take from their subwords."""

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_tcm.models.text_graph import _batches, _mean_rows, _round_length, _round_rows


@given(
    st.lists(st.integers(1, 300), max_size=40), st.integers(1, 2000), st.sampled_from([1, 4, 32])
)
def test_every_item_once_within_the_bounds(lengths, most, most_rows):
    batches = list(_batches(lengths, most, most_rows, 1.0))
    assert sorted(i for group, _ in batches for i in group) == list(range(len(lengths)))
    for group, length in batches:
        assert length == _round_length(max(lengths[i] for i in group))
        assert len(group) <= most_rows
        assert length * len(group) <= most or len(group) == 1


def test_lengths_that_differ_are_not_padded_to_one():
    lengths = [100] * 8 + [1100] + [400] * 8
    batches = {length: sorted(group) for group, length in _batches(lengths, 10_000, 32, 4.0)}
    assert batches == {128: [*range(8)], 1152: [8], 416: [*range(9, 17)]}


@given(st.lists(st.integers(1, 200), min_size=1, max_size=40))
def test_there_is_no_better_split_into_two(lengths):
    def cost(group):
        length = _round_length(max(lengths[i] for i in group))
        return length * (2.0 + _round_rows(len(group)))

    found = sum(cost(group) for group, _ in _batches(lengths, 10_000, 64, 2.0))
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    splits = [[order]] + [[order[:k], order[k:]] for k in range(1, len(order))]
    assert found <= min(sum(map(cost, split)) for split in splits)


@pytest.mark.parametrize("seed", range(5))
def test_mean_rows(seed):
    rng = numpy.random.default_rng(seed)
    counts = rng.choice([1, 1, 1, 2, 5], size=30)
    rows = rng.normal(size=(counts.sum(), 6)).astype("f")
    ends = numpy.cumsum(counts)
    right = [rows[end - n : end].mean(0) for end, n in zip(ends, counts, strict=True)]
    numpy.testing.assert_allclose(_mean_rows(rows, counts), right, atol=1e-6)
