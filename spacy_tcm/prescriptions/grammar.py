"""The grammar of prescriptions: formula, herbs with doses, number of doses, route, regimen."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from spacy_tcm.errors import Errors
from spacy_tcm.herbs import RESOURCES, HerbNames, read_herb_names
from spacy_tcm.linking import to_simplified
from spacy_tcm.prescriptions.doses import CHINESE, DIGITS, WIDTHS, Dose, Doses, read_number
from spacy_tcm.tables import Table

DEFAULT_WORDS = RESOURCES / "prescriptions.json"

Span = tuple[int, int, str]  # first character, end (exclusive), label

_SEPARATORS = r"\s,;、。/|·:…\-—_+()\[\]^~"
# ① 1. (1) 1) before an entry of a list.
_NUMBERING = re.compile(r"[①-⑳⑴-⒇]|\(?\d{1,2}[.、):](?!\d)")
# 2、 of the next entry, which is no dose and no footnote of this one.
_NUMBER_ALONE = re.compile(r"[(\s]*\d{1,2}[.、)\s]*")
# Farther from the list, a formula's name or the words after a list are of something else.
_LEAD, _TAIL, _LATER = 40, 160, 60
# So many characters between a condition and its herb: 加用.
_NEAR_HERB = 4
# So much other text between two herbs that they are in two prescriptions.
_OTHER_TEXT = 14

ADD, REMOVE, STOP, USE, CHANGE = "add", "remove", "stop", "use", "change"


@dataclass
class _Item:
    """One HERB entity and what is read after it. after: where the reading stopped."""

    start: int
    end: int
    after: int
    dose: Dose | None = None
    dose_text: str | None = None
    footnotes: list[str] = field(default_factory=list)
    action: str = USE
    condition: str | None = None  # the words on which it depends: 若咳甚


class PrescriptionGrammar(Table):
    """Words as of ``resources/prescriptions.json``, whose README describes them.

    ``data`` is the whole of it, JSON-able: ``PrescriptionGrammar(grammar.data)`` is the same.
    """

    DEFAULT, ERROR = DEFAULT_WORDS, Errors.E620
    SOURCE = "the words"

    def _compile(self) -> None:
        data = self.data
        aliases, names = read_herb_names()
        self.herbs = HerbNames(data["herbs"], names, aliases)
        self.doses = Doses(data)
        self._changed = re.compile(
            rf"\s*(?:[由从自]\s*{DIGITS}\s*(?:g|克)?\s*)?(?:{_any(data['changed'])})\s*"
        )
        self._same = re.compile(rf"\s*(?:{_any(data['same_dose'])})")
        self._unused = re.compile(rf"\s*(?:{_any(data['not_used'])})")
        words = _any(data["footnotes"])
        time = rf"(?:\s*(?:{DIGITS}|{CHINESE})\s*(?:分钟|min|小时|h|分|沸|滚)|去沫|去上沫)?"
        self._footnote = re.compile(
            rf"[\s,]?((?:(?:{words}){time})+)(?=[{_SEPARATORS}\d]|$|(?P<next>.))", re.S
        )
        actions = {word: kind for kind, all_ in data["actions"].items() for word in all_}
        self._action_of = actions
        self._action = re.compile(rf"(?<!出)({_any(actions)})[\s:]*$")
        self._condition = re.compile("|".join(data["conditions"]) or "(?!)")
        # 若咳甚,则可加: what it says of the herb is not the condition.
        self._led_herb = re.compile(
            rf"(?:[\s,、:]|{_any(data['modals'])})*(?:{_any(actions)})?[\s:]*$"
        )
        self._exchange = re.compile(r"\s*(易|代|替)\s*$")
        self._instead = re.compile(r"\s*(改为|易为|换为|换成|改用|易以|换|改)\s*$")
        number = rf"(?:{DIGITS}|{CHINESE})"
        units = _any(data["count_units"])
        self._count = re.compile(rf"(?P<x>[x*]\s*)?(?P<n>{number})\s*(?P<unit>{units})")
        self._regimen_before = re.compile(
            r"(?:[日天每晚晨第次隔周]|[日每天]服|分|每[日天]\s*服?)\s*$"
        )
        self._regimen_after = re.compile(r"\s*(?:半?\s*/|每?[日天](?!后)|一[日天])|分")
        self._times = re.compile(r"[x*]\s*(\d{1,2})(?![\d.]|\s*[a-zA-Z天日周袋包次片粒个月年%/])")
        self._breaks = re.compile(rf"(?:^|[,;。\s:、)]|\d[.、)])\s*(?:{_any(data['breaks'])})")
        self._previous = re.compile(_any(data["previous"]))
        self._headings = re.compile(_any(data["headings"]))
        self._usage = re.compile(
            rf"{_any(data['regimen'])}|[日天]\s*{number}\s*[剂付帖服次]|[每隔两]日|[剂付帖次]/[日天]"
        )
        self._not_usage = re.compile(_any(data["not_regimen"]))
        self._routes = {route: re.compile(_any(words)) for route, words in data["routes"].items()}
        self._modifications = re.compile(rf"({_any(data['modifications'])})$")
        self._after_formula = re.compile(rf"[\s,)》」]*({_any(data['modifications'])})")
        self._joins = re.compile(rf"\s*(?:{_any(data['joins'])})\s*$")
        self._glue = re.compile(
            rf"[{_SEPARATORS}]+|{_NUMBERING.pattern}|{_any([*actions, *data['previous']])}"
        )

    # --- reading ------------------------------------------------------------------------------

    def read(self, spans: Iterable[Span], text: str) -> list[dict[str, Any]]:
        """Read the prescriptions of one text.

        spans: FORMULA, HERB, DOSAGE and DRUG entities (others are passed over), flat.
        RETURNS: in text order, as of ``doc._.prescriptions``, without warnings.
        """
        spans = sorted(spans)
        plain = to_simplified(text).translate(WIDTHS)
        reader = _Reader(self, plain, text, spans)
        return reader.read()

    def read_drugs(self, spans: Iterable[Span], text: str) -> list[dict[str, Any]]:
        """The DRUG entities, each with the DOSAGE entities that follow it: ``{"text", "start",
        "end", "dose", "unit", "dose_text"}``, the last three None where nothing follows."""
        spans, plain = sorted(spans), text.translate(WIDTHS)
        found = []
        for number, (start, end, label) in enumerate(spans):
            if label != "DRUG":
                continue
            last = end
            for s, e, other in spans[number + 1 :]:
                if other != "DOSAGE" or re.search(r"[。;\n]|[^\s,()]{3}", plain[last:s]):
                    break
                last = e
            stop = last if last > end else min(len(text), end + 24)
            at = stop - len(plain[end:stop].lstrip(" ,("))
            dose = self.doses.match(plain, at, stop)
            if dose and last == end and not dose.implied:
                last = dose.end
            found.append(
                {
                    "text": text[start:end],
                    "start": start,
                    "end": end,
                    "dose": dose and dose.amount,
                    "unit": dose.unit if dose and not dose.implied else None,
                    "dose_text": text[at:last] if last > end else None,
                }
            )
        return found


class _Reader:
    """Reads one text once."""

    def __init__(self, grammar: PrescriptionGrammar, plain: str, text: str, spans: Sequence[Span]):
        self.g = grammar
        self.t = plain
        self.text = text
        self.herbs = [s for s in spans if s[2] == "HERB"]
        self.formulas = [s for s in spans if s[2] == "FORMULA"]
        self.drugs = [s for s in spans if s[2] == "DRUG"]
        self.dosages = [s for s in spans if s[2] == "DOSAGE"]
        self._dosage_at = {s[0]: s[1] for s in self.dosages}

    def read(self) -> list[dict[str, Any]]:
        lists: list[list[_Item]] = []
        for number, (start, end, _) in enumerate(self.herbs):
            follows = self.herbs[number + 1][0] if number + 1 < len(self.herbs) else len(self.t)
            item = self._read_item(start, end, follows)
            if lists and self._continues(lists[-1][-1], item):
                lists[-1].append(item)
            else:
                lists.append([item])
        found: list[dict[str, Any]] = []
        used: set[int] = set()
        before = 0  # where the prescription before this one ended
        for number, items in enumerate(lists):
            self._set_actions(items, before)
            self._distribute(items)
            follows = lists[number + 1][0].start if number + 1 < len(lists) else len(self.t)
            given = [item for item in items if item.action != STOP]
            if all(item.condition for item in given):  # of the prescription before, if at all
                if found:
                    self._attach(found[-1], items, follows)
                    before = found[-1]["end"]
                continue
            made = self._make(items, before, follows, used)
            if made:
                found.append(made)
                before = made["end"]
        found += self._formulas_alone(used, found)
        return sorted(found, key=lambda p: (p["start"], p["end"]))

    def _read_item(self, start: int, end: int, follows: int) -> _Item:
        """A herb with its dose and footnotes, up to the next herb."""
        item = _Item(start, end, end)
        at = end
        while at < follows:
            step = self._read_step(item, at, follows)
            if step is None or step <= at:
                break
            at = item.after = step
        return item

    def _read_step(self, item: _Item, at: int, follows: int) -> int | None:
        t, g = self.t, self.g
        blank = re.compile(r"[ \t^_·.…:—]{0,8}").match(t, at, follows)
        here = blank.end() if blank else at
        # What is not on the herb's line is not its footnote.
        if item.dose is None and (changed := g._changed.match(t, here, follows)):
            dose = g.doses.match(t, changed.end(), follows)
            if dose and not dose.each:
                item.action = CHANGE
                return self._set_dose(item, dose, t[here : changed.end()] not in ("用",))
        if here < follows and t[here] in "([〔{":
            close = next(
                (t.find(c, here, here + 32) for c in ")]〕}" if c in t[here : here + 32]), -1
            )
            if close < 0 or close >= follows:
                return None
            dose = g.doses.match(t, here + 1, close)
            inner = self.text[here + 1 : close]
            if item.dose is None and dose and not (dose.implied and not inner.strip().isdigit()):
                self._set_dose(item, dose)
                rest = self.text[dose.end : close].strip(" ，,、;；")
            elif item.dose is None and (inside := self._dose_inside(here + 1, close)):
                self._set_dose(item, inside)
                rest = self.text[here + 1 : inside.start].strip(" ，,、;；")
            else:
                rest = inner.strip()
                if g._count.search(t, here, close) or re.match(r"单位", rest):
                    return None
            if rest:
                item.footnotes.append(rest)
            return close + 1
        if item.dose is None and (dose := g.doses.match(t, here, follows)):
            rest_ok = re.match(
                rf"[{_SEPARATORS}x*<>（]|$",
                t[dose.end : dose.end + 1] if dose.end < follows else "",
            )
            if dose.implied and not rest_ok and not g._footnote.match(t, dose.end, follows):
                return None
            return self._set_dose(item, dose)
        if unused := g._unused.match(t, here, follows):
            item.action = REMOVE
            return unused.end()
        if item.dose is None and (same := g._same.match(t, here, follows)):
            if t[here : same.end()].strip() not in ("不变", "同前", "照旧"):
                item.action = CHANGE
            item.dose_text = self.text[here : same.end()].strip()
            return same.end()
        note = g._footnote.match(t, here, follows)
        if note and (not note["next"] or note.end() == follows or note.end() in self._dosage_at):
            item.footnotes.append(self.text[note.start(1) : note.end(1)])
            return note.end(1)
        stop = self._dosage_at.get(here)
        if stop and stop <= follows and item.dose is not None and here - at <= 1:
            words = t[here:stop]
            if _NUMBER_ALONE.fullmatch(words):
                return None
            if not g._count.search(words) and not re.search(r"[日天]|bid|tid|qd|服法", words):
                item.footnotes.append(self.text[here:stop])
                return stop
        return None

    def _dose_inside(self, start: int, end: int) -> Dose | None:
        """酒炒二钱: the dose that ends where the bracket does."""
        for at in range(start + 1, end):
            dose = self.g.doses.match(self.t, at, end)
            if dose and dose.end == end and not dose.implied:
                return dose
        return None

    def _set_dose(self, item: _Item, dose: Dose, keep: bool = True) -> int:
        item.dose = dose
        item.dose_text = self.text[dose.start : dose.end].strip()
        if not keep:
            item.action = USE
        return dose.end

    def _other(self, start: int, end: int) -> str:
        """What is left of a piece of text without separators, numbering and words of lists."""
        return self.g._glue.sub("", self.t[start:end])

    def _continues(self, last: _Item, item: _Item) -> bool:
        start, end = last.after, item.start
        if any(start <= s < end for s, _, _ in (*self.formulas, *self.drugs)):
            return False
        gap = self.t[start:end]
        if self.g._breaks.search(gap) or self._find_count(start, end):
            return False
        other = self._other(start, end)
        if gap.count("\n") > 2 or (other and "。" in gap):
            return False
        if "\n" in gap and len(other) > 4:
            return False
        return len(other) <= _OTHER_TEXT

    def _set_actions(self, items: list[_Item], before: int) -> None:
        """去 and 加 hold for what follows, up to other words."""
        state, condition = USE, None
        last = max(before, items[0].start - 8)
        self._set_condition(items[0], max(before, items[0].start - _LATER), None)
        for number, item in enumerate(items):
            gap = self.t[last : item.start]
            word = self.g._action.search(gap)
            if number and self.g._exchange.match(gap):  # 以甲易乙
                items[number - 1].action = ADD
                if item.dose and not items[number - 1].dose:
                    items[number - 1].dose = item.dose
                    items[number - 1].dose_text = item.dose_text
                    item.dose, item.dose_text = None, None
                item.action = REMOVE
                state = USE
            elif number and self.g._instead.match(gap):  # 甲改为乙
                items[number - 1].action = REMOVE
                item.action = state = ADD
            else:
                if word:
                    state = self.g._action_of[word[1]]
                elif re.search(r"[。;\n:]", gap) or (number and self._other(last, item.start)):
                    state = USE
                if state == REMOVE and item.dose:
                    state = USE
                if item.action == USE or (item.action == CHANGE and state in (REMOVE, STOP)):
                    item.action = state
            if number:
                self._set_condition(item, last, condition)
            condition = item.condition
            last = item.after

    def _set_condition(self, item: _Item, start: int, condition: str | None) -> None:
        """若咳甚加杏仁、桔梗；: a condition holds up to the end of its sentence. start: where the
        words before the herb begin; condition: that of the herb before."""
        words = re.split(r"[。;\n]", self.t[start : item.start])
        found = list(self.g._condition.finditer(words[-1]))
        if found and (len(words[-1]) - found[-1].end() <= _NEAR_HERB):
            first = item.start - len(words[-1]) + found[0].start()
            led = self.g._led_herb.search(self.t, first, item.start)
            end = led.start() if led and led.start() - first > 1 else item.start
            item.condition = self.text[first:end].strip(" ,，、")
        elif len(words) == 1:
            item.condition = condition

    def _distribute(self, items: list[_Item]) -> None:
        """各10g and （均后下） hold for the herbs without their own just before it, too."""
        for number, item in enumerate(items):
            each = item.dose is not None and item.dose.each
            notes = [n for n in item.footnotes if re.match("[均各都皆]", n)]
            item.footnotes = [re.sub("^[均各都皆]", "", n) for n in item.footnotes]
            for other in reversed(items[:number]):
                if other.dose is not None and other.dose is not item.dose:
                    break
                if other.action in (REMOVE, STOP):
                    break
                if each and other.dose is None:
                    other.dose, other.dose_text = item.dose, item.dose_text
                if notes:
                    other.footnotes += [n[1:] for n in notes]
        # OCR and hasty hands write 9 for g: 甘草69 among doses in g.
        stated = sum(1 for i in items if i.dose and i.dose.unit == "g" and not i.dose.implied)
        for item in items:
            dose = item.dose
            if not dose or not dose.implied or not dose.amount or dose.amount % 10 != 9:
                continue
            if dose.amount > 100 or (dose.amount > 30 and stated * 2 > len(items)):
                item.dose = dose._replace(amount=float(dose.amount // 10))

    # --- around the list ----------------------------------------------------------------------

    def _find_count(self, start: int, end: int) -> tuple[int, int, int] | None:
        """(number of doses, start, end) of the first in a piece of text: ×7剂, 共7付, 七帖."""
        for found in self.g._count.finditer(self.t, start, end):
            number = read_number(found["n"])
            lead = self.t[max(0, found.start() - 3) : found.start()]
            if number is None or number < 1 or number != int(number):
                continue
            if found["unit"] == "服" and not (found["x"] or lead.endswith("共")):
                continue
            if not found["x"] and self.g._regimen_before.search(lead):
                continue
            if self.g._regimen_after.match(self.t, found.end()):
                continue
            return int(number), found.start(), found.end()
        return None

    def _make(
        self, items: list[_Item], before: int, follows: int, used: set[int]
    ) -> dict[str, Any] | None:
        items = [item for item in items if item.action != STOP]
        sure = [item for item in items if not item.condition]
        if not sure:
            return None
        first, last = items[0], items[-1]
        formulas = self._formulas_before(first.start, before, used)
        lead = max(before, (formulas[0][0] if formulas else first.start) - 24)
        head = self.t[lead : first.start]
        dosed = sum(item.dose is not None for item in sure)
        changed = sum(item.action in (ADD, REMOVE, CHANGE) for item in sure)
        previous = bool(self.g._previous.search(head)) or (changed > 0 and not formulas)
        led = bool(formulas) and len(self._other(formulas[-1][1], first.start)) <= 6
        listed = (led or bool(self.g._headings.search(head[-8:]))) and len(items) > 1
        near = bool(formulas) or bool(self.g._previous.search(head)) or before > first.start - 150
        if not (dosed or listed or (changed and near)):
            return None
        stop = min([follows, last.after + _TAIL, *self._starts_after(last.after)])
        tail, count, pieces = self._read_tail(last.after, stop)
        if count is None:
            count = self._find_count(lead if not formulas else formulas[-1][1], first.start)
        if count is None:
            later = self._find_count(tail, min(stop, tail + _LATER))
            if later and not self.g._breaks.search(self.t[tail : later[1]]):
                count = later
                tail = max(tail, later[2])
        used.update(s for s, _, _ in formulas)
        starts = [first.start, *(s for s, _, _ in formulas[:1])]
        found: dict[str, Any] = {
            "formula": self._formula(formulas, first.start),
            "previous": previous,
            "herbs": [],
            "removed": [],
            "conditional": self._conditional(items),
            "count": count[0] if count else None,
            "route": self._route(first.start, before, last.after, tail),
            "regimen": "，".join(self.text[s:e] for s, e in pieces) or None,
            "start": min(starts),
            "end": max(last.after, tail),
            "warnings": [],
        }
        for item in sure:
            kind = "removed" if item.action == REMOVE else "herbs"
            found[kind] += self._herb(item)
        return found

    def _conditional(self, items: list[_Item]) -> list[dict[str, Any]]:
        """The herbs that are given or taken out only if something is so."""
        found: list[dict[str, Any]] = []
        for item in items:
            if item.condition and item.action != STOP:
                action = item.action if item.action in (REMOVE, CHANGE) else ADD
                more = {"action": action, "condition": item.condition}
                found += [row | more for row in self._herb(item)]
        return found

    def _attach(self, made: dict[str, Any], items: list[_Item], follows: int) -> None:
        """Herbs on a condition are of the prescription before them, as is the count after them."""
        made["conditional"] += self._conditional(items)
        after = items[-1].after
        if made["count"] or self.g._breaks.search(self.t, made["end"], items[0].start):
            return
        stop = min([follows, after + _TAIL, *self._starts_after(after)])
        end, count, pieces = self._read_tail(after, stop)
        if count:
            made["count"], made["end"] = count[0], end
            made["regimen"] = (
                made["regimen"] or "，".join(self.text[s:e] for s, e in pieces) or None
            )
            made["route"] = made["route"] or self._route(items[0].start, after, after, end)

    def _starts_after(self, at: int) -> list[int]:
        return [s for s, _, _ in (*self.formulas, *self.drugs) if s >= at]

    def _formulas_before(self, start: int, before: int, used: set[int]) -> list[Span]:
        """The formula of a list, or several joined by 合."""
        near = [f for f in self.formulas if f[1] <= start and f[0] >= before - 1]
        near = [f for f in near if f[0] not in used]
        if not near:
            return []
        gap = self.t[near[-1][1] : start]
        other = self._other(near[-1][1], start)
        after = re.split(r"[。\n]", gap, maxsplit=1)[1:]
        ended = any(len(re.findall("[\u4e00-\u9fff]", rest)) > 10 for rest in after)
        if (
            len(other) > _LEAD
            or ended
            or self.g._breaks.search(gap)
            or (self._find_count(near[-1][1], start) and len(other) > 12)
        ):
            return []
        chosen = [near[-1]]
        for formula in reversed(near[:-1]):
            between = self.t[formula[1] : chosen[0][0]]
            if not self.g._joins.match(between):
                break
            chosen.insert(0, formula)
        return chosen

    def _read_tail(
        self, start: int, stop: int
    ) -> tuple[int, tuple[int, int, int] | None, list[tuple[int, int]]]:
        """What follows a list: (its end, count, regimen as pieces of the text)."""
        broken = self.g._breaks.search(self.t, start, stop)
        if (broken and broken.start() > start + 1) or (
            broken
            and self.t[start:stop].lstrip(" ,;。、)").startswith(broken[0].strip(" ,;。、):"))
        ):
            stop = broken.start()
        count = None
        pieces: list[tuple[int, int]] = []
        end, missed = start, 0
        for clause in re.finditer(r"[^,;。\n/|]+", self.t[start:stop]):
            s, e = start + clause.start(), start + clause.end()
            found = self._find_count(s, e) or self._find_times(s, e)
            usage = bool(self.g._usage.search(self.t, s, e)) and len(clause[0].strip()) <= 24
            usage = usage or any(s <= a < e for a, _, _ in self.dosages)
            usage = usage and not self.g._not_usage.search(self.t, s, e)
            if (
                self.t[s:e].rstrip().endswith(":")
                and not found
                and not re.match("用法|服法|煎", clause[0])
            ):
                break
            if not (found or usage):
                if not clause[0].strip(" )）"):
                    continue
                missed += 1
                if missed > 1 or re.search(r"[。\n]", self.t[end:s]):
                    break
                continue
            if found and count is None:
                count = found
            left, right = s, e
            if found:  # 7剂 水煎服 日一剂: the regimen is what is not the count
                pieces += self._pieces(left, found[1])
                left = found[2]
            pieces += self._pieces(left, right)
            end, missed = e, 0
        return end, count, pieces

    def _pieces(self, start: int, end: int) -> list[tuple[int, int]]:
        """The parts between blanks of a clause that speak of use."""
        found = []
        for part in re.finditer(r"[^\s()]+", self.t[start:end]):
            s, e = start + part.start(), start + part.end()
            at_dosage = any(a < e and s < b for a, b, _ in self.dosages)
            if self.g._not_usage.search(self.t, s, e):
                continue
            spoken = self.g._usage.search(self.t, s, e) or at_dosage
            if spoken and not re.fullmatch(r"[x*:、用法共\d]+|用法:?", part[0]):
                found.append((s, e))
        return found

    def _find_times(self, start: int, end: int) -> tuple[int, int, int] | None:
        """×7 without a unit."""
        found = self.g._times.search(self.t, start, end)
        return (int(found[1]), found.start(), found.end()) if found else None

    def _route(self, start: int, before: int, after: int, end: int) -> str | None:
        """One of the routes, by what is said after the list first, then before it."""
        lead = re.split(r"[。;\n]", self.t[max(before, start - 16) : start])[-1]
        if lead.rstrip().endswith(":"):
            for route, words in self.g._routes.items():
                if route != "oral" and words.search(lead):
                    return route
        stop = min([max(end, after + 30), *self._starts_after(after)])
        tail = self.t[after : end if end > after else stop].lstrip(" ,;。\n)")
        tail = re.split(r"[。\n]", tail)[0]
        spoken = {route: words.search(tail) for route, words in self.g._routes.items()}
        places = {r: m.start() for r, m in spoken.items() if m and r not in ("oral", "nasogastric")}
        taken = re.search(r"服|饮|代茶|呷|吞", tail)
        if places:
            route = min(places, key=lambda r: places[r])
            if not taken or places[route] < taken.start():
                return route
        if spoken.get("nasogastric"):
            return "nasogastric"
        if spoken.get("oral"):
            return "oral"
        return next((r for r, m in self.g._routes.items() if r != "oral" and m.search(lead)), None)

    # --- results ------------------------------------------------------------------------------

    def _formula(self, formulas: list[Span], start: int) -> dict[str, Any] | None:
        if not formulas:
            return None
        first, last = formulas[0][0], formulas[-1][1]
        base: list[str] = []
        changes: list[str] = []
        for s, e, _ in formulas:
            for name in _split_formula(self.t[s:e]):
                while (found := self.g._modifications.search(name)) and found.start() > 1:
                    changes.append(found[1])
                    name = name[: found.start()]
                name = re.split("(?<=[汤散丸饮煎丹方])(?=[去加减].)", name)[0]
                name = re.sub("(?<=[汤散丸饮煎丹])方$", "", name)
                base.append(name.strip("《》“”\"'() "))
        after = self.g._after_formula.match(self.t, last, start)
        if after:
            changes.append(after[1])
        if len(base) > 1:
            changes.insert(0, "合")
        return {
            "name": self.text[first:last],
            "base": [name for name in base if name],
            "modification": list(dict.fromkeys(changes)),
            "start": first,
            "end": last,
        }

    def _herb(self, item: _Item) -> list[dict[str, Any]]:
        surface = self.text[item.start : item.end]
        found = self.g.herbs.resolve(to_simplified(surface))
        names = [(h.name, h.processing) for h in found] or [(surface, "")]
        dose = item.dose
        amount, unit = (dose.amount, dose.unit) if dose else (None, None)
        row: dict[str, Any] = {
            "text": surface,
            "start": item.start,
            "end": item.end,
            "dose": _plain_number(amount),
            "unit": unit,
            "dose_text": item.dose_text,
            "grams": _plain_number(self.g.doses.to_grams(amount, unit)),
            "footnote": "，".join(item.footnotes) or None,
            "action": item.action if item.action in (ADD, CHANGE) else None,
            "known": bool(found),
        }
        if dose and dose.high is not None:
            row["dose_high"] = _plain_number(dose.high)
        if dose and dose.implied:
            row["unit_implied"] = True
        return [{"name": name, "processing": how or None, **row} for name, how in names]

    def _formulas_alone(self, used: set[int], found: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Formulas without a list that are dispensed: 左归丸6g bid, 甘麦大枣汤7剂."""
        made: list[dict[str, Any]] = []
        inside = [(p["start"], p["end"]) for p in found]
        for number, formula in enumerate(self.formulas):
            start, end, _ = formula
            if start in used or any(s <= start < e for s, e in inside):
                continue
            later = [s for s, _, _ in self.formulas[number + 1 :]]
            stop = min([len(self.t), end + 40, *later, *(s for s, _, _ in self.drugs if s >= end)])
            after = self.g._after_formula.match(self.t, end, stop)
            at = after.end() if after else end
            tail, count, pieces = self._read_tail(at, stop)
            near = re.match(r"[\s,(:]*", self.t[at:stop])
            here = at + (near.end() if near else 0)
            dose = self.g.doses.match(self.t, here, stop)
            begins = dose or here in self._dosage_at or (count and count[1] - here <= 2)
            if not begins:
                continue
            row = self._formula([formula], stop)
            made.append(
                {
                    "formula": row,
                    "previous": False,
                    "herbs": [],
                    "removed": [],
                    "conditional": [],
                    "count": count[0] if count else None,
                    "route": self._route(start, max(0, start - 16), at, tail),
                    "regimen": "，".join(self.text[s:e] for s, e in pieces) or None,
                    "start": start,
                    "end": max(tail, end),
                    "warnings": [],
                }
            )
        return made


def _split_formula(text: str) -> list[str]:
    """At 合 and marks, not within a name (百合固金汤)."""
    ends = "汤散丸饮煎丹方膏子减裁味意"
    parts = re.split(rf"(?<=[{ends}])合用?(?=.{{2}})|[、+/]|(?<=[{ends}])[及与和](?=.{{2}})", text)
    return [part.strip() for part in parts if part and part.strip()]


def _any(words: Iterable[str]) -> str:
    """A pattern for any of the words, the longest first."""
    ordered = sorted(set(words), key=lambda w: (-len(w), w))
    if not all(isinstance(word, str) and word for word in ordered):
        raise ValueError("a word is empty or no text")
    return "|".join(map(re.escape, ordered)) or "(?!)"


def _plain_number(value: float | None) -> float | int | None:
    return int(value) if value is not None and value == int(value) else value
