"""What the words of a note say of the tongue: a grammar, and its reading of TONGUE entities."""

import re
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from spacy_tcm.errors import Errors
from spacy_tcm.tables import Table

DEFAULT_GRAMMAR = Path(__file__).parents[1] / "resources" / "tongue.json"

# What the text speaks of at one place. NEITHER: the veins below the tongue, of which no field is.
BODY, COATING, NEITHER = CONTEXTS = ("body", "coating", "neither")

# Between two entities so far apart, only the clause before the second one is looked at.
_NEAR = 8
# Between two so far apart lies another visit, whether or not a heading says so.
_FAR = 40

_SEPARATORS = "，,；;。.！!：:()（）\n\r 　、"
# These leave a list going on: 无齿痕、裂纹 denies both.
_IN_A_LIST = "、"
_END_OF_PAST = "；;。.！!)）\n\r"

_ROLES = ("ignored", "negations", "negations_after", "ends_negation", "turns", "past", "present")


class Finding(NamedTuple):
    """One value that an entity names. start, end: of that entity, in characters."""

    field: str
    value: str
    start: int
    end: int
    visit: int
    aside: bool
    clause: int
    denied: bool


class TongueReading(NamedTuple):
    """What a text says.

    fields: field id -> ``{"value": [...], "evidence", "start", "end"}``, the evidence a piece of
        the text, from the first entity that names a value to the last.
    denied: field id -> the values that the text says are absent.
    """

    fields: dict[str, dict[str, Any]]
    denied: dict[str, set[str]]


class TongueGrammar(Table):
    """Wordings and their values, as of ``resources/tongue.json``, whose README describes them.

    ``data`` is the whole of it, JSON-able: ``TongueGrammar(grammar.data)`` is the same grammar.
    """

    DEFAULT, ERROR = DEFAULT_GRAMMAR, Errors.E461
    SOURCE = "the grammar"

    @property
    def fields(self) -> tuple[str, ...]:
        """The ids of the fields it fills, in the order in which they are given."""
        return tuple(self._part_of)

    @property
    def photo(self) -> dict[str, dict[str, Any]]:
        """Photo attribute -> the field and the field values that its values stand for."""
        return self.data["photo"]

    def _compile(self) -> None:
        data = self.data
        if any(len(c) != 1 for pair in data["same_characters"].items() for c in pair):
            raise ValueError("same_characters must map single characters, or offsets would shift")
        self._same = str.maketrans(data["same_characters"])
        self._part_of = {field: part for part, ids in data["parts"].items() for field in ids}
        roles: dict[str, str] = {}
        for role in _ROLES:
            for wording in _strings(data[role], role):
                roles[wording.translate(self._same)] = role
        for side, wordings in data["context"].items():
            if side not in CONTEXTS:
                raise ValueError(f"context: {side!r} is none of {', '.join(CONTEXTS)}")
            for wording in _strings(wordings, "context"):
                roles[wording.translate(self._same)] = side
        # By context: wording -> the (field, value) pairs that it names there.
        self._values: dict[str, dict[str, list[tuple[str, str]]]] = {c: {} for c in CONTEXTS}
        for where, fields in data["wordings"].items():
            if where not in ("anywhere", BODY, COATING):
                raise ValueError(f"wordings: {where!r} is none of anywhere, {BODY}, {COATING}")
            for field, values in fields.items():
                if field not in self._part_of:
                    raise ValueError(f"{field!r} is not among the fields of 'parts'")
                for value, wordings in values.items():
                    for wording in _strings(wordings, value):
                        word = wording.translate(self._same)
                        if word in roles:
                            raise ValueError(f"{wording!r} stands under {roles[word]!r}, too")
                        for side in (BODY, COATING) if where == "anywhere" else (where,):
                            self._values[side].setdefault(word, []).append((field, value))
        self._roles = roles
        self._patterns = {
            side: re.compile(_longest_first([*roles, *self._values[side], *_SEPARATORS]))
            for side in CONTEXTS
        }
        self._visits = re.compile("|".join(_strings(data["visits"], "visits")) or "(?!)")
        self._asides = re.compile("|".join(_strings(data["asides"], "asides")) or "(?!)")
        for attribute, entry in data["photo"].items():
            if entry["field"] not in self._part_of:
                raise ValueError(f"photo.{attribute}: unknown field {entry['field']!r}")
            for names in (entry["values"], entry.get("also_fits", {})):
                for values in names.values():
                    if not _strings(values, f"photo.{attribute}"):
                        raise ValueError(f"photo.{attribute}: a list of values is empty")

    def read(self, spans: Iterable[tuple[int, str]], text: str) -> TongueReading:
        """Read the TONGUE entities of one text.

        spans: (first character, surface) of each entity, flat.
        A later visit's words replace those of an earlier one, for the body and the coating each.
        What stands in a discussion counts only where the findings say nothing.
        """
        reader = _Reader(self, text.translate(self._same))
        for start, end in sorted((start, start + len(surface)) for start, surface in spans):
            reader.read_entity(start, end)
        return self._resolve(reader.findings, text)

    def _resolve(self, findings: Sequence[Finding], text: str) -> TongueReading:
        fields: dict[str, dict[str, Any]] = {}
        denied: dict[str, set[str]] = {}
        for field, part in self._part_of.items():
            of_part = [f for f in findings if self._part_of[f.field] == part]
            of_part = [f for f in of_part if not f.aside] or of_part
            last = max((f.visit for f in of_part if not f.denied), default=0)
            of_field = [f for f in of_part if f.field == field and f.visit >= last]
            later = {f.value for f in of_field if f.denied and f.visit > last}
            named: dict[str, Finding] = {}
            for finding in of_field:
                if not finding.denied and finding.value not in later:
                    named.setdefault(finding.value, finding)
            absent = {f.value for f in of_field if f.denied} - named.keys()
            if absent:
                denied[field] = absent
            if named:
                start = min(f.start for f in named.values())
                end = max(f.end for f in named.values())
                fields[field] = {
                    "value": list(named),
                    "evidence": text[start:end],
                    "start": start,
                    "end": end,
                }
        return TongueReading(fields, denied)


