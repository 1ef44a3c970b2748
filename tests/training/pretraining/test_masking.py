import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_tcm.lexicon import Entry, Lexicon
from spacy_tcm.training.pretraining.encoder import make_vocabulary, write_tokenizer
from spacy_tcm.training.pretraining.masking import SHOWN_AS, choose_masked, hide, mask_units

LETTERS = "口干舌淡红VAS分3７ ，"
LEXICON = Lexicon(
    [
        Entry("口干", "SYMPTOM"),
        Entry("舌淡红", "TONGUE"),
        Entry("VAS", "TEST"),
        Entry("3分", "VALUE"),
    ]
)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return write_tokenizer(make_vocabulary([LETTERS]), tmp_path_factory.mktemp("tokenizer"), 512)


def offsets_of(tokenizer, text):
    return tokenizer(text, return_offsets_mapping=True)["offset_mapping"]


@given(text=st.text(LETTERS, max_size=40), seed=st.integers(0, 99), share=st.floats(0.05, 0.5))
def test_terms_and_words_are_masked_as_one_within_the_share(tokenizer, text, seed, share):
    offsets = offsets_of(tokenizer, text)
    units = mask_units(text, offsets, LEXICON)
    chosen = choose_masked(units, share, numpy.random.default_rng(seed))

    assert not chosen[0]  # [CLS]
    assert not chosen[-1]  # [SEP]
    for start, end in LEXICON.words(text):
        inside = [
            c for c, (s, e) in zip(chosen, offsets, strict=True) if start <= s < end and s < e
        ]
        assert len(set(inside)) == 1, "a term is hidden whole or not at all"
    ordinary = sum(unit >= 0 for unit in units)
    largest = max((units.count(unit) for unit in set(units) - {-1}), default=0)
    budget = max(1, round(share * ordinary))
    assert min(ordinary, 1) <= chosen.sum() <= max(budget, largest)


@given(text=st.text("口VAS3 .", max_size=40))
def test_pieces_of_a_word_are_one_unit(tokenizer, text):
    units = mask_units(text, offsets_of(tokenizer, text), None)
    for at, piece in enumerate(tokenizer(text).tokens()):
        if piece.startswith("##"):
            assert units[at] == units[at - 1]


@given(text=st.text(LETTERS, max_size=40))
def test_units_are_numbered_in_order_without_gaps(tokenizer, text):
    units = mask_units(text, offsets_of(tokenizer, text), LEXICON)
    found = [unit for unit in units if unit >= 0]
    assert found == sorted(found)
    assert set(found) == set(range(len(set(found))))


def test_without_lexicon_a_character_is_a_unit(tokenizer):
    text = "口干VAS"
    assert mask_units(text, offsets_of(tokenizer, text), None) == [-1, 0, 1, 2, 2, 2, -1]
    assert mask_units(text, offsets_of(tokenizer, text), LEXICON) == [-1, 0, 0, 1, 1, 1, -1]


def test_terms_that_touch_are_two_units(tokenizer):
    text = "口干口干舌淡红"
    units = mask_units(text, offsets_of(tokenizer, text), LEXICON)
    assert units == [-1, 0, 0, 1, 1, 2, 2, 2, -1]


def test_the_share_is_met_on_average():
    rng = numpy.random.default_rng(0)
    units = [-1, *(i // 2 for i in range(100)), -1]
    shares = [choose_masked(units, 0.2, rng).sum() / 100 for _ in range(50)]
    assert shares == pytest.approx([0.2] * 50)


def test_hidden_as_mask_other_or_itself():
    rng = numpy.random.default_rng(0)
    ids = rng.integers(5, 50, size=(200, 100))
    chosen = rng.random(ids.shape) < 0.5
    ordinary = list(range(5, 50))
    shown = hide(ids, chosen, 4, ordinary, rng)
    assert (shown[~chosen] == ids[~chosen]).all()
    count = chosen.sum()
    masked = (shown == 4).sum() / count
    same = (shown[chosen] == ids[chosen]).sum() / count
    # Of those replaced by any other, one in 45 happens to be itself.
    assert masked == pytest.approx(SHOWN_AS[0], abs=0.015)
    assert same == pytest.approx(SHOWN_AS[2] + SHOWN_AS[1] / 45, abs=0.015)
    assert set(numpy.unique(shown)) == {4, *ordinary}
