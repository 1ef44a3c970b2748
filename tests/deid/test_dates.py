import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_tcm.deid.dates import find_dates, find_year, shift_date


def dates(text):
    return [(text[d.start : d.end], d.exact) for d in find_dates(text)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("2024年3月5日入院", [("2024年3月5日", True)]),
        ("2024-03-05 10:20", [("2024-03-05", True)]),
        ("2024.3.5，2024/3/5", [("2024.3.5", True), ("2024/3/5", True)]),
        ("2024年1月8日16时", [("2024年1月8日", True)]),
        ("去年5月6日起", [("5月6日", True)]),
        ("二〇二三年十月二十一日", [("二〇二三年十月二十一日", True)]),
        ("2023年5月起", [("2023年5月", False)]),
        # Durations, doses, results and days that no calendar has.
        ("3月余，2年3月，13月45日，2024年2月30日", []),
        ("血压120/80mmHg，8.5.2，1.2024.3，5-8次/日", []),
        ("WBC 2024.5×10", []),
    ],
)
def test_find(text, found):
    assert dates(text) == found


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("2024年3月5日", "2024年2月24日"),
        ("2024-03-05", "2024-02-24"),
        ("2024/3/11", "2024/3/1"),
        ("24年3月5日", "24年2月24日"),
        ("3月5日", "2月23日"),  # of 2023
        ("二〇二四年三月五日", "二〇二四年二月二十四日"),
        ("二零二四年三月十一日", "二零二四年三月一日"),
        ("2024年3月", "2024年3月"),
        ("20240305", "20240224"),
        ("三月", None),
    ],
)
def test_shift(old, new):
    assert shift_date(old, -10, 2023) == new


@given(st.dates(datetime.date(1905, 1, 1), datetime.date(2090, 1, 1)), st.integers(-900, 900))
def test_shift_moves_by_as_many_days(day, days):
    for form in ("{0}年{1}月{2}日", "{0}-{1:02d}-{2:02d}", "{0}.{1}.{2}", "{0}{1:02d}{2:02d}"):
        old = form.format(day.year, day.month, day.day)
        moved = day + datetime.timedelta(days=days)
        expected = form.format(moved.year, moved.month, moved.day)
        assert shift_date(old, days, 2000).replace("-0", "-") == expected.replace("-0", "-")


def test_year():
    assert find_year("二〇二三年十月") == 2023
    assert find_year("3月5日") is None
