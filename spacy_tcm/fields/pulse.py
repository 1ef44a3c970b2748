"""What the words of a note say of the pulse: the 28 pulses and their compounds, side and place."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from spacy_tcm.errors import Errors
from spacy_tcm.tables import Table

DEFAULT_PULSE = Path(__file__).parents[1] / "resources" / "pulse.json"

# Between two entities further apart lies another mention, of another visit or in a discussion.
_NEAR = 24
_BREAK = re.compile(r"[,，;；。\n(（]")


class PulseGrammar(Table):
    """Wordings as of ``resources/pulse.json``, whose README describes them. ``data`` is all."""

    DEFAULT, ERROR = DEFAULT_PULSE, Errors.E612
    SOURCE = "the grammar"

    @property
    def field(self) -> str:
        return self.data["field"]

    def _compile(self) -> None:
        data = self.data
        if any(len(c) != 1 for pair in data["same_characters"].items() for c in pair):
            raise ValueError("same_characters must map single characters, or offsets would shift")
        self._same = str.maketrans(data["same_characters"])
        self._role: dict[str, tuple[str, Any]] = {}
        for value, words in data["wordings"].items():
            for word in words:
                self._role[word] = ("value", [value])
        for word in data["ignored"]:
            self._role[word] = ("ignored", None)
        for word, values in data["compounds"].items():
            if unknown := set(values) - data["wordings"].keys():
                raise ValueError(f"compounds: {', '.join(unknown)} is not among the wordings")
            self._role[word] = ("value", values)
        for role in ("sides", "positions", "strength"):
            for value, words in data[role].items():
                self._role.update(dict.fromkeys(words, (role, value)))
        for role in ("negations", "over", "other_pulses", "alternatives", "turns", "from"):
            self._role.update(dict.fromkeys(data[role], (role, None)))
        slight = [w for w in data["slight"] if w not in self._role]
        self._role.update(dict.fromkeys(slight, ("slight", None)))
        words = sorted(self._role, key=lambda w: (-len(w), w))
        self._pattern = re.compile("|".join([*map(re.escape, words), _BREAK.pattern, "、"]))
        self._slight_before = {w: set(v) for w, v in data["slight_before"].items()}

    def read(self, spans: Iterable[tuple[int, int]], text: str) -> dict[str, Any] | None:
        """The finding of PULSE entities of one mention, flat, as (start, end). None: no value.

        RETURNS: ``value`` (ordered, each once), ``evidence``, ``start``, ``end``, ``parts`` (each
        ``{"value", "side", "positions", "strength"}``), ``fuzzy``; of alternatives ``candidates``.
        """
        spans = sorted(spans)
        parts: list[dict[str, Any]] = []
        used: list[tuple[int, int]] = []
        self._fuzzy = False
        self._candidates: list[str] = []
        side: str | None = None
        for start, end in spans:
            found, side = self._read_span(text[start:end].translate(self._same), side)
            if any(part["value"] for part in found):
                used.append((start, end))
            parts += [part for part in found if part["value"] or part["strength"]]
        values = list(dict.fromkeys(v for part in parts for v in part["value"]))
        if not values:
            return None
        start, end = used[0][0], used[-1][1]
        finding = {
            "value": values,
            "evidence": text[start:end],
            "start": start,
            "end": end,
            "parts": parts,
            "fuzzy": self._fuzzy,
        }
        if self._candidates:
            finding["candidates"] = self._candidates
        return finding

    def _read_span(self, text: str, side: str | None) -> tuple[list[dict[str, Any]], str | None]:
        parts: list[dict[str, Any]] = []
        positions: list[str] = []
        part: dict[str, Any] | None = None
        negated = slight = elsewhere = started = False
        last = 0
        for m in self._pattern.finditer(text):
            word = m[0]
            role, value = self._role.get(word, ("break", None))
            if negated and m.start() > last and role == "value":
                negated = m.start() - last <= 0
            last = m.end()
            if role == "break":
                negated = slight = False
                if word != "、":
                    elsewhere = False
                    part, positions = None, []
            elif role in ("sides", "positions"):
                if part is not None:
                    part, positions = None, []
                if role == "sides":
                    side, positions = value, []
                else:
                    positions.append(value)
            elif role == "other_pulses":
                elsewhere = True
            elif role == "negations":
                negated = True
            elif role == "slight":
                slight = True
                self._fuzzy = True
            elif role == "from":
                started = True
            elif role == "turns":
                if started and part is not None:
                    part["value"] = []
            elif role == "over":
                if part is not None and part["value"]:
                    part["value"] = part["value"][:-1]
            elif role == "alternatives":
                self._fuzzy = True
                if part is not None:
                    self._candidates += part["value"][-1:]
                    slight = True
            elif role in ("value", "strength") and not elsewhere:
                if part is None:
                    part = {"value": [], "side": side, "positions": positions, "strength": None}
                    parts.append(part)
                if role == "strength":
                    part["strength"] = None if negated else value
                elif not negated:
                    follows = text[m.end() : m.end() + 1]
                    if follows and follows in self._slight_before.get(word, ()):
                        # 微弦 is a slightly wiry pulse, or faint and wiry.
                        self._fuzzy = True
                        continue
                    part["value"] += value
                    if self._candidates and slight:
                        self._candidates += value
                negated = slight = False
            elif role == "ignored":
                negated = False
        return parts, side
