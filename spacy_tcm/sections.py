"""The sections of a note: by headers, and by cues where there are none."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from spacy_tcm.errors import Errors
from spacy_tcm.tables import Table

DEFAULT_SECTIONS = Path(__file__).parent / "resources" / "sections.json"

SECTION_IDS = (
    "general",
    "chief_complaint",
    "present_illness",
    "current_symptoms",
    "past_history",
    "personal_history",
    "menstrual_history",
    "allergy_history",
    "family_history",
    "four_examinations",
    "tongue_pulse",
    "physical_examination",
    "specialist_examination",
    "auxiliary_examination",
    "syndrome_analysis",
    "differential_diagnosis",
    "tcm_diagnosis",
    "syndrome",
    "wm_diagnosis",
    "diagnosis",
    "treatment_principle",
    "prescription",
    "advice",
    "follow_up",
    "signature",
)

# What a prior of a section may say of the entities in it.
PRIORS = {
    "temporality": ("past", "future"),
    "experiencer": ("family",),
    "negation": ("absent", "possible"),
}

_SPACE = r"[ \t\u3000]*"
# 一、 1． （二） (1) ⑴ ① A. - ▲: numbers and bullets before a header.
_NUMBER = (
    r"(?:[(（]?(?:[一二三四五六七八九十]{1,3}|\d{1,2}|[A-Za-z])[)）、.．:：]|[①-⑳⑴-⒇]|"
    r"[-–—•·●○◆▲△▶★*#]+)"
)
_OPEN, _CLOSE = "【［[〔〖<《", r"[】］\]〕〗>》]"
_SENTENCE_END = "。；;！!？?\n\r"
_CLAUSE_END = _SENTENCE_END + "，,：:、（）() 　\t】］]〕"


class SectionGrammar(Table):
    """Headers, cues and priors, as of ``resources/sections.json``, whose README describes them.

    ``data`` is the whole of it, JSON-able: ``SectionGrammar(grammar.data)`` is the same grammar.
    """

    DEFAULT, ERROR = DEFAULT_SECTIONS, Errors.E600
    SOURCE = "the sections"

    @property
    def priors(self) -> dict[str, dict[str, str]]:
        """Section id -> what holds for its entities, e.g. ``{"temporality": "past"}``."""
        return self.data["priors"]

    def _compile(self) -> None:
        data = self.data
        self._ids: dict[str, str] = {}
        for section, names in data["headers"].items():
            for name in names:
                if self._ids.setdefault(name, section) != section:
                    raise ValueError(f"{name!r} stands under {self._ids[name]!r}, too")
        self._inner = {
            outer: {name: section for section, names in inner.items() for name in names}
            for outer, inner in data["inner_headers"].items()
        }
        inner = {section for names in self._inner.values() for section in names.values()}
        known = {*data["headers"], *data["cues"], *self._inner, *inner, *data["priors"]}
        for key in ("cues_within", "at_sentence_start", "one_sentence", "one_line"):
            known.update(data[key])
        lead = data["lead"]
        known.update([lead["with_history"], lead["without_history"], *lead["history"]])
        if unknown := known - set(SECTION_IDS):
            raise ValueError(f"unknown section ids: {sorted(unknown)}")
        for prior in data["priors"].values():
            if any(value not in PRIORS[kind] for kind, value in prior.items()):
                raise ValueError(f"unknown prior {prior}")
        names = {*self._ids, *(name for of in self._inner.values() for name in of)}
        # Characters of a name may be spread: 主　　诉.
        name = "|".join(
            _SPACE.join(map(re.escape, n)) for n in sorted(names, key=lambda n: (-len(n), n))
        )
        self._not_alone = set(data["not_alone"])
        self._header = re.compile(
            rf"(?P<lead>^|[{_SENTENCE_END}】］\]〕]|[ \t\u3000])"
            rf"(?P<before>{_SPACE}{_NUMBER}?{_SPACE}"
            rf"(?P<open>[{re.escape(_OPEN)}]?){_SPACE})"
            rf"(?P<name>{name})(?:{_SPACE}[、及和与/]{_SPACE}(?:{name}))*"
            rf"(?P<more>{_SPACE}[(（][^()（）\n]{{1,16}}[)）])?{_SPACE}"
            rf"(?P<end>{_CLOSE}{_SPACE}[:：]?|[:：]|[—-]{{2,}}|(?=[ \t\u3000])|(?=[\n\r]|$))",
            re.M,
        )
        self._cues = {
            section: re.compile("|".join(patterns)) for section, patterns in data["cues"].items()
        }

    def find(self, text: str) -> list[dict[str, Any]]:
        """The sections of a text, in its order, not overlapping.

        RETURNS: dicts with ``id``, ``start``, ``end``, ``header_start``, ``header_end``
            (characters; the section holds its header) and ``kind``: "header" or "cue". What
            stands before all headers and cues, and what goes on after a cue's sentence, has an
            empty header.
        """
        marks = list(self._headers(text))
        found: list[dict[str, Any]] = []
        lead = self.data["lead"]
        history = any(section in lead["history"] for _, _, section in marks)
        if text[: marks[0][0] if marks else None].strip():
            marks.insert(0, (0, 0, lead["with_history" if history else "without_history"]))
        for at, (start, body, section) in enumerate(marks):
            end = marks[at + 1][0] if at + 1 < len(marks) else len(text)
            if section:
                found.append(_section(section, start, end, body, "header" if body else "cue"))
            if not section or section in self.data["cues_within"]:
                self._split(text, found, section, body, end)
        return found

    def _headers(self, text: str) -> Iterator[tuple[int, int, str]]:
        at = 0
        outer: str | None = None
        while m := self._header.search(text, at):
            at = m.end("name")
            name = re.sub(r"[ \t\u3000]", "", m["name"])
            line_start = not m["lead"] or m["lead"] in "\n\r"
            bracketed = bool(m["open"]) and bool(re.match(_CLOSE, m["end"]))
            colon = m["end"][-1:] in (":", "：")
            if m["open"] and not bracketed:
                continue
            if not m["open"] and re.match(_CLOSE, m["end"]):
                continue
            if not (bracketed or colon) and (not line_start or name in self._not_alone):
                continue
            # After a space, a single character with a colon may be anything (P：78次/分).
            if m["lead"].strip() == "" and not line_start and len(name) < 2 and not bracketed:
                continue
            # A letter with a number within a line is a vital sign: T：37.6℃；P：96bpm；R：19bpm.
            vital = len(name) == 1 and name.isascii() and not line_start
            if vital and re.match(r"\s*\d", text[m.end() :]):
                continue
            section = self._inner.get(outer or "", {}).get(name) or self._ids.get(name)
            if section is None:
                continue
            inner = name in self._inner.get(outer or "", {})
            outer = outer if inner else section
            start = m.start("before") + len(m["before"]) - len(m["before"].lstrip(" \t\u3000"))
            at = max(m.end(), m.end("name"))
            yield start, at, section

    def _split(
        self, text: str, found: list[dict[str, Any]], section: str | None, at: int, end: int
    ) -> None:
        """Cut what stands from ``at`` to ``end`` by cues; the last of ``found`` may be cut."""
        # What holds, and to where; the innermost last.
        open_ids: list[tuple[str | None, int]] = [(section, end)]
        cues: list[tuple[int, int, str | None]] = [*self._find_cues(text, at, end)]
        for start, cue_end, cue in [*cues, (end, end, None)]:
            while len(open_ids) > 1 and open_ids[-1][1] <= start:
                stop = open_ids.pop()[1]
                outer, outer_stop = open_ids[-1]
                if outer and text[stop:start].strip():
                    found.append(_section(outer, stop, min(outer_stop, end), stop, "cue"))
            if cue is None or cue == open_ids[-1][0]:
                continue
            if found and found[-1]["end"] > start:
                found[-1]["end"] = start
                if not text[found[-1]["start"] : start].strip():
                    found.pop()
            stop = end
            if cue in self.data["one_sentence"]:
                stop = _find_end(text, _SENTENCE_END, cue_end, end)
            elif cue in self.data["one_line"]:
                stop = _find_end(text, "\n\r", cue_end, end)
            if cue not in self.data["one_sentence"]:
                del open_ids[1:]
            open_ids.append((cue, stop))
            found.append(_section(cue, start, stop, cue_end, "cue"))

    def _find_cues(self, text: str, at: int, end: int) -> Iterator[tuple[int, int, str]]:
        for start in range(at, end):
            before = text[start - 1] if start else "\n"
            if before not in _CLAUSE_END or text[start] in _CLAUSE_END:
                continue
            best = None
            for section, pattern in self._cues.items():
                if section in self.data["at_sentence_start"] and before not in _SENTENCE_END:
                    continue
                m = pattern.match(text, start, end)
                if m and m.end() > start and (best is None or m.end() > best[1]):
                    best = (start, m.end(), section)
            if best:
                yield best


@cache
def default_sections() -> SectionGrammar:
    """The package's own grammar; do not change it."""
    return SectionGrammar.from_path()


def _find_end(text: str, characters: str, start: int, end: int) -> int:
    """One past the first of some characters."""
    return min((at + 1 for c in characters if (at := text.find(c, start, end)) >= 0), default=end)


def _section(section: str, start: int, end: int, body: int, kind: str) -> dict[str, Any]:
    return {
        "id": section,
        "start": start,
        "end": end,
        "header_start": start,
        "header_end": body,
        "kind": kind,
    }
