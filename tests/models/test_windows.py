import pytest
import spacy
from hypothesis import given
from hypothesis import strategies as st

from spacy_tcm.errors import ModelError
from spacy_tcm.models.windows import create_subword_windows

NLP = spacy.blank("tcm")


@given(st.text("口干，。\n1a ㎎", max_size=60), st.integers(1, 12))
def test_windows_are_the_doc_cut_up(text, most):
    doc = NLP.make_doc(text)
    (windows,) = create_subword_windows(most)([doc])
    assert "".join(w.text_with_ws for w in windows) == text
    for window in windows:
        size = sum(len(t.text.replace("㎎", "mg")) for t in window)
        assert size <= most or len(window) == 1


def test_cuts_at_sentence_ends():
    doc = NLP.make_doc("口干。便血三天。舌红")
    (windows,) = create_subword_windows(6)([doc])
    assert [w.text for w in windows] == ["口干。", "便血三天。", "舌红"]


def test_empty_doc_and_bad_setting():
    assert create_subword_windows(9)([NLP.make_doc("")]) == [[]]
    with pytest.raises(ModelError, match="E413"):
        create_subword_windows(0)
