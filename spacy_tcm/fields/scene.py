"""What holds at each place of a note: which visit, the present or the past, said or denied."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from spacy_tcm.fields.numbers import normalise_width

# Sections of `doc._.sections` that do not tell of the patient's present state.
HISTORY_SECTIONS = ("past_history", "personal_history", "allergy_history", "family_history")
OUTSIDE_SECTIONS = {
    *HISTORY_SECTIONS,
    *("treatment_principle", "prescription", "advice", "signature"),
}
ASIDE_SECTIONS = {"syndrome_analysis", "differential_diagnosis"}
NOW_SECTIONS = {"current_symptoms", "follow_up"}

_CLAUSE = '，,；;。！!？?\n:(){}[]【】“”"'
_SENTENCE = "。！!？?\n"
_MENSES = re.compile(r"月经|经带|经孕")
_EDGE = re.compile(r"\s|(?<![无有认])[:]")
_CUES: tuple[str, ...] = (
    "visits",
    "followups",
    "asides",
    "outside",
    "now",
    "headers",
    "past",
    "earlier",
    "later",
    "negations",
    "pseudo_negations",
)
_CUES += ("decimal_commas", "negations_after", "stops", "hypothetical", "rivals")
# So far a negation reaches: a list; 不 and 未 only what stands next to them.
_LIST_SCOPE, _NEAR_SCOPE = 24, 2


class Place(NamedTuple):
    """visit counts from 0. aside: a discussion. outside: past history, family, treatment. now: the
    text says that it tells of the present."""

    visit: int
    aside: bool
    outside: bool
    now: bool


class Cues:
    """The regular expressions under `cues` of the field definitions, compiled."""

    def __init__(self, cues: Mapping[str, Sequence[str]]):
        self.patterns = {name: _either(cues.get(name, [])) for name in _CUES}
        self._same = {ord(pair[0]): pair[1] for pair in cues.get("same", ())}

    def normalise(self, text: str) -> str:
        """Of the same length, with ASCII digits and signs, and one of characters used alike."""
        text = normalise_width(text).translate(self._same)
        return self["decimal_commas"].sub(".", text)

    def __getitem__(self, name: str) -> re.Pattern[str]:
        return self.patterns[name]


class Scene:
    """One text of normal width, its entities as (start, end, label), and its sections if known."""

    def __init__(
        self,
        cues: Cues,
        text: str,
        entities: Iterable[tuple[int, int, str]] = (),
        sections: Iterable[Mapping[str, Any]] = (),
        negations: Mapping[tuple[int, int], str] | None = None,
        elsewhere: Iterable[tuple[int, int]] = (),
    ):
        """negations: what `tcm_context` says of entities, which beats what is found here.
        elsewhere: entities that it says are past, planned or of the family."""
        self.cues = cues
        self.text = text
        self.entities = sorted(entities)
        self.sections = list(sections)
        self.negations = negations or {}
        self._elsewhere = {at for start, end in elsewhere for at in range(start, end)}
        self._entity_at: dict[int, tuple[int, int, str]] = {}
        for entity in self.entities:
            for at in range(entity[0], entity[1]):
                self._entity_at[at] = entity
        self._places: dict[int, Place] = {}
        self._turns = self._find_turns()
        self.has_full_visit = False
        self.current = self._find_current()

    def entity(self, at: int) -> tuple[int, int, str] | None:
        return self._entity_at.get(at)

    def clause(self, at: int) -> tuple[int, int]:
        return self._around(at, _CLAUSE)

    def sentence(self, at: int) -> tuple[int, int]:
        return self._around(at, _SENTENCE)

    def place(self, at: int) -> Place:
        if at not in self._places:
            self._places[at] = self._find_place(at)
        return self._places[at]

    def _find_place(self, at: int) -> Place:
        visit, state, visited = 0, "", 0
        for start, kind in self._turns:
            if start > at:
                break
            if kind in ("visits", "followups"):
                visit, state, visited = visit + 1, "", start
            else:
                state = kind
        section = self.section(at, after=visited)
        outside = state == "outside" or section in OUTSIDE_SECTIONS
        if outside and self._is_seen(at, section) and section in (None, *HISTORY_SECTIONS):
            outside = False  # 家族史：无。舌红，脉弦: they are the patient's, and of now
        outside = outside or at in self._elsewhere or self._is_past(at)
        aside = state == "asides" or section in ASIDE_SECTIONS
        return Place(visit, aside, outside, state == "now" or section in NOW_SECTIONS)

    def _is_seen(self, at: int, section: str | None) -> bool:
        """Tongue and pulse, and findings that `tcm_context` leaves to the patient where a family
        history goes on without a header."""
        start, end, label = self._entity_at.get(at, (at, at, ""))
        told = section == "family_history" and (start, end) in self.negations
        return label in ("TONGUE", "PULSE") or (told and label in ("SYMPTOM", "SIGN"))

    def section(self, at: int, after: int = 0) -> str | None:
        """after: where the visit begins. A visit told under the heading of an earlier prescription
        is in no section."""
        for section in self.sections:
            if section["start"] <= at < section["end"]:
                if section["start"] < after and section["id"] in OUTSIDE_SECTIONS:
                    return None
                head = self.text[section.get("header_start") or 0 : section.get("header_end") or 0]
                return "menstrual_history" if _MENSES.search(head) else section["id"]
        return None

    def negated(self, start: int, end: int) -> bool:
        """Whether the words here are denied: as `tcm_context` says, or as the clause shows."""
        entity = self._entity_at.get(start)
        if entity is not None and self.negations.get(entity[:2]) == "absent":
            return True
        text = self.text
        clause_start = max(text.rfind(c, 0, start) + 1 for c in _CLAUSE if c != ":")
        left = text[clause_start:start]
        cut = 0
        for edge in _EDGE.finditer(left):
            before, after = left[: edge.start()].rstrip(), left[edge.end() :].lstrip()
            if not before.endswith(("、", "/", ":")) and not after.startswith(("、", "/")):
                cut = edge.end()
        left = left[cut:]
        masked = self.cues["pseudo_negations"].sub(lambda m: " " * len(m[0]), left)
        cue = _last(self.cues["negations"], masked)
        if cue is not None:
            between = left[cue.end() :]
            near = cue[0] in ("不", "未", "非", "亦不", "并不")
            scope = _NEAR_SCOPE if near else _LIST_SCOPE
            if len(between) <= scope and not self.cues["stops"].search(between):
                return True
        right = text[end : end + 12]
        return bool(self.cues["negations_after"].match(right))

    def _is_past(self, at: int) -> bool:
        """A word of the past, or of what might be, before it in the same part of the sentence."""
        start = max(self.text.rfind(c, 0, at) + 1 for c in "；;。！!\n)")
        left = self.text[start:at]
        cue = _last(self.cues["past"], left)
        if cue is not None and not self.cues["now"].search(left, cue.end()):
            return True
        clause = self.text[self.clause(at)[0] : at]
        return bool(self.cues["hypothetical"].search(clause))

    def _find_turns(self) -> list[tuple[int, str]]:
        turns: list[tuple[int, str]] = []
        for kind in ("headers", "visits", "asides", "outside", "now"):
            turns += [(m.start(), kind) for m in self.cues[kind].finditer(self.text)]
        # The past history ends with its line.
        for at in [at for at, kind in turns if kind == "outside"]:
            line = self.text.find("\n", at + 2)
            if line >= 0:
                turns.append((line, "headers"))
        # What became of it is told after a prescription.
        herbs = [start for start, _, label in self.entities if label in ("HERB", "DOSAGE")]
        visits = [at for at, kind in turns if kind == "visits"]
        for m in self.cues["followups"].finditer(self.text):
            since = max((at for at in visits if at < m.start()), default=0)
            given = sum(since <= at < m.start() for at in herbs)
            if given >= 3:
                turns.append((m.start(), "followups"))
                visits.append(m.start())
        order = ("headers", "now", "visits", "followups", "asides", "outside")
        return sorted(set(turns), key=lambda turn: (turn[0], order.index(turn[1])))

    def _visit_turns(self) -> list[tuple[int, str]]:
        return [turn for turn in self._turns if turn[1] in ("visits", "followups")]

    def _find_current(self) -> int:
        """The visit that the note is of: the last one with tongue and pulse, for what follows a
        prescription in a few words is its outcome; else the first that tells anything."""
        seen: dict[int, set[str]] = {}
        for start, _, label in self.entities:
            place = self.place(start)
            if not place.aside and not place.outside:
                seen.setdefault(place.visit, set()).add(label)
        headed = {0} | {
            1 + n for n, (_, kind) in enumerate(self._visit_turns()) if kind == "visits"
        }
        full = [v for v, found in seen.items() if {"TONGUE", "PULSE"} <= found and v in headed]
        some = [v for v, labels in seen.items() if {"TONGUE", "PULSE"} & labels]
        self.has_full_visit = bool(full)
        return max(full) if full else min(some or seen, default=0)

    def _around(self, at: int, stops: str) -> tuple[int, int]:
        start = max(self.text.rfind(c, 0, at) + 1 for c in stops)
        ends = [found for c in stops if (found := self.text.find(c, at)) >= 0]
        return start, min(ends, default=len(self.text))


def _last(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    found = list(pattern.finditer(text))
    return found[-1] if found else None


def _either(patterns: Sequence[str]) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{p})" for p in patterns) or "(?!)", re.MULTILINE)
