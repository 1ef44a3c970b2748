"""Numbers as notes write them: 5~8, 三四, 十余, <4, 半, full-width digits, and durations."""

import re
from typing import NamedTuple

Number = int | float

# Character by character, so that offsets stay those of the text.
_FULL_WIDTH = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | {
    ord(c): ord(to)
    for c, to in zip("～〜∼–—―－−‐〇○两廿卅壹贰叁　", "~~~------零零二廿卅一二三 ", strict=True)
}
_DIGITS = {c: n for n, c in enumerate("零一二三四五六七八九")}
_TENS = {"廿": 20, "卅": 30}
_POWERS = {"十": 10, "百": 100, "千": 1000, "万": 10000}

CHINESE = "零一二三四五六七八九十百千万廿卅"
_ATOM = rf"(?:\d+(?:\.\d+)?|[{CHINESE}]+|[数几](?![{CHINESE}\d]*[据值])十?)"
_LOW = r"不下于|不少于|不低于|至少|超过|多于|大于|>=|≥|>|逾"
_HIGH = r"不超过|不多于|不足|少于|小于|不到|未满|最多|<=|≤|<"
_ABOUT = r"大约|约|将近|近|大概"
NUMBER = (
    rf"(?P<bound>{_LOW}|{_HIGH}|{_ABOUT})?\s*(?P<first>{_ATOM})(?P<first_more>余|多|来|几)?"
    rf"(?:\s*[次行回分日天周月年]?\s*(?:-{{1,2}}|~|至|到|、(?=[{CHINESE}]))\s*"
    rf"(?P<second>\d+(?:\.\d+)?|[{CHINESE}]+))?(?P<more>余|多|来|\+)?"
)
_number = re.compile(NUMBER)
_exclusive = re.compile(r"超过|多于|大于|>|逾|不足|少于|小于|不到|未满|<")
_low, _high, _about = (re.compile(f"(?:{p})$") for p in (_LOW, _HIGH, _ABOUT))


class Quantity(NamedTuple):
    """A number or a range of text[start:end].

    low, high: the ends, equal for one number; None where open or unknown. high of 十余 is None;
        both of 数 are. fuzzy: the words leave it open (约, 余, 三四). exclusive: the end that there
        is is not included (<4).
    """

    low: Number | None
    high: Number | None
    start: int
    end: int
    fuzzy: bool = False
    exclusive: bool = False


def normalise_width(text: str) -> str:
    """Full-width digits, letters and signs as ASCII, 两 as 二, 〇 as 零; of the same length."""
    return text.translate(_FULL_WIDTH)


def parse_chinese(word: str) -> int | None:
    """二十三 -> 23, 一百零五 -> 105, 二零二四 -> 2024, 廿 -> 20. None: it is no such number."""
    word = normalise_width(word)
    if not word or any(c not in CHINESE for c in word):
        return None
    if all(c in _DIGITS for c in word):
        return int("".join(str(_DIGITS[c]) for c in word))
    total = section = digit = 0
    last = 10**9  # the power before: they must fall within a section
    for char in word:
        if char in _DIGITS:
            if digit:
                return None
            digit = _DIGITS[char]
        elif char in _TENS:
            if digit or section % 100 >= 10:
                return None
            section += _TENS[char]
            last = 10
        elif char == "万":
            if total or not section + digit:
                return None
            total, section, digit, last = (section + digit) * 10000, 0, 0, 10**9
        else:
            power = _POWERS[char]
            if power >= last or (not digit and (power != 10 or section % 100)):
                return None
            section += (digit or 1) * power
            digit, last = 0, power
    return total + section + digit


def parse_atom(word: str) -> tuple[Number | None, Number | None] | None:
    """One number word as (low, high): 8 -> (8, 8), 三四 -> (3, 4), 二三十 -> (20, 30),
    十二三 -> (12, 13), 数 -> (None, None), 几十 -> (20, 90). None: it is no number."""
    if re.fullmatch(r"\d+", word):
        return int(word), int(word)
    if re.fullmatch(r"\d+\.\d+", word):
        return float(word), float(word)
    if word in ("数", "几"):
        return None, None
    if word in ("数十", "几十"):
        return 20, 90
    pair = re.fullmatch(r"(.*?)([一二三四五六七八九])([一二三四五六七八九])([十百千万]*)", word)
    if pair and _DIGITS[pair[3]] - _DIGITS[pair[2]] in (1, 2):
        ends = [parse_chinese(pair[1] + digit + pair[4]) for digit in (pair[2], pair[3])]
        if None not in ends and (pair[1] == "" or pair[1][-1] not in _DIGITS):
            return ends[0], ends[1]
    value = parse_chinese(word)
    return None if value is None else (value, value)


