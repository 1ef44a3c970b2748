from hypothesis import given
from hypothesis import strategies as st

from spacy_tcm.batching import cut_stretches, group_by_length


@given(st.lists(st.integers(0, 50), max_size=40), st.integers(1, 100))
def test_every_item_once_and_padding_bounded(lengths, most):
    groups = list(group_by_length(lengths, most))
    assert sorted(i for group in groups for i in group) == list(range(len(lengths)))
    for group in groups:
        assert group
        longest = max(lengths[i] for i in group)
        assert longest * len(group) <= most or len(group) == 1


def test_a_long_record_does_not_pad_the_others():
    assert list(group_by_length([5, 10_000, 6, 4], 100)) == [[3, 0, 2], [1]]


@given(st.integers(0, 500), st.integers(1, 60), st.integers(0, 30))
def test_stretches(length, size, context):
    parts = cut_stretches(length, size, context)
    used = [i for part in parts for i in range(part.first, part.last)]
    assert used == list(range(length))
    for part in parts:
        assert 0 < part.last - part.first <= size
        assert part.start == max(0, part.first - context)
        assert part.end == min(length, part.last + context)
