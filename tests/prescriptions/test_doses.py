import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_tcm.prescriptions.doses import WIDTHS, Doses, read_number
from spacy_tcm.prescriptions.grammar import DEFAULT_WORDS

DOSES = Doses(json.loads(DEFAULT_WORDS.read_text("utf8")))


@pytest.fixture(scope="module")
def doses():
    return DOSES


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("7", 7),
        ("0.5", 0.5),
        ("七", 7),
        ("十", 10),
        ("十四", 14),
        ("廿一", 21),
        ("二十", 20),
        ("一百二十", 120),
        ("两", 2),
        ("半", 0.5),
        ("一半", 1.5),
        ("", None),
        ("x", None),
    ],
)
def test_numbers(text, value):
    assert read_number(text) == value


@pytest.mark.parametrize(
    ("text", "amount", "unit", "grams"),
    [
        ("10g", 10, "g", 10),
        ("３０克", 30, "g", 30),
        ("1.5g", 1.5, "g", 1.5),
        ("30mg", 30, "mg", 0.03),
        ("三钱", 3, "钱", 9),
        ("钱半", 1.5, "钱", 4.5),
        ("一钱半", 1.5, "钱", 4.5),
        ("一钱五分", 1.5, "钱", 4.5),
        ("一两二钱", 1.2, "两", 36),
        ("八分", 8, "分", 2.4),
        ("3枚", 3, "枚", None),
        ("十二枚", 12, "枚", None),
        ("少许", None, "少许", None),
    ],
)
def test_doses(doses, text, amount, unit, grams):
    plain = text.translate(WIDTHS)
    found = doses.match(plain, 0, len(plain))
    assert (found.amount, found.unit, found.end) == (amount, unit, len(text))
    assert doses.to_grams(found.amount, found.unit) == grams
    assert not found.implied


def test_each_ranges_and_bare_numbers(doses):
    assert doses.match("各10g", 0, 4).each
    found = doses.match("6~10g", 0, 5)
    assert (found.amount, found.high) == (6, 10)
    found = doses.match("15 当归", 0, 5)
    assert (found.amount, found.unit, found.implied, found.end) == (15, "g", True, 2)
    found = doses.match("10g*7", 0, 5)
    assert (found.amount, found.end) == (10, 3)


@pytest.mark.parametrize("text", ["7剂", "3次", "5天", "2023年", "38.5%", "10:30", "钱", "g", "各"])
def test_what_is_no_dose(doses, text):
    assert doses.match(text, 0, len(text)) is None


@given(st.text(alphabet="0123456789.一二十百半廿各钱两分克g~枚少许 ", max_size=12))
def test_any_text_of_such_characters(text):
    found = DOSES.match(text, 0, len(text))
    assert found is None or 0 < found.end <= len(text)
