"""Reads the fields that need no grammar of their own: by words, entities, numbers and units."""

import re
from collections.abc import Iterable, Mapping, Sequence, Set
from functools import cache
from typing import Any, NamedTuple

from spacy_tcm.fields.numbers import (
    CHINESE,
    NUMBER,
    Number,
    Quantity,
    find_durations,
    parse_atom,
    quantity_of,
)
from spacy_tcm.fields.scene import Place, Scene

# Entities in which a field is looked for, unless it says which; words in no entity count, too.
LABELS = (
    *("SYMPTOM", "SIGN", "QUALITY", "SEVERITY", "FREQUENCY", "TIME", "TEST", "VALUE"),
    "BODY_PART",
)
# One that begins another topic.
_TOPICS = {
    *("SYMPTOM", "SIGN", "TONGUE", "PULSE", "TEST", "WM_DISEASE", "TCM_DISEASE", "SYNDROME"),
    *("FORMULA", "HERB", "DRUG", "PROCEDURE", "PATHOGENESIS", "PRINCIPLE"),
}
_REACH = 14
# Values further apart are of two times.
_SAME_THING = 25
_NOW = re.compile("目前|刻下|现在|当前")
_MIXED = re.compile(r"相间|相兼|相混|相杂|夹|带|兼|混|间|参半|里透|中泛|中透")
_SHADE = re.compile(r"[偏略微稍带渐似近]|偶[见带]?|有点|一点")
_TURN = re.compile(
    r"转为|转成|变为|变成|转|[减降增升][至为到]|下降[至为到]|减[轻少][至为到]|上升[至为到]|→|->|变"
)
_PERIOD = (
    r"每日|每天|每昼夜|昼夜|日夜|一日|一天|1日|1天|24小时|24h|"
    r"(?<![二三四五六七八九十隔数几\d半次周月夜旬末])日|(?<!\d)天"
)
_VERB = (
    r"(?:内|共|约|可|达|需|要|要?解|行|泻|拉肚子|拉稀?|利|下|大?便|排便|腹泻|稀便|则?泄|"
    r"登厕|如厕|多|竟|仍|有|已|就|[,:]|\s)"
)
_EVENT = r"(?:余|多)?\s*(?:次|行|度|回|遍|趟)"
_rates = (
    re.compile(rf"少则\s*(?:{_PERIOD})?{_VERB}{{0,3}}(?P<least>[\d.一二三四五六七八九十]+)\s*(?:次|行).{{0,4}}?"
               rf"多则\s*(?:{_PERIOD})?{_VERB}{{0,3}}{NUMBER}{_EVENT}"),
    re.compile(rf"(?:{_PERIOD})\s*{_VERB}{{0,4}}?{NUMBER}{_EVENT}"),
    re.compile(rf"{NUMBER}{_EVENT}\s*(?:/|每|\s)\s*(?:日|天|d(?![a-z])|昼夜|24h|24小时)"),
)  # fmt: skip


# 三十八度五, but 三十八度五天.
_NO_TENTH = rf"[{CHINESE}\d.、~天日周月年个次分小余多-]"
_TENTH = rf"(?:(?<=度)(?P<tenth>[一二三四五六七八九1-9])(?!{_NO_TENTH}))?"
_TURN_TO = re.compile(rf"\s*(?:{_TURN.pattern})[^\d，。；]{{0,3}}\d")
# So far the name of what is counted stands before the number, to be part of the evidence.
_NAME_REACH = 6
# Whose score it is: 腰部VAS评分.
_WHOSE = ("BODY_PART", "SYMPTOM", "SIGN")
_DENIAL = re.compile(r"(?:从无|未见|否认|没有|未有|未诉|不伴|不|无)$")


@cache
def _compile_words(words: tuple[str, ...]) -> re.Pattern[str]:
    # T3 in T36.4 is no T3.
    return re.compile("|".join(re.escape(w) + r"(?![\d.])" * w[-1].isdigit() for w in words))


def _words(words: Sequence[str]) -> re.Pattern[str]:
    return _compile_words(tuple(words))


class Reading(NamedTuple):
    """One place where a field is told. start, end: the evidence, in characters."""

    value: Any
    start: int
    end: int
    place: Place
    raw: str
    rule: str
    fuzzy: bool = False
    more: Mapping[str, Any] = {}


def read_field(field: Mapping[str, Any], scene: Scene) -> dict[str, Any] | None:
    """The finding of a field, or None: a field that is not told has no value, never "no"."""
    reader = _Reader(field, scene)
    return reader.choose(reader.readings())


