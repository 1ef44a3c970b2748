"""Calendar dates in Chinese notes: found and moved, in the form in which they were written."""

import datetime
import re
from collections.abc import Iterator
from typing import NamedTuple

_DIGITS = "〇一二三四五六七八九"
_YEAR_HAN = "[〇零○一二三四五六七八九]{4}"
_NUMBER_HAN = "[一二三]?十[一二三四五六七八九]?|[一二三四五六七八九]"
_DAY = r"(?P<day>\d{1,2})"
_MONTH = r"(?P<month>\d{1,2})"
_YEAR = r"(?P<year>(?:19|20)\d{2})"

# The first that fits at a place wins.
_PATTERNS = tuple(
    re.compile(rf"(?<![\dA-Za-z.]){pattern}")
    for pattern in (
        rf"{_YEAR} ?(?P<a>年) ?{_MONTH} ?(?P<b>月) ?{_DAY} ?(?P<c>[日号]|(?!\d|[.]\d))",
        rf"{_YEAR}(?P<a>[-./–]){_MONTH}(?P<b>(?P=a)){_DAY}(?P<c>)(?![\d%.]|[A-Za-z])",
        rf"(?P<year>\d{{2}})(?P<a>年){_MONTH}(?P<b>月){_DAY}(?P<c>[日号])",
        rf"(?P<year>{_YEAR_HAN})(?P<a>年)(?P<month>{_NUMBER_HAN})(?P<b>月)"
        rf"(?P<day>{_NUMBER_HAN})(?P<c>[日号])",
        rf"{_MONTH} ?(?P<b>月) ?{_DAY} ?(?P<c>[日号])",
        rf"{_YEAR} ?(?P<a>年) ?{_MONTH} ?(?P<b>月份?)(?![余来多])",
        rf"(?P<year>{_YEAR_HAN})(?P<a>年)(?P<month>{_NUMBER_HAN})(?P<b>月份?)(?![余来多])",
        rf"{_YEAR}(?P<month>\d{{2}}){_DAY}(?P<c>)(?!\d)".replace(r"\d{1,2}", r"\d{2}"),
    )
)
COMPACT = len(_PATTERNS) - 1


class FoundDate(NamedTuple):
    """exact: it names a day, not a month alone. compact: eight digits, a date by its cue only."""

    start: int
    end: int
    exact: bool
    compact: bool


def find_dates(text: str) -> Iterator[FoundDate]:
    """Dates that the calendar has, years from 1900, left to right. 3月余, 3年2月 are none."""
    at = 0
    while at < len(text):
        matches = [(m.start(), i, m) for i, p in enumerate(_PATTERNS) if (m := p.search(text, at))]
        if not matches:
            return
        _, number, match = min(matches, key=lambda found: found[:2])
        if _read(match) is None:
            at = match.start() + 1
            continue
        exact = "day" in match.re.groupindex
        yield FoundDate(match.start(), match.end(), exact, number == COMPACT)
        at = match.end()


def shift_date(text: str, days: int, year: int) -> str | None:
    """The date so many days later, written alike; None if text is no date.

    year: of a date that names none. A month alone is moved as its fifteenth day.
    """
    for pattern in _PATTERNS:
        match = pattern.fullmatch(text)
        date = _read(match, year) if match else None
        if match and date:
            return _write(match, date + datetime.timedelta(days=days))
    return None


def find_year(text: str) -> int | None:
    """The year that the date names, or None."""
    for pattern in _PATTERNS:
        match = pattern.fullmatch(text)
        if match and "year" in match.re.groupindex and (date := _read(match)):
            return date.year
    return None


def _read(match: re.Match[str], year: int = 2000) -> datetime.date | None:
    parts = match.groupdict()
    try:
        if "year" in parts:
            year = _number(parts["year"])
            year += 2000 if year < 100 else 0
        if not 1900 <= year <= 2100:
            return None
        return datetime.date(year, _number(parts["month"]), _number(parts.get("day") or "15"))
    except ValueError:
        return None


def _write(match: re.Match[str], date: datetime.date) -> str:
    parts = match.groupdict()
    padded = any(len(p) == 2 and p.startswith("0") for p in (parts["month"], parts.get("day", "")))
    padded |= match.re is _PATTERNS[COMPACT]
    new = {"year": date.year, "month": date.month, "day": date.day}
    pieces = []
    at = match.start()
    for name in ("year", "month", "day"):
        if name not in parts:
            continue
        old = parts[name]
        if not old.isascii():
            value = _in_han(new[name], name == "year", zero="零" if "零" in old else "〇")
        elif name == "year":
            value = str(new[name])[-len(old) :]
        else:
            value = f"{new[name]:02d}" if padded else str(new[name])
        pieces += [match.string[at : match.start(name)], value]
        at = match.end(name)
    return "".join(pieces) + match.string[at : match.end()]


def _number(text: str) -> int:
    if text.isascii():
        return int(text)
    values = {c: i for i, c in enumerate(_DIGITS)} | {"零": 0, "○": 0}
    if "十" not in text:
        return int("".join(str(values[c]) for c in text))
    tens, _, ones = text.partition("十")
    return 10 * values.get(tens, 1) + values.get(ones, 0)


def _in_han(number: int, by_digit: bool, zero: str) -> str:
    if by_digit:
        return "".join(_DIGITS[int(d)] for d in str(number)).replace("〇", zero)
    tens, ones = divmod(number, 10)
    head = ("" if tens == 1 else _DIGITS[tens]) + "十" if tens else ""
    return head + (_DIGITS[ones] if ones else "")
