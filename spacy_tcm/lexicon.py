"""The terms of the domain and where they occur in a text."""

import re
from collections.abc import Iterable, Iterator, Sequence, Set
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import srsly
from ahocorasick_rs import AhoCorasick, Implementation, MatchKind

from spacy_tcm.errors import Errors, LexiconError, TCMError
from spacy_tcm.tags import LABELS

Paths = str | Path | Sequence[str | Path]
Match = tuple[int, int, str]  # start, end (characters, end exclusive), category

CORE_FILE = "lexicon.tsv"
USER_FILE = "user_terms.tsv"


class Entry(NamedTuple):
    """One meaning of one term.

    term: the words as they occur in a text.
    category: one of the 23 entity labels.
    preferred: the canonical name if the term is an alias, else empty.
    source: where the fact comes from.
    code: a code verified against its code system (``ICD11-TM1:SF57``), else empty.
    """

    term: str
    category: str
    preferred: str = ""
    source: str = ""
    code: str = ""


Table = dict[str, tuple[Entry, ...]]  # term -> its entries, both in sorted order

# Invisible characters, which a reader of the table could not see: controls, zero-width and
# directional marks, line separators, the byte order mark; and lone surrogates, which are not text.
_INVISIBLE = re.compile("[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2064\ufeff]")
_SURROGATE = re.compile("[\ud800-\udfff]")


class Lexicon:
    """Built-in terms, which never change, and the user's own terms, which win over them.

    Where an occurrence of a user's term overlaps one of a built-in term, of whatever category, the
    built-in occurrence is dropped. The order in which terms were given never matters.
    """

    # Automata, built on first use.
    _core_matcher: "_Matcher | None"
    _user_matcher: "_Matcher | None"

    def __init__(self, entries: Iterable[Entry] = (), user_entries: Iterable[Entry] = ()):
        """RAISES LexiconError: an entry is malformed (see :func:`read_tsv`)."""
        self._set(_checked(entries), _checked(user_entries))

    @classmethod
    def from_tsv(cls, paths: Paths) -> "Lexicon":
        """Read built-in terms. paths: files, or folders that stand for their ``*.tsv`` files."""
        return cls(read_tables(paths))

    def add_terms(self, terms: Iterable[Entry | tuple[str, str]]) -> None:
        """Add user's terms, given as entries or as (term, category). All are added, or none.

        RAISES LexiconError, with the number of the entry: it is neither, or malformed (see
            :func:`read_tsv`).
        """
        added = _table(_checked(terms))
        self._user = _table([*self.user_entries, *(e for row in added.values() for e in row)])
        self._user_matcher = None

    @property
    def entries(self) -> list[Entry]:
        """The built-in entries, sorted."""
        return [entry for row in self._core.values() for entry in row]

    @property
    def user_entries(self) -> list[Entry]:
        """The user's entries, sorted."""
        return [entry for row in self._user.values() for entry in row]

    def entries_for(self, term: str) -> list[Entry]:
        """All entries of exactly this term, the user's first."""
        return [*self._user.get(term, ()), *self._core.get(term, ())]

    def __len__(self) -> int:
        """The number of distinct terms."""
        return len(self._core.keys() | self._user.keys())

    def __contains__(self, term: object) -> bool:
        return term in self._core or term in self._user

    def matches(self, text: str, closed: Set[int] = frozenset()) -> list[Match]:
        """Where terms occur: leftmost-longest within each category, so that matches of one
        category never overlap, those of different categories may. Time is linear in the text.

        closed: positions where no match may begin or end, such as those inside a number.
        RETURNS: (start, end, category) in characters, end exclusive, sorted.
        RAISES TCMError: the text holds a lone surrogate.
        """
        check_text(text)
        core, user = self._matchers()
        wins = user.matches(text, closed)
        rest = _without(core.matches(text, closed), wins, len(text))
        return sorted(wins + rest)

    def words(self, text: str, closed: Set[int] = frozenset()) -> list[tuple[int, int]]:
        """Where terms occur: leftmost-longest over all categories together, without overlap.

        closed: positions where no match may begin or end, such as those inside a number.
        RETURNS: (start, end) in characters, end exclusive, sorted.
        RAISES TCMError: the text holds a lone surrogate.
        """
        check_text(text)
        core, user = self._matchers()
        wins = user.words(text, closed)
        rest = _without(core.words(text, closed), wins, len(text))
        return sorted((start, end) for start, end, _ in wins + rest)

    def to_bytes(self) -> bytes:
        return srsly.msgpack_dumps(self._to_text())

    def from_bytes(self, data: bytes) -> "Lexicon":
        """Replace all terms by those of :meth:`to_bytes`."""
        tables = srsly.msgpack_loads(data)
        self._set(*(_parse(tables[name], name, True) for name in (CORE_FILE, USER_FILE)))
        return self

    def to_disk(self, path: str | Path) -> None:
        """Write ``lexicon.tsv`` and ``user_terms.tsv`` into the folder ``path``."""
        folder = Path(path)
        folder.mkdir(parents=True, exist_ok=True)
        for name, table in self._to_text().items():
            (folder / name).write_bytes(table.encode())

    def from_disk(self, path: str | Path) -> "Lexicon":
        """Replace all terms by those of the folder ``path``, written by :meth:`to_disk`."""
        self._set(*(read_tsv(Path(path) / name, merged=True) for name in (CORE_FILE, USER_FILE)))
        return self

    def __getstate__(self) -> dict[str, Any]:
        # Automata cannot be pickled or copied; they are built again on first use.
        return {**self.__dict__, "_core_matcher": None, "_user_matcher": None}

    def _set(self, entries: Iterable[Entry], user_entries: Iterable[Entry]) -> None:
        self._core = _table(entries)
        self._user = _table(user_entries)
        self._core_matcher = None
        self._user_matcher = None

    def _matchers(self) -> "tuple[_Matcher, _Matcher]":
        if self._core_matcher is None:
            self._core_matcher = _Matcher(self._core)
        if self._user_matcher is None:
            self._user_matcher = _Matcher(self._user)
        return self._core_matcher, self._user_matcher

    def _to_text(self) -> dict[str, str]:
        return {CORE_FILE: format_tsv(self.entries), USER_FILE: format_tsv(self.user_entries)}


