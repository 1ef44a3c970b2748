"""What a pharmacist is warned of in a prescription. No medical advice."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from spacy_tcm.errors import Errors
from spacy_tcm.herbs import RESOURCES, HerbNames, default_names
from spacy_tcm.tables import Table

DEFAULT_CAUTIONS = RESOURCES / "cautions.json"

Key = tuple[str, str]  # name in use, processing ("": any)

# Powders and the like are swallowed, in smaller doses than those of decoctions.
_SWALLOWED = re.compile("冲|吞|送服|研|粉|末|胶囊")
_CLAUSE_ENDS = "。；;\n，,"


class Cautions(Table):
    """Warnings by ``resources/cautions.json``, whose README describes it.

    ``data`` is the whole of it, JSON-able: ``Cautions(cautions.data)`` warns of the same.
    """

    DEFAULT, ERROR, SOURCE = DEFAULT_CAUTIONS, Errors.E621, "the cautions"

    def __init__(
        self, data: Mapping[str, Any], names: HerbNames | None = None, source: str | None = None
    ):
        """RAISES ModelError: something is missing or malformed; source names it in the message."""
        self._names = names or default_names()
        super().__init__(data, source)

    def _compile(self) -> None:
        data = self.data
        self._pairs = []
        for kind in ("incompatible", "antagonistic"):
            entry = data[kind]
            entry["message"].format(a="", b="")
            for pair in entry["pairs"]:
                sides = [self._key(h) for h in pair["one"]], [self._key(h) for h in pair["other"]]
                self._pairs.append((kind, *sides, pair["source"]))
        self._pregnancy: dict[Key, str] = {}
        for level in ("forbidden", "caution"):
            data["pregnancy"][level]["message"].format(items="")
            for herb in data["pregnancy"][level]["herbs"]:
                self._pregnancy[self._key(herb)] = level
        cues = {
            name: [re.compile(p, re.M) for p in data["pregnancy"][name]]
            for name in ("pregnant", "denied", "male")
        }
        self._pregnant, self._denied, self._male = cues.values()
        self._ranges: dict[Key, dict[str, Any]] = {}
        for entry in data["dose"]["ranges"]:
            if not 0 < entry["low"] <= entry["high"] or not entry["source"]:
                raise ValueError(f"the range of {entry['herb']}")
            for name in ("above", "below"):
                data["dose"][name].format(herb="", dose=1.0, low=entry["low"], high=entry["high"])
            self._ranges[self._key(entry["herb"])] = entry
        if not data["dose"]["much"] >= 1:
            raise ValueError("dose.much is below 1")
        self._toxic = {self._key(h)[0] for h in data["dose"]["toxic"]}
        if not data["disclaimer"]:
            raise ValueError("the disclaimer is empty")

    def _key(self, herb: str) -> Key:
        """制川乌 is 川乌, processed; of 川乌 the processing does not matter."""
        found = self._names.resolve(herb)
        return (found[0].name, found[0].processing) if len(found) == 1 else (herb, "")

    def _look_up(self, table: Mapping[Key, Any], herb: Mapping[str, Any]) -> Any:
        """The entry of a herb: that of its processing, else the general one."""
        how = herb["processing"] or ""
        exact = [k for k in table if k[0] == herb["name"] and k[1] and k[1] in how]
        if exact:
            return table[max(exact, key=lambda k: len(k[1]))]
        return table.get((herb["name"], ""))

    def find_pregnancy(self, text: str) -> bool | None:
        """Whether a text says that the patient is pregnant; None where the patient is a man."""
        if any(cue.search(text[:200]) for cue in self._male):
            return None
        for cue in self._pregnant:
            for found in cue.finditer(text):
                starts = [text.rfind(c, 0, found.start()) for c in _CLAUSE_ENDS]
                ends = [e for c in _CLAUSE_ENDS if (e := text.find(c, found.end())) >= 0]
                clause = text[max(starts) + 1 : min(ends, default=len(text))]
                if not any(denied.search(clause) for denied in self._denied):
                    return True
        return False

    def check(
        self, prescription: Mapping[str, Any], pregnant: bool | None = False
    ) -> list[dict[str, Any]]:
        """The warnings of one prescription.

        pregnant: see :meth:`find_pregnancy`.
        RETURNS: ``{"kind", "severity", "items", "message", "source", "notice"}`` each. kind:
            "incompatible" (十八反), "antagonistic" (十九畏), "pregnancy" or "dose"; severity:
            "high", "moderate" or "info"; notice: that it is no medical advice.
        """
        herbs = [h for h in prescription["herbs"] if h["known"]]
        found = [*self._check_pairs(herbs)]
        if pregnant is not None:
            found += self._check_pregnancy(herbs, pregnant)
        if prescription["route"] in (None, "oral", "nasogastric"):
            found += self._check_doses(herbs)
        order = {"high": 0, "moderate": 1, "info": 2}
        found.sort(key=lambda w: order[w["severity"]])
        return [{**warning, "notice": self.data["disclaimer"]} for warning in found]

    def _check_pairs(self, herbs: list[Any]) -> Iterable[dict[str, Any]]:
        for kind, one, other, source in self._pairs:
            here = list(dict.fromkeys(h["name"] for h in herbs if self._is_any(h, one)))
            there = list(dict.fromkeys(h["name"] for h in herbs if self._is_any(h, other)))
            for a in here:
                for b in there:
                    yield {
                        "kind": kind,
                        "severity": self.data[kind]["severity"],
                        "items": [a, b],
                        "message": self.data[kind]["message"].format(a=a, b=b),
                        "source": source,
                    }

    def _is_any(self, herb: Mapping[str, Any], keys: Iterable[Key]) -> bool:
        how = herb["processing"] or ""
        return any(herb["name"] == name and (not p or p in how) for name, p in keys)

    def _check_pregnancy(self, herbs: list[Any], pregnant: bool) -> Iterable[dict[str, Any]]:
        for level, severity in (("forbidden", "high"), ("caution", "moderate")):
            items = [h["name"] for h in herbs if self._look_up(self._pregnancy, h) == level]
            items = list(dict.fromkeys(items))
            if items:
                entry = self.data["pregnancy"][level]
                yield {
                    "kind": "pregnancy",
                    "severity": severity if pregnant else "info",
                    "items": items,
                    "message": entry["message"].format(items="、".join(items)),
                    "source": entry["source"],
                }

    def _check_doses(self, herbs: list[Any]) -> Iterable[dict[str, Any]]:
        for herb in herbs:
            entry, dose = self._look_up(self._ranges, herb), herb["grams"]
            if entry is None or dose is None:
                continue
            high = herb.get("dose_high")
            top = dose * high / herb["dose"] if high and herb["dose"] else dose
            if top > entry["high"]:
                side, dose = "above", top
                much = dose > self.data["dose"]["much"] * entry["high"]
                severity = "moderate" if much else "info"  # above it is common in hospitals
                if herb["name"] in self._toxic:
                    severity = "high"
            elif dose < entry["low"] and not _SWALLOWED.search(
                (herb["footnote"] or "") + herb["text"]
            ):
                side, severity = "below", "info"
            else:
                continue
            limits = {"low": entry["low"], "high": entry["high"]}
            words = self.data["dose"][side]
            yield {
                "kind": "dose",
                "severity": severity,
                "items": [herb["name"]],
                "message": words.format(herb=herb["text"], dose=float(dose), **limits),
                "source": entry["source"],
            }