def quantity_of(match: re.Match[str]) -> Quantity | None:
    """Of a match that has the groups of `NUMBER`. None: what looks like a number is none."""
    first = parse_atom(match["first"])
    if first is None:
        return None
    low, high = first
    bound = match["bound"] or ""
    fuzzy = low is None or low != high or bool(_about.match(bound))
    if match["second"]:
        second = parse_atom(match["second"])
        if second is None or second[1] is None:
            return None
        if low is not None and second[1] >= low:
            high = second[1]
            fuzzy = bool(_about.match(bound))
    if match["more"] or match["first_more"]:
        fuzzy = True
        if match["first_more"] == "几" and low is not None:
            low, high = low + 1, low + 9
        elif not match["second"]:
            high = None
    if _low.match(bound):
        high, fuzzy = None, True
    elif _high.match(bound):
        low, high, fuzzy = None, high if high is not None else low, True
    start, end = match.span("first")
    start = match.start("bound") if match["bound"] else start
    exclusive = bool(_exclusive.fullmatch(bound))
    return Quantity(low, high, start, max(end, match.end()), fuzzy, exclusive)


def find_quantity(text: str, start: int = 0, end: int | None = None) -> Quantity | None:
    """The first number in a text of normal width."""
    at, end = start, len(text) if end is None else end
    while match := _number.search(text, at, end):
        found = quantity_of(match)
        if found is not None:
            return found
        at = match.start() + 1
    return None


# Durations ------------------------------------------------------------------------------------

_UNITS = {"天": "日", "日": "日", "d": "日", "周": "周", "星期": "周", "礼拜": "周", "w": "周"}
_UNITS |= {"月": "月", "个月": "月", "年": "年", "载": "年", "旬": "旬"}
_HALVES = {"年": (6, "月"), "月": (15, "日"), "日": (0.5, "日"), "周": (0.5, "周")}
_UNIT = r"(?P<unit>个[多余来]月|个月|个?星期|个?礼拜|周|天|日|月|年|载|旬|[dw](?![A-Za-z]))"
_duration = re.compile(
    rf"(?P<half>半)个?{_UNIT.replace('unit', 'half_unit')}"
    rf"|{NUMBER}\s*(?P<and_half>个半)?{_UNIT}(?P<half_after>半)?(?P<more_after>余|多|来)?"
    rf"|(?<![\d{CHINESE}初底本上下])(?P<one>[周月年旬])(?P<one_more>余|许|日)"
)
# What makes N月 or N日 a date.
_date_before = re.compile(r"年\s*$|[月.\-/]\s*$")
_date_after = re.compile(r"\s*(?:\d|[一二三四五六七八九十]+[日号]|[上中下]旬|初|底|份)")


class Duration(NamedTuple):
    """value: a number or [low, high], in unit 日, 周, 月 or 年."""

    value: Number | list[Number]
    unit: str
    start: int
    end: int
    fuzzy: bool


def find_durations(text: str, start: int = 0, end: int | None = None) -> list[Duration]:
    """Spans of time in a text of normal width, dates left out: 3月余 is one, 2024年3月 is none.

    半年 is 6 months and 半月 15 days; 1年半 is 1.5 years. 3月 alone may be a month of the calendar
    and is fuzzy. 数月 says no number and is left out.
    """
    found = []
    for m in _duration.finditer(text, start, len(text) if end is None else end):
        value: Number | list[Number]
        if m["half"]:
            if half := _HALVES.get(_unit(m["half_unit"])):
                found.append(Duration(half[0], half[1], *m.span(), False))
            continue
        if m["one"]:
            unit, value = ("日", 10) if m["one"] == "旬" else (m["one"], 1)
            found.append(Duration(value, unit, *m.span(), True))
            continue
        number = quantity_of(m)
        if number is None or (number.low is None and number.high is None):
            continue
        unit = _unit(m["unit"])
        if _is_date(text, m, unit, number):
            continue
        low, high = number.low, number.high
        fuzzy = number.fuzzy or bool(m["more_after"]) or m["unit"][1:2] in ("多", "余", "来")
        low = high if low is None else low
        assert low is not None
        if m["and_half"] or m["half_after"]:
            low = high = low + 0.5
        value = low if high is None or high == low else [low, high]
        if unit == "旬":
            value, unit = [10 * v for v in value] if isinstance(value, list) else 10 * value, "日"
        bare_month = m["unit"] == "月" and not (fuzzy or m["half_after"] or m["and_half"])
        fuzzy = fuzzy or bare_month
        if unit == "月" and found and (years := _years_before(text, found[-1], number.start)):
            # 三年零两个月: one, in months.
            more, start = 12 * years, found.pop().start
            value = [v + more for v in value] if isinstance(value, list) else value + more
            found.append(Duration(value, unit, start, m.end(), fuzzy))
            continue
        found.append(Duration(value, unit, number.start, m.end(), fuzzy))
    return found


def _years_before(text: str, found: Duration, start: int) -> Number | None:
    """The years of a duration that goes on with months."""
    if found.unit != "年" or isinstance(found.value, list):
        return None
    return found.value if re.fullmatch("[零又]?", text[found.end : start]) else None


def _unit(word: str) -> str:
    return _UNITS[word.lstrip("个多余来")]


def _is_date(text: str, match: re.Match[str], unit: str, number: Quantity) -> bool:
    before, after = text[: match.start()], text[match.end() :]
    if unit == "年":
        return number.low is not None and number.low >= 1900
    if unit == "月" and match["unit"] == "月":
        if match["more_after"] or match["half_after"]:
            return False
        return bool(_date_before.search(before) or _date_after.match(after))
    if unit == "日":
        return bool(re.search(r"月\s*$", before))
    return False