class _Reader:
    def __init__(self, field: Mapping[str, Any], scene: Scene):
        self.field = field
        self.scene = scene
        self.text = scene.text
        self.labels = set(field.get("labels", LABELS))
        self.reach = field.get("reach", _REACH)
        self.kind = field["type"]

    # Where ------------------------------------------------------------------------------------

    def targets(self) -> list[tuple[int, int]]:
        """The places of the target words that no longer word of another meaning holds."""
        own = self.field.get("targets", [])
        if not own:
            return []
        others = self.field.get("not_targets", [])
        words = sorted({*own, *others}, key=lambda w: (-len(w), w))
        found = _words(words).finditer(self.text)
        return [m.span() for m in found if m[0] in own and self.allowed(m.start(), m.end())]

    def allowed(self, start: int, end: int) -> bool:
        """Whether a value may be told here: by entity, section and the words near it."""
        entity = self.scene.entity(start) or self.scene.entity(end - 1)
        if entity is not None and entity[2] not in self.labels:
            return False
        section = self.scene.section(start)
        sections = self.field.get("sections")
        if sections and section is not None and section not in sections:
            return False
        if section is not None and section in self.field.get("not_sections", ()):
            return False
        sentence = self.text[slice(*self.scene.sentence(start))]
        near, far = self.field.get("near"), self.field.get("not_near", ())
        if near and not any(word in sentence for word in near):
            return False
        return not any(word in sentence for word in far)

    def readings(self) -> list[Reading]:
        found = list(self.by_pattern())
        if self.kind in ("enum", "multi"):
            found += self.properties()
        elif self.kind in ("bool", "ternary"):
            found += self.presence()
        elif self.kind == "range" and "/" in self.field.get("unit", ""):
            found += self.rates()
        elif self.kind == "duration":
            found += self.durations()
        else:
            found += self.measures()
        return found

    # What -------------------------------------------------------------------------------------

    def by_pattern(self) -> Iterable[Reading]:
        taken: list[tuple[int, int]] = []
        for pattern in self.field.get("patterns", []):
            for m in re.finditer(pattern, self.text):
                if any(s <= m.start() and m.end() <= e for s, e in taken):
                    continue
                taken.append(m.span())
                groups = m.groupdict()
                value: Any = None
                fuzzy = False
                if not self.allowed(m.start(), m.end()):
                    continue
                if groups.get("yes") is not None or groups.get("no") is not None:
                    value = self.polarity(groups.get("no") is None)
                elif groups.get("value") is not None:
                    value, fuzzy = self.convert(groups["value"], groups.get("unit"))
                if value is not None:
                    yield self.reading(value, *m.span(), "pattern", fuzzy)

    def convert(self, raw: str, unit: str | None) -> tuple[Any, bool]:
        if self.kind in ("enum", "multi"):
            values = [v for v in self.field["values"] if raw in self.field["wordings"].get(v, [v])]
            return (values if self.kind == "multi" else values[0]) if values else None, False
        match = re.fullmatch(NUMBER, raw)
        quantity = quantity_of(match) if match else None
        return (None, False) if quantity is None else self.number(quantity, unit)

    def properties(self) -> Iterable[Reading]:
        """Values of what a target names: in its entity, and after it up to another topic."""
        wordings = self.field.get("wordings") or {v: [v] for v in self.field["values"]}
        by_word: dict[str, list[str]] = {}
        for value, words in wordings.items():
            for word in words:
                by_word.setdefault(word, []).append(value)
        ignored = set(self.field.get("ignored", ()))
        words = sorted({*by_word, *ignored}, key=lambda w: (-len(w), w))
        tokens = _words(words)
        spans, seen = self.targets(), set()
        own = {p for start, end in spans for p in range(start, end)}
        for start, end in spans:
            entity = self.scene.entity(start)
            begin = min(start, entity[0]) if entity else max(start - 6, self.scene.clause(start)[0])
            stop = self.topic_end(end, own, by_word)
            for m in tokens.finditer(self.text, begin, stop):
                if m[0] in ignored or m.start() in seen or not self.within(m.start(), m.end()):
                    continue
                if self.denied_word(m) or self.is_over(m):
                    continue
                seen.add(m.start())
                told = self.scene.entity(m.start())
                left, right = (told[0], told[1]) if told else m.span()
                before = self.text[max(m.start() - 2, left) : m.start()]
                fuzzy = bool(_SHADE.search(before))
                for value in by_word[m[0]]:
                    yield self.reading(value, left, right, "property", fuzzy, m[0])

    def topic_end(self, at: int, own: Set[int], words: Mapping[str, Any]) -> int:
        """own: where targets stand."""
        _, stop = self.scene.sentence(at)
        cut = self.text.find("；", at, stop)
        if cut > 0:
            stop = cut
        for s, e, label in self.scene.entities:
            if s < at or s >= stop or label not in _TOPICS:
                continue
            if not own.isdisjoint(range(s, e)):
                continue
            surface = self.text[s:e]
            rival = self.scene.cues.patterns["rivals"].search(surface)
            if rival is None and any(word in surface for word in words):
                continue
            if any(word in surface for word in self.field.get("also", ())):
                continue
            return s
        for m in self.scene.cues.patterns["rivals"].finditer(self.text, at, stop):
            if m.start() not in own:
                return m.start()
        return stop

    def within(self, start: int, end: int) -> bool:
        entity = self.scene.entity(start)
        return entity is None or entity[2] in self.labels

    def denied_word(self, m: re.Match[str]) -> bool:
        return self.scene.negated(*m.span())

    def is_over(self, m: re.Match[str]) -> bool:
        """由白转黄: what stands before the turn is over."""
        start, end = self.scene.clause(m.start())
        before = self.text[max(start, m.start() - 5) : m.start()]
        after = self.text[m.end() : min(end, m.end() + 6)]
        turn = _TURN.search(after)
        return bool(turn) and bool(re.search(r"[由从初原]|本为", before))

    def presence(self) -> Iterable[Reading]:
        for start, end in self.targets():
            entity = self.scene.entity(start)
            told = self.scene.negated(start, max(end, entity[1]) if entity else end)
            told = told or self.scene.negated(start, end)
            left, right = (entity[0], entity[1]) if entity else (start, end)
            if told and (denial := _DENIAL.search(self.text, max(0, left - 3), left)):
                left = denial.start()
            yield self.reading(
                self.polarity(not told), left, right, "presence", False, self.text[start:end]
            )

    def entity_start(self, at: int) -> int:
        entity = self.scene.entity(at)
        return entity[0] if entity else at

    def polarity(self, present: bool) -> Any:
        return present if self.kind == "bool" else "有" if present else "无"

    def rates(self) -> Iterable[Reading]:
        """How often a target happens: the nearest word before, or just after, must be one."""
        own, others = self.field.get("targets", []), self.field.get("not_targets", [])
        words = sorted({*own, *others}, key=lambda w: (-len(w), w))
        names = _words(words)
        taken: list[tuple[int, int]] = []
        for pattern in _rates:
            for m in pattern.finditer(self.text):
                if any(s < m.end() and m.start() < e for s, e in taken):
                    continue
                quantity = quantity_of(m)
                if quantity is None or not self.allowed(m.start(), m.end()):
                    continue
                start, stop = self.scene.sentence(m.start())
                start = max(start, m.start() - self.reach)
                named = list(names.finditer(self.text, start, m.start()))
                before = [n[0] for n in named]
                inside = [n[0] for n in names.finditer(self.text, m.start(), m.end())]
                after = [n[0] for n in names.finditer(self.text, m.end(), min(stop, m.end() + 6))]
                name = (inside or before[-1:] or after[:1] or [""])[0]
                if name not in own:
                    continue
                taken.append(m.span())
                low, high = quantity.low, quantity.high
                if m.groupdict().get("least"):
                    least = re.fullmatch(NUMBER, m["least"])
                    first = quantity_of(least) if least else None
                    low = first.low if first else low
                if low is None and high is None:
                    continue
                if high is not None and high < self.field.get("at_least", high):
                    continue
                more = {"exclusive": True} if quantity.exclusive else {}
                left, right = m.span()
                entity = self.scene.entity(m.start())
                if entity and entity[0] >= left - 4:
                    left, right = min(left, entity[0]), max(right, entity[1])
                if named and not inside and 0 <= left - named[-1].end() <= _NAME_REACH:
                    left = self.entity_start(named[-1].start())
                yield self.reading([low, high], left, right, "rate", quantity.fuzzy, m[0], more)

    def durations(self) -> Iterable[Reading]:
        for start, end in self.targets():
            _, stop = self.scene.clause(start)
            for found in find_durations(self.text, end, min(stop, end + self.reach + 6))[:1]:
                yield self.reading(
                    found.value,
                    start,
                    found.end,
                    "duration",
                    found.fuzzy,
                    self.text[found.start : found.end],
                    {"unit": found.unit},
                )

    def measures(self) -> Iterable[Reading]:
        """A number after its target, or before a unit that is enough."""
        unit = self.field.get("unit", "")
        units = [unit, *self.field.get("units", ()), *self.field.get("unit_factors", {})]
        units = sorted({u for u in units if u}, key=lambda u: -len(u))
        after = rf"\s*(?P<unit>{'|'.join(map(re.escape, units))}){_TENTH}" if units else ""
        number = re.compile(NUMBER + (f"(?:{after})?" if units else ""))
        seen: set[int] = set()
        spans = self.targets()
        for start, end in spans:
            stop = min(self.scene.sentence(start)[1], end + self.reach)
            at, first = end, True
            while m := number.search(self.text, at, min(len(self.text), stop + 10)):
                gap = self.text[at : m.start()]
                if (
                    m.start() >= stop
                    or re.search(r"[；;。]", gap)
                    or (first is False and len(gap) > 8)
                ):
                    break
                if any(at <= s and e <= m.start() for s, e in spans):
                    break  # the nearest name is the one
                at = m.end()
                quantity = _measured(m)
                has_unit = bool(units) and m["unit"] is not None
                if quantity is None or (not first and not has_unit):
                    break
                if m.start() in seen or not self.within(m.start(), m.end()):
                    break
                tail = self.text[m.end() : m.end() + 1]
                if not has_unit and re.match(r"[A-Za-z%‰℃]", tail):
                    break
                value, fuzzy = self.number(quantity, m["unit"] if units else None)
                if value is None:
                    break
                seen.add(m.start())
                turn = _TURN_TO.match(self.text[m.end() : m.end() + 8])
                if not (turn and self.kind != "range"):
                    left = self.entity_start(start)
                    whose = self.scene.entity(left - 1)
                    if whose and whose[1] == left and whose[2] in _WHOSE:
                        left = whose[0]
                    yield self.reading(value, left, m.end(), "measure", fuzzy, m[0])
                if self.field.get("choose") not in ("max", "min") and not turn:
                    break
                first = False
        if self.field.get("unit_alone") and units:
            for m in re.finditer(NUMBER + after, self.text):
                quantity = _measured(m)
                if quantity is None or m.start() in seen or not self.allowed(m.start(), m.end()):
                    continue
                value, fuzzy = self.number(quantity, m["unit"])
                if value is not None:
                    yield self.reading(value, *m.span(), "unit", fuzzy, m[0])

    def number(self, quantity: Quantity, unit: str | None) -> tuple[Any, bool]:
        """In the field's unit and within its bounds. A range is no single number."""
        factor = self.field.get("unit_factors", {}).get(unit, 1) if unit else 1
        low, high = (
            None if end is None else _scaled(end, factor) for end in (quantity.low, quantity.high)
        )
        if any(
            end is not None and not self.field.get("lo", end) <= end <= self.field.get("hi", end)
            for end in (low, high)
        ):
            return None, False
        if self.kind == "range":
            return ([low, high] if (low, high) != (None, None) else None), quantity.fuzzy
        value = low if low is not None else high
        if (
            quantity.exclusive
            or value is None
            or (high is not None and low is not None and high != low)
        ):
            return None, False
        if self.kind == "int":
            if value != int(value):
                return None, False
            value = int(value)
        return value, quantity.fuzzy

    def reading(
        self,
        value: Any,
        start: int,
        end: int,
        rule: str,
        fuzzy: bool = False,
        raw: str | None = None,
        more: Mapping[str, Any] | None = None,
    ) -> Reading:
        raw = self.text[start:end] if raw is None else raw
        return Reading(value, start, end, self.scene.place(start), raw, rule, fuzzy, more or {})

    # Which ------------------------------------------------------------------------------------

    def choose(self, readings: Sequence[Reading]) -> dict[str, Any] | None:
        """Of the visit that the note is of; where the note speaks of the present, if it does."""
        current = self.scene.current
        readings = [r for r in readings if not (r.place.outside or r.place.aside)]
        earlier = [r.place.visit for r in readings if r.place.visit <= current]
        if self.kind in ("bool", "ternary") and earlier:
            current = max(earlier)  # what a later visit does not mention has not changed
        readings = [r for r in readings if r.place.visit == current]
        if not readings:
            return None
        if self.kind not in ("int", "decimal"):
            readings = [r for r in readings if r.place.now] or readings
        if self.kind in ("int", "decimal", "range"):
            readings = [r for r in readings if not self.is_supposed(r)]
            if not readings:
                return None
            readings = [r for r in readings if not self.is_earlier(r)] or readings
            readings = [r for r in readings if self.is_now(r)] or readings
        readings = sorted(readings, key=lambda r: r.start)
        more: dict[str, Any] = {}
        if self.kind == "multi":
            return self._joined(readings)
        how = self.field.get("choose", "last")
        if how in ("max", "min"):
            pick = (max if how == "max" else min)(readings, key=lambda r: _size(r.value))
        else:
            pick = readings[-1 if how == "last" else 0]
        evidence = [pick]
        if self.kind == "bool" and pick.rule == "pattern":
            # "肿物脱出" and right after it "可自行回纳": together.
            evidence += [
                r
                for r in readings
                if r.value == pick.value and 0 <= pick.start - r.end <= _NAME_REACH
            ]
        others = [r.value for r in readings if r.value != pick.value]
        if self.kind == "enum" and self._is_mixed(pick, readings):
            return None
        found = {"value": pick.value}
        if "unit" in self.field:
            found["unit"] = self.field["unit"]
        more = dict(pick.more)
        if "unit" in more:
            found["unit"] = more.pop("unit")
        if self.kind == "enum" and others:
            more["candidates"] = list(dict.fromkeys([pick.value, *others]))
        if bins := self.field.get("bins"):
            more["bins"] = [b["name"] for b in bins if _overlaps(pick.value, b, more)]
        return found | self._evidence(evidence) | more

    def is_earlier(self, reading: Reading) -> bool:
        """昨日39℃, 术前7分: a word of an earlier time is the last one before the value."""
        start = self.scene.clause(reading.start)[0]
        patterns = self.scene.cues.patterns
        _, stop = self.scene.sentence(reading.end)
        told = list(patterns["earlier"].finditer(self.text, start, stop))
        told = [m for m in told if m.start() < reading.end]
        return bool(told) and not patterns["later"].search(self.text, told[-1].end(), reading.end)

    def is_supposed(self, reading: Reading) -> bool:
        """VAS评分若高于7分: a word of what might be between the name and the value."""
        supposed = self.scene.cues.patterns["hypothetical"]
        return bool(supposed.search(self.text, reading.start, reading.end))

    def is_now(self, reading: Reading) -> bool:
        """目前VAS评分3分: a word of the present in its clause before the value."""
        return bool(_NOW.search(self.text, self.scene.clause(reading.start)[0], reading.end))

    def _is_mixed(self, pick: Reading, readings: Sequence[Reading]) -> bool:
        """鲜红与暗红相混 is no one value."""
        near = [r for r in readings if r.start == pick.start and r.end == pick.end]
        return len({r.value for r in near}) > 1 and bool(
            _MIXED.search(self.text[pick.start : pick.end])
        )

    def _joined(self, readings: Sequence[Reading]) -> dict[str, Any]:
        near = [readings[-1]]
        for reading in reversed(readings[:-1]):
            if near[0].start - reading.end < _SAME_THING:
                near.insert(0, reading)
        values = list(dict.fromkeys(v for r in near for v in _listed(r.value)))
        more: dict[str, Any] = {}
        evidence = self._evidence(near)
        if len(values) > 1 and _MIXED.search(self.text[near[0].start : near[-1].end + 4]):
            more["mixed"] = True
        return {"value": values} | evidence | more

    def _evidence(self, readings: Sequence[Reading]) -> dict[str, Any]:
        start, end = min(r.start for r in readings), max(r.end for r in readings)
        fuzzy = any(r.fuzzy for r in readings)
        return {
            "evidence": self.text[start:end],
            "start": start,
            "end": end,
            "source": "text",
            "raw": "、".join(dict.fromkeys(r.raw for r in readings)),
            "fuzzy": fuzzy,
            "rule": readings[0].rule,
        }


def _measured(match: re.Match[str]) -> Quantity | None:
    """Of a number and its unit, with the tenth that may follow."""
    quantity = quantity_of(match)
    tenth = match.groupdict().get("tenth")
    digit = parse_atom(tenth) if tenth else None
    if quantity is None or digit is None or quantity.low is None or digit[0] is None:
        return quantity
    if quantity.low != quantity.high:
        return quantity
    value = round(quantity.low + digit[0] / 10, 6)
    return quantity._replace(low=value, high=value)


def _scaled(value: Number, factor: Number) -> Number:
    return value if factor == 1 else round(value * factor, 6)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _size(value: Any) -> float:
    return max((v for v in _listed(value) if v is not None), default=0)


def _overlaps(value: Sequence[Number | None], entry: Mapping[str, Any], more: Mapping) -> bool:
    low, high = value
    if high is not None and more.get("exclusive"):
        high = high - 1
    low, high = (0 if low is None else low), (float("inf") if high is None else high)
    least = 0 if entry["lo"] is None else entry["lo"]
    most = float("inf") if entry["hi"] is None else entry["hi"]
    return low <= most and high >= least