class _Matcher:
    """All terms of one table in one automaton.

    One pass that reports overlapping occurrences serves every category: that measured about three
    times as fast as one leftmost-longest automaton for each category.
    """

    def __init__(self, table: Table):
        self.categories = [sorted({entry.category for entry in row}) for row in table.values()]
        self.automaton = AhoCorasick(
            list(table),
            matchkind=MatchKind.Standard,
            store_patterns=False,
            implementation=Implementation.ContiguousNFA,
        )

    def matches(self, text: str, closed: Set[int]) -> list[Match]:
        free = dict.fromkeys(LABELS, 0)  # by category: where the next match may start
        found = []
        for term, start, end in self._occurrences(text, closed):
            for category in self.categories[term]:
                if start >= free[category]:
                    free[category] = end
                    found.append((start, end, category))
        return found

    def words(self, text: str, closed: Set[int]) -> list[Match]:
        free = 0
        found = []
        for _, start, end in self._occurrences(text, closed):
            if start >= free:
                free = end
                found.append((start, end, ""))
        return found

    def _occurrences(self, text: str, closed: Set[int]) -> list[tuple[int, int, int]]:
        """(term number, start, end) of every occurrence, leftmost first, then longest first."""
        if not self.categories:
            return []
        found = self.automaton.find_matches_as_indexes(text, overlapping=True)
        if closed:
            found = [o for o in found if o[1] not in closed and o[2] not in closed]
        found.reverse()  # they come by their end; the sort is stable, so the longest stays first
        found.sort(key=itemgetter(1))
        return found


def _without(matches: list[Match], wins: list[Match], length: int) -> list[Match]:
    """The matches that overlap none of ``wins``."""
    if not wins:
        return matches
    taken = bytearray(length)
    for start, end, _ in wins:
        taken[start:end] = b"\1" * (end - start)
    return [match for match in matches if 1 not in taken[match[0] : match[1]]]


