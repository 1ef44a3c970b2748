"""Names of decoction pieces: the name in use, and how the piece was processed (炮制)."""

import json
import unicodedata
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

RESOURCES = Path(__file__).parent / "resources"


class Herb(NamedTuple):
    """name: the name in use. processing: the words for it (炙, 麸炒, 炭), or "".
    method: how the name was found: "exact", "alias" or "normalised"."""

    name: str
    processing: str
    method: str


class HerbNames:
    """Finds the names that a surface stands for.

    words: `herbs` of ``resources/prescriptions.json``, whose README describes them.
    names: the names in use. aliases: another name -> the name in use, perhaps processed.
    """

    def __init__(
        self,
        words: Mapping[str, Any],
        names: Iterable[str],
        aliases: Mapping[str, str] | None = None,
    ):
        self._prefixes = sorted(words["prefixes"], key=len, reverse=True)
        self._suffixes = sorted(words["suffixes"].items(), key=lambda s: -len(s[0]))
        self._origins = sorted(words["origins"], key=len, reverse=True)
        self._combined = {name: tuple(parts) for name, parts in words["combined"].items()}
        self._first = dict(words["aliases"])
        self._aliases = {**(aliases or {}), **self._first}
        self._names = {*names, *words["distinct"], *self._aliases.values()} - self._aliases.keys()
        # What has names of its own is a piece of its own: 生地黄 is not 地黄, processed.
        named = {name for name in (aliases or {}).values() if name not in self._aliases}
        self._distinct = {*words["distinct"], *named} - set(words["processed"])

    def resolve(self, surface: str) -> list[Herb]:
        """One herb; several, if the surface joins them (生龙牡); none, if it is not known."""
        text = unicodedata.normalize("NFKC", surface)
        text = "".join(text.split())
        for prefix in ("", *self._prefixes):
            rest = text.removeprefix(prefix)
            if rest in self._combined and text.startswith(prefix):
                found = [self._one(prefix + part) for part in self._combined[rest]]
                return [Herb(h.name, h.processing, "alias") for h in found if h]
        herb = self._one(text)
        if herb:
            return [herb]
        for at in range(2, len(text) - 1):
            pair = self._one(text[:at]), self._one(text[at:])
            if all(pair):
                return [Herb(h.name, h.processing, "normalised") for h in pair if h]
        return []

    def _one(self, text: str, seen: int = 0) -> Herb | None:
        if text in self._distinct:
            return Herb(text, "", "exact")
        if seen > 6 or len(text) < 2:
            return None
        for aliases in (self._first, None, self._aliases):
            if aliases is None:  # before the other names, many of which hide the processing
                for prefix in self._prefixes:
                    if text.startswith(prefix):
                        rest = self._one(text[len(prefix) :], seen + 1)
                        if rest:
                            return Herb(rest.name, prefix + rest.processing, "normalised")
            elif text in aliases:
                found = self._one(aliases[text], seen + 1)
                return found and Herb(found.name, found.processing, "alias")
        for suffix, processing in self._suffixes:
            if text.endswith(suffix) and (rest := self._one(text[: -len(suffix)], seen + 1)):
                if text in self._names and not processing:
                    break
                return Herb(rest.name, rest.processing + processing, "normalised")
        if text in self._names:
            return Herb(text, "", "exact")
        for origin in self._origins:
            if text.startswith(origin) and (rest := self._one(text[len(origin) :], seen + 1)):
                return Herb(rest.name, rest.processing, "normalised")
        return None


def read_words(path: Path = RESOURCES / "prescriptions.json") -> dict[str, Any]:
    """`herbs` of the package's own prescription words."""
    return json.loads(path.read_text(encoding="utf8"))["herbs"]


@cache
def read_herb_names() -> tuple[dict[str, str], frozenset[str]]:
    """Of ``resources/codes/herb.tsv``: other name -> name in use, and the names in use."""
    aliases: dict[str, str] = {}
    names = set()
    path = RESOURCES / "codes" / "herb.tsv"
    for line in path.read_text(encoding="utf8").splitlines()[1:]:
        name, others, *_ = line.split("\t")
        names.add(name)
        aliases.update(dict.fromkeys(filter(None, others.split("|")), name))
    return aliases, frozenset(names)


@cache
def default_names() -> HerbNames:
    """The package's own."""
    aliases, names = read_herb_names()
    return HerbNames(read_words(), names, aliases)
