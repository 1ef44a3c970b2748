import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_tcm.fields.numbers import (
    find_durations,
    find_quantity,
    normalise_width,
    parse_chinese,
)

DIGITS = "零一二三四五六七八九"


def to_chinese(number):
    """0 to 9999, as one writes it."""
    if number < 20:
        return (
            DIGITS[number] if number < 10 else "十" + (DIGITS[number - 10] if number > 10 else "")
        )
    words, zero = "", False
    for power, sign in ((1000, "千"), (100, "百"), (10, "十"), (1, "")):
        digit = number // power % 10
        if digit:
            words += ("零" if zero and words else "") + DIGITS[digit] + sign
        zero = not digit
    return words


@given(st.integers(0, 9999))
def test_chinese_numerals_are_read_as_they_are_written(number):
    assert parse_chinese(to_chinese(number)) == number
    assert parse_chinese("".join(DIGITS[int(d)] for d in str(number))) == number


@given(st.text())
def test_any_text_keeps_its_length_and_any_offsets_are_of_it(text):
    normal = normalise_width(text)
    assert len(normal) == len(text)
    for found in [find_quantity(normal), *find_durations(normal)]:
        assert found is None or 0 <= found.start < found.end <= len(text)


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("5~8次", 5, 8),
        ("３－４次", 3, 4),
        ("三四次", 3, 4),
        ("十余次", 10, None),
        ("数次", None, None),
        ("<4次", None, 4),
        ("不下于5次", 5, None),
        ("二至三次", 2, 3),
        ("二三十次", 20, 30),
        ("两次", 2, 2),
    ],
)
def test_quantities(text, low, high):
    assert find_quantity(normalise_width(text))[:2] == (low, high)


@pytest.mark.parametrize(
    ("text", "value", "unit"),
    [
        ("3月余", 3, "月"),
        ("3月", 3, "月"),
        ("半年", 6, "月"),
        ("1年半", 1.5, "年"),
        ("3个半月", 3.5, "月"),
        ("六七年", [6, 7], "年"),
        ("旬日", 10, "日"),
        ("廿年", 20, "年"),
        ("1~2周", [1, 2], "周"),
    ],
)
def test_durations(text, value, unit):
    (found,) = find_durations(normalise_width(text))
    assert (found.value, found.unit) == (value, unit)


@pytest.mark.parametrize(
    ("text", "value"), [("三年零两个月", 38), ("3年2个月", 38), ("2年又3~4个月", [27, 28])]
)
def test_years_and_months_are_one(text, value):
    (found,) = find_durations(normalise_width(text))
    assert (found.value, found.unit, found.start, found.end) == (value, "月", 0, len(text))


def test_years_and_months_apart_are_two():
    assert [d.unit for d in find_durations("3年，2个月")] == ["年", "月"]


@pytest.mark.parametrize("text", ["2024年3月", "2月27日", "2024-3-5", "数月", "3月初"])
def test_dates_are_no_durations(text):
    assert find_durations(text) == []


def test_a_bare_month_may_be_a_date():
    assert find_durations("3月")[0].fuzzy
    assert not find_durations("3个月")[0].fuzzy
