import unicodedata
from itertools import pairwise

import pytest
import spacy
from hypothesis import given
from hypothesis import strategies as st

from spacy_tcm.errors import ModelError
from spacy_tcm.models.windows import BREAKS, create_subword_windows

NLP = spacy.blank("tcm")


def cut(text, *settings):
    (windows,) = create_subword_windows(*settings)([NLP.make_doc(text)])
    return windows


def subwords(tokens):
    return sum(len(unicodedata.normalize("NFKD", token.text)) for token in tokens)


SETTINGS = st.tuples(st.integers(1, 24), st.integers(0, 8)).filter(lambda s: 2 * s[1] < s[0])


@given(st.text("口干，。\n1a ㎎각", max_size=120), SETTINGS)
def test_windows_cover_the_doc_and_none_is_too_long(text, settings):
    windows = cut(text, *settings)
    covered = [token.i for window in windows for token in window]
    assert sorted(set(covered)) == list(range(len(NLP.make_doc(text))))
    for a, b in pairwise(windows):
        assert a.start <= b.start <= a.end < b.end
    for window in windows:
        assert subwords(window) <= settings[0] or len(window) == 1


@given(st.text("口干，。\n", min_size=1, max_size=200), SETTINGS)
def test_neighbours_share_the_context_of_both_and_not_much_more(text, settings):
    most, overlap = settings
    windows = cut(text, *settings)
    reach = (most - 2 * overlap) // 4
    for a, b in pairwise(windows):
        assert 2 * overlap <= a.end - b.start <= 2 * overlap + reach
    # No window is in vain: their number is linear.
    assert len(windows) <= 1 + len(text) / ((most - 2 * overlap) / 2)


def test_begins_and_ends_at_sentence_ends():
    assert [w.text for w in cut("头痛三天。舌红", 6, 0)] == ["头痛三天。", "舌红"]
    windows = cut("头痛三天，伴恶心。舌红苔黄。" * 40, 64, 8)
    assert len(windows) > 10
    for window in windows:
        assert window.start == 0 or window.doc[window.start - 1].text in BREAKS
        assert window[-1].text in BREAKS


def test_without_sentence_ends_it_cuts_where_the_window_is_full():
    windows = cut("口" * 100, 20, 4)
    assert [(w.start, w.end) for w in windows[:3]] == [(0, 20), (12, 32), (24, 44)]


def test_context_goes_before_a_long_token_that_follows():
    """Both neighbours of a long number fit into a window with it, but not 2 * overlap of them."""
    windows = cut("口" * 20 + "1" * 17 + "干" * 20, 20, 4)
    assert [(w.start, w.end) for w in windows] == [(0, 20), (17, 21), (20, 24), (21, 41)]


def test_endless_token_is_alone():
    windows = cut("口干" + "1" * 30 + "口干", 20, 4)
    assert [w.text for w in windows] == ["口干", "1" * 30, "口干"]


def test_windows_do_not_depend_on_what_is_far_before():
    """Cut out from the start of a window, the rest of the text has the same windows."""
    text = "".join("头痛" * (i % 9 + 1) + "。" for i in range(300))
    windows = cut(text, 64, 8)
    middle = windows[7]
    again = cut(text[middle.start_char :], 64, 8)
    assert [w.text for w in again] == [w.text for w in windows[7:]]


def test_empty_doc_and_bad_settings():
    assert create_subword_windows()([NLP.make_doc("")]) == [[]]
    with pytest.raises(ModelError, match="E413"):
        create_subword_windows(0)
    for overlap in (-1, 5):
        with pytest.raises(ModelError, match="E420"):
            create_subword_windows(10, overlap)
