"""Subwords against Hugging Face's fast tokenizer."""

from functools import cache
from pathlib import Path

import pytest
import srsly
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from spacy_tcm.compress.deploy_subwords import read_subwords
from spacy_tcm.errors import ModelError
from spacy_tcm.subwords import Subwords

DESCRIPTION = (Path(__file__).parents[1] / "assets/encoder/tokenizer.json").read_text("utf-8")


def changed(**bert):
    """The tokenizer with other settings of its BertNormalizer, and without NFKC."""
    description = srsly.json_loads(DESCRIPTION)
    description["normalizer"] = {**description["normalizer"]["normalizers"][1], **bert}
    return srsly.json_dumps(description)


@cache
def tokenizer(description):
    return Tokenizer.from_str(description)


def check(text, description=DESCRIPTION):
    found = read_subwords(description)(text)
    right = tokenizer(description).encode(text, add_special_tokens=False)
    assert found.ids == right.ids
    assert list(zip(found.starts, found.ends, strict=True)) == right.offsets


ODD = st.sampled_from(
    [
        *"患者便血，。：abZ09éÀ①㎎ﬁ２Ｂ😀👨𠀀豈﨎힣ᄀﾡカ゛ﾞか<÷×≤%-[]İßΣ \u3000\t\r\n",
        *"\u0301\u0327\u3099\u0338\u1161\u11a8\ufe0f\u200b\u200d\ufeff\x00\x07\x85\ufffd",
        *("e\u0301", "か\u3099", "[MASK]", "[SEP]", "ᄀ\u1161\u11a8"),
    ]
)


@given(st.lists(ODD, max_size=20).map("".join))
@example("COVID19阳性，T38.5℃ VAS６分")
@example("")
@example("a" * 101 + "口")
@example("e\u0327\u0301\u0301x")
def test_odd_texts(text):
    check(text)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=30))
def test_any_text(text):
    check(text)


@pytest.mark.parametrize(
    "settings",
    [
        {"lowercase": False},
        {"strip_accents": True},
        {"strip_accents": None},
        {"clean_text": False},
        {"handle_chinese_chars": False},
    ],
)
def test_other_settings(settings):
    description = changed(**settings)
    for text in ("舌ＡＢéÀ，ABC\u200bd 1.5mg", "口\u3000干e\u0301x\t脉", "[CLS]İ龘𠀀"):
        check(text, description)


def test_reloads_the_same():
    subwords = read_subwords(DESCRIPTION)
    again = Subwords.from_bytes(subwords.to_bytes())
    assert again("脉弦ＡbC\u0e33😀") == subwords("脉弦ＡbC\u0e33😀")


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("model", {"type": "BPE", "vocab": {}, "merges": []}),
        ("normalizer", {"type": "NFD"}),
        ("pre_tokenizer", {"type": "Whitespace"}),
        ("pre_tokenizer", None),
    ],
)
def test_another_kind_of_tokenizer_is_refused(part, value):
    description = srsly.json_loads(DESCRIPTION)
    description[part] = value
    with pytest.raises(ModelError, match="E471"):
        read_subwords(srsly.json_dumps(description))