@cache
def read_photo_map() -> dict[str, dict[str, Any]]:
    """`TongueGrammar.photo` of the package's own grammar."""
    return TongueGrammar.from_path().photo


class _Reader:
    """Goes through one text once, from left to right."""

    def __init__(self, grammar: TongueGrammar, text: str):
        self.grammar = grammar
        self.text = text
        self.findings: list[Finding] = []
        self.at = 0  # the end of what is read
        self.visit = 0
        self.aside = False
        self.clause = 0
        self.context = BODY
        self.negated = False
        self.past = False

    def read_entity(self, start: int, end: int) -> None:
        gap = self.text[self.at : start]
        heading = self._look_for_visits(gap)
        if self.findings and (heading or len(gap) > _FAR):
            self.visit += 1
        lead = self.at
        if len(gap) > _NEAR:
            self.context, self.past, self.negated = BODY, False, False
            self.clause += 1
            clauses = (self.text.rfind(c, start - _NEAR, start) + 1 for c in "，,；;。：:\n")
            lead = max(start - _NEAR, *clauses)
        self._scan(min(lead, start), start, entity=None)
        self._scan(max(start, self.at), end, entity=(start, end))
        after = self.grammar._patterns[self.context].match(self.text, end)
        if after and self.grammar._roles.get(after[0]) == "negations_after":
            self._deny_last()
        self.at = max(self.at, end)

    def _look_for_visits(self, gap: str) -> bool:
        """Whichever heading stands last in the gap holds for what follows. RETURNS: whether there
        is one of a visit."""
        visits = [m.end() for m in self.grammar._visits.finditer(gap)]
        asides = [m.end() for m in self.grammar._asides.finditer(gap)]
        if visits or asides:
            self.aside = max(asides, default=-1) > max(visits, default=-1)
        return bool(visits)

    def _scan(self, at: int, end: int, entity: tuple[int, int] | None) -> None:
        while found := self.grammar._patterns[self.context].search(self.text, at, end):
            if entity is None and found.start() > at:
                self.negated = False  # other words stand between the negation and the entity
            at = found.end()
            self._take(found[0], entity)
        if entity is None and at < end:
            self.negated = False

    def _take(self, word: str, entity: tuple[int, int] | None) -> None:
        role = self.grammar._roles.get(word)
        if role in CONTEXTS:
            self.context = role
            self.negated = False
            self.clause += 1
        elif role in ("negations", "ends_negation"):
            self.negated = role == "negations"
        elif role == "negations_after":
            self._deny_last()
        elif role == "turns":
            if not self.negated:
                self.findings = [f for f in self.findings if f.clause != self.clause]
                self.past = False
            self.negated = False
        elif role in ("past", "present"):
            self.past = role == "past"
        elif word in _SEPARATORS:
            self.clause += 1
            self.negated = self.negated and word in _IN_A_LIST
            self.past = self.past and word not in _END_OF_PAST
            if self.context == NEITHER and word not in _IN_A_LIST:
                self.context = BODY
        elif role is None and entity is not None and not self.past:
            for field, value in self.grammar._values[self.context][word]:
                self.findings.append(
                    Finding(
                        field, value, *entity, self.visit, self.aside, self.clause, self.negated
                    )
                )

    def _deny_last(self) -> None:
        if self.findings and self.findings[-1].clause == self.clause:
            self.findings[-1] = self.findings[-1]._replace(denied=True)


def _strings(found: Any, name: str) -> list[str]:
    if not isinstance(found, list) or not all(isinstance(x, str) and x for x in found):
        raise ValueError(f"{name!r} must be a list of texts that are not empty")
    return found


def _longest_first(words: Iterable[str]) -> str:
    return "|".join(re.escape(word) for word in sorted(set(words), key=lambda w: (-len(w), w)))
