"""The names of patterns, and the elements (气虚, 湿, 肝 ...) that they are made of."""

import re
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from spacy_tcm.errors import Errors
from spacy_tcm.tables import Table

RESOURCES = Path(__file__).parents[1] / "resources"
DEFAULT_ELEMENTS = RESOURCES / "syndrome_elements.json"
NATIONAL_TERMS = RESOURCES / "codes" / "syndrome.tsv"

SCOPES = {"舌": "TONGUE", "脉": "PULSE"}


class SyndromeElements(Table):
    """data: see "syndrome_elements.json" in ``spacy_tcm/resources/README.md``.

    ``ids``: of the elements, in order; ``findings``: (element, label or None for any that is not of
    tongue or pulse, word) each.
    """

    DEFAULT, ERROR, SOURCE = DEFAULT_ELEMENTS, Errors.E650, "the elements"

    def _compile(self) -> None:
        data = self.data
        self.ids: list[str] = [element["id"] for element in data["elements"]]
        if not self.ids or len(set(self.ids)) < len(self.ids):
            raise ValueError("ids must be there and differ")
        self.findings = [
            (element["id"], *_scope(word))
            for element in data["elements"]
            for word in element["findings"]
        ]
        self._same = _any_of(data["same"])
        self._replace: dict[str, str] = data["same"]
        self._ending = re.compile(rf"({_any_of(data['endings']).pattern})$")
        joins = _any_of(data["joins"]).pattern
        self._join = re.compile(rf"(?<=..)(?:{joins})(?=..)|[\s、，,；。]+")
        self._terms: dict[str, list[str]] = {}
        for term, ids in data["terms"].items():
            unknown = set(ids) - set(self.ids)
            if unknown:
                raise ValueError(f"'{term}' names an element that is not there")
            self._terms.setdefault(self._unify(term), ids)
        self._term = _any_of(self._terms)

    def split(self, name: str) -> list[str]:
        """The normalised names of the patterns that a diagnosis joins: 肝肾亏虚、痰瘀互阻证 is
        [肝肾虚, 痰瘀互结]."""
        parts = (self._ending.sub("", part.strip()) for part in self._join.split(name))
        return list(dict.fromkeys(self._unify(part) for part in parts if part))

    def normalise(self, name: str) -> str:
        """Under which two names of one pattern are the same."""
        return "、".join(self.split(name))

    def parse(self, name: str) -> tuple[str, ...]:
        """The elements of a name, in the order of ``ids``: terms are found from left to right, the
        longest first. What is left over is passed by."""
        names = self.split(name)
        found = {e for part in names for t in self._term.findall(part) for e in self._terms[t]}
        return tuple(e for e in self.ids if e in found)

    def leftover(self, name: str) -> int:
        """How many characters of the name belong to no term."""
        return sum(len(self._term.sub("", part)) for part in self.split(name))

    def _unify(self, text: str) -> str:
        return self._same.sub(lambda m: self._replace[m[0]], text)


def _any_of(words: Iterable[str]) -> re.Pattern[str]:
    """Matches any of the words, the longest first."""
    found = sorted(words, key=lambda word: (-len(word), word))
    if not found or not all(found):
        raise ValueError("words must be there and not be empty")
    return re.compile("|".join(map(re.escape, found)))


def _scope(word: str) -> tuple[str | None, str]:
    """(TONGUE, 红) of 舌:红."""
    scope, colon, rest = word.partition(":")
    if colon and scope not in SCOPES:
        raise ValueError("only 舌 and 脉 may stand before the colon of a finding")
    if not (rest if colon else word):
        raise ValueError("a finding is empty")
    return (SCOPES[scope], rest) if colon else (None, word)


@lru_cache(maxsize=1)
def national_terms() -> tuple[str, ...]:
    """The terms of the national standard in ``resources/codes/syndrome.tsv``."""
    lines = NATIONAL_TERMS.read_text(encoding="utf8").splitlines()
    header = lines[0].split("\t")
    rows = (dict(zip(header, line.split("\t"), strict=False)) for line in lines[1:])
    return tuple(row["term"] for row in rows if "N" in row.get("source", ""))