def find_surrogate(text: str) -> int | None:
    """Where a lone surrogate stands: half a character, or a byte that could not be decoded."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return error.start
    return None


def check_text(text: str) -> None:
    """RAISES TCMError: the text holds a lone surrogate, so it is not valid Unicode."""
    if (position := find_surrogate(text)) is not None:
        raise TCMError(Errors.E108.format(position=position))


def read_tables(paths: Paths) -> list[Entry]:
    """The entries of several tables. paths: files, or folders that stand for their ``*.tsv``."""
    entries: list[Entry] = []
    for path in [paths] if isinstance(paths, str | Path) else paths:
        files = sorted(Path(path).glob("*.tsv")) if Path(path).is_dir() else [Path(path)]
        if not files:
            raise LexiconError(Errors.E102.format(path=path))
        for file in files:
            entries += read_tsv(file)
    return entries


def read_tsv(path: str | Path, *, merged: bool = False) -> list[Entry]:
    """Read one table: UTF-8, tab-separated, no quoting, with a header.

    The header names the columns: ``term`` and ``category``, and any of ``preferred``, ``source``
    and ``code``.

    merged: the table was put together from several, which may describe the same term and category
        differently; without it, the same term and category twice is an error.
    RAISES LexiconError, with file and line: not UTF-8, a bad header, a wrong number of columns, an
        unknown category, an empty term, white space at the ends of a value, an invisible
        character, or the same term and category twice.
    """
    path = Path(path)
    if not path.is_file():
        raise LexiconError(Errors.E101.format(path=path))
    data = path.read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise LexiconError(Errors.E103.format(path=path, line=line)) from None
    return _parse(text, path, merged)


def format_tsv(entries: Iterable[Entry]) -> str:
    """The text of a table that :func:`read_tsv` reads."""
    return "".join("\t".join(row) + "\n" for row in [Entry._fields, *entries])


def _parse(text: str, path: str | Path, merged: bool) -> list[Entry]:
    header, *lines = [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")]
    columns = header.split("\t")
    known = set(columns) <= set(Entry._fields) and len(set(columns)) == len(columns)
    if not known or not {"term", "category"} <= set(columns):
        fields = ", ".join(Entry._fields)
        raise LexiconError(Errors.E104.format(path=path, columns=fields))
    seen: dict[tuple[str, str], int] = {}
    entries = []
    for number, line in enumerate(lines, start=2):
        values = line.split("\t")
        where = f"{path}, line {number}"
        if len(values) != len(columns):
            raise LexiconError(
                Errors.E105.format(where=where, found=len(values), expected=len(columns))
            )
        entry = Entry(**dict(zip(columns, values, strict=True)))
        _check(entry, where)
        first = seen.setdefault(entry[:2], number)
        if first != number and not merged:
            raise LexiconError(Errors.E107.format(where=where, first=first))
        entries.append(entry)
    return entries


def _table(entries: Iterable[Entry]) -> Table:
    rows: dict[str, set[Entry]] = {}
    for entry in entries:
        rows.setdefault(entry.term, set()).add(entry)
    return {term: tuple(sorted(rows[term])) for term in sorted(rows)}


def _checked(entries: Iterable[Entry | tuple[str, str]]) -> Iterator[Entry]:
    for number, given in enumerate(entries, start=1):
        where = f"entry {number}"
        entry = _as_entry(given, where)
        _check(entry, where)
        yield entry


def _as_entry(given: Any, where: str) -> Entry:
    """RAISES LexiconError: not two to five texts in a tuple or list."""
    # A text would come apart into characters: ("黄芪") is no pair.
    if (
        not isinstance(given, tuple | list)
        or not 2 <= len(given) <= len(Entry._fields)
        or not all(isinstance(value, str) for value in given)
    ):
        raise LexiconError(Errors.E110.format(where=where))
    return Entry(*given)


def _check(entry: Entry, where: str) -> None:
    """RAISES LexiconError: the entry is malformed; ``where`` tells the reader which one it is."""
    if entry.category not in _CATEGORIES:
        categories = ", ".join(LABELS)
        raise LexiconError(Errors.E106.format(where=where, reason=f"category not in {categories}"))
    for name, value in zip(Entry._fields, entry, strict=True):
        if value != value.strip():
            reason = f"{name} begins or ends with white space"
        elif _INVISIBLE.search(value):
            reason = f"{name} holds an invisible character"
        elif _SURROGATE.search(value):
            reason = f"{name} holds a lone surrogate"
        else:
            continue
        raise LexiconError(Errors.E106.format(where=where, reason=reason))
    if not entry.term:
        raise LexiconError(Errors.E106.format(where=where, reason="term is empty"))


_CATEGORIES = frozenset(LABELS)
