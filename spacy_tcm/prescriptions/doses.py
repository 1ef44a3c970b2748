"""Numbers and doses of prescriptions: 10g, 三钱, 一钱半, 各12克, 3~6g, 大枣4枚, 少许."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

# Full-width to ASCII, one character for one, so that offsets stay.
WIDTHS = str.maketrans(
    {**{chr(c + 0xFEE0): chr(c) for c in range(0x21, 0x7F)}, "\u3000": " ", "×": "*", "✕": "*"}
)
DIGITS = r"\d{1,5}(?:\.\d{1,3})?"
CHINESE = "(?:两|[〇零一二三四五六七八九十百半廿卅]{1,5})"

_VALUES = dict(zip("〇零一二两三四五六七八九", (0, 0, 1, 2, 2, 3, 4, 5, 6, 7, 8, 9), strict=True))


def read_number(text: str) -> float | None:
    """Digits or a Chinese numeral up to 999; None where it is neither."""
    if re.fullmatch(DIGITS, text):
        return float(text)
    text = text.replace("廿", "二十").replace("卅", "三十")
    half = text.endswith("半")
    total, digit = 0.0, None
    for character in text.removesuffix("半"):
        if character in _VALUES:
            if digit is not None:
                return None
            digit = _VALUES[character]
        elif character in "十百":
            total += (1 if digit is None else digit) * (10 if character == "十" else 100)
            digit = None
        else:
            return None
    if not text:
        return None
    return total + (digit or 0) + (0.5 if half else 0)


class Dose(NamedTuple):
    """amount: of the unit, or None (少许). high: the upper end of a range, or None. unit: one of
    `units`, or the words of an indefinite amount. each: whether it holds for the herbs before it,
    too (各10g). implied: no unit is written, and gram is meant. start, end: of the whole of it, in
    characters."""

    amount: float | None
    high: float | None
    unit: str
    each: bool
    implied: bool
    start: int
    end: int


class Doses:
    """Reads doses. words: ``resources/prescriptions.json``."""

    def __init__(self, words: Mapping[str, Any]):
        self._unit = {word: unit for unit, all_ in words["units"].items() for word in all_}
        self.grams = {unit: float(grams) for unit, grams in words["grams"].items()}
        units = "|".join(re.escape(u) for u in sorted(self._unit, key=len, reverse=True))
        number = f"(?:{DIGITS}|{CHINESE})"
        each = r"(?P<each>各用|各取|各|均为|均|皆)?\s*"
        self._stated = re.compile(
            rf"{each}(?:(?P<low>{number})(?:\s*[~\-—–至]\s*(?P<high>{number}))?\s*)?(?P<unit>{units})"
            rf"(?P<more>半|{CHINESE}[钱分厘])?(?![a-wyzA-WYZ次天日年月周岁%])"
        )
        self._bare = re.compile(rf"{each}(?P<low>{DIGITS})(?![\d.%a-wyzA-WYZ])")
        kinds = "|".join(map(re.escape, words["indefinite"]))
        self._vague = re.compile(rf"{each}(?P<unit>{kinds})")
        # What follows a number that is no dose.
        counts = "|".join(map(re.escape, words["count_units"]))
        self._other = re.compile(
            rf"\s*(?:{counts}|次|天|日|年|月|周|岁|小时|分钟|壮|遍|穴|味|[:%])"
        )

    def match(self, text: str, at: int, end: int) -> Dose | None:
        """The dose that begins at a character. text: translated by `WIDTHS`."""
        found = self._vague.match(text, at, end)
        if found:
            each = bool(found["each"])
            return Dose(None, None, found["unit"], each, False, at, found.end())
        found = self._stated.match(text, at, end)
        if found and (found["low"] or found["more"] == "半" or found["each"]):
            unit = self._unit[found["unit"]]
            amount = read_number(found["low"]) if found["low"] else 1 if found["more"] else None
            if found["more"] == "半":
                amount = (0 if not found["low"] and unit not in ("钱", "两") else amount or 0) + 0.5
            elif found["more"]:
                rest = read_number(found["more"][:-1])
                if rest is None or unit not in self.grams:
                    return None
                amount = (amount or 0) + rest * self.grams[found["more"][-1]] / self.grams[unit]
            high = read_number(found["high"]) if found["high"] else None
            if amount is None:
                return None
            each = bool(found["each"])
            return Dose(round(amount, 4), high, unit, each, False, at, found.end())
        found = self._bare.match(text, at, end)
        if found and not self._other.match(text, found.end()):
            amount = float(found["low"])
            return Dose(amount, None, "g", bool(found["each"]), True, at, found.end())
        return None

    def to_grams(self, amount: float | None, unit: str | None) -> float | None:
        """By the modern convention: 1 钱 = 3 g, 1 两 = 30 g, 1 分 = 0.3 g. None: no weight."""
        if amount is None or unit not in self.grams:
            return None
        return round(amount * self.grams[unit], 4)
