"""The subwords of a BERT tokenizer, without the tokenizers package.

Reproduces Hugging Face's fast tokenizer: NFKC, BertNormalizer, BertPreTokenizer, WordPiece. Most
Chinese characters are one subword whatever stands around them, so that one look-up finds it.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import srsly

# What a character of normalised text is to the words around it.
INSIDE, ALONE, SPACE, NOTHING = range(4)

_ASCII_PUNCTUATION = frozenset("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")
# Those that tokenizers puts spaces around: its `is_chinese_char`.
_CHINESE = (
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B920, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)


class Pieces(NamedTuple):
    """Subwords of a text: their ids, and the characters of the text from start to end."""

    ids: list[int]
    starts: list[int]
    ends: list[int]


class Subwords:
    """Cuts texts into subwords.

    settings: JSON-able, as `spacy_tcm.compress.deploy_subwords` finds them in a tokenizer:
        vocabulary, a list of subwords by id; special, subword -> id of what is found whole in any
        text; first, last, unknown, their ids; longest, the most characters of a word that is looked
        up; prefix, of a subword inside a word; nfkc, clean, chinese, accents (whether they are
        taken off), lowercase, the steps of normalisation; kinds and forms, of characters that
        Python's Unicode tables and those of the tokenizer do not agree on.
    """

    def __init__(self, settings: dict[str, Any]):
        self.settings = settings
        self.vocabulary = {piece: i for i, piece in enumerate(settings["vocabulary"])}
        self._single = _Table(self._find_single)
        self._nfkc = _Table(lambda c: unicodedata.normalize("NFKC", c))
        self._cleaned = _Table(self.clean)
        special = sorted(settings["special"], key=len, reverse=True)
        self._special = re.compile("|".join(map(re.escape, special))) if special else None

    @classmethod
    def empty(cls) -> "Subwords":
        """To be replaced when a pipeline is loaded."""
        return cls({"vocabulary": [], "special": {}})

    def to_bytes(self) -> bytes:
        return srsly.msgpack_dumps(self.settings)

    @classmethod
    def from_bytes(cls, data: bytes) -> "Subwords":
        return cls(srsly.msgpack_loads(data))

    def __call__(self, text: str) -> Pieces:
        """Without the special subwords at both ends."""
        pieces = Pieces([], [], [])
        done = 0
        for match in self._special.finditer(text) if self._special else ():
            self._add(pieces, text[done : match.start()], done)
            _add(pieces, self.settings["special"][match[0]], match.start(), match.end())
            done = match.end()
        self._add(pieces, text[done:] if done else text, done)
        return pieces

    def _add(self, pieces: Pieces, text: str, offset: int) -> None:
        """The subwords of a text that holds no special ones."""
        if self.settings["nfkc"] and text:
            composed = unicodedata.normalize("NFKC", text)
            if composed != "".join(map(self._nfkc.__getitem__, text)):
                self._add_words(pieces, _compose(text), offset)
                return
        single = self._single
        run: list[tuple[str, int]] = []
        for i, character in enumerate(text):
            found = single[character]
            if found is None:
                run.append((character, i))
                continue
            if run:
                self._add_words(pieces, run, offset)
                run = []
            if found >= 0:
                _add(pieces, found, offset + i, offset + i + 1)
        if run:
            self._add_words(pieces, run, offset)

    def _find_single(self, character: str) -> int | None:
        """The subword of a character that never joins others; -1 if it has none and parts words;
        None if what it gives depends on those around it, or is several."""
        found = self._cleaned[character]
        if len(found) != 1 or found[0][1] in (INSIDE, NOTHING):
            return -1 if found and all(kind == SPACE for _, kind in found) else None
        word, kind = found[0]
        if kind == SPACE:
            return -1
        return self.vocabulary.get(word, self.settings["unknown"])

    def _add_words(
        self, pieces: Pieces, characters: Iterable[tuple[str, int]], offset: int
    ) -> None:
        """characters: with the place in the text that each comes from."""
        word: list[tuple[str, int]] = []
        for character, place in characters:
            for one, kind in self._cleaned[character]:
                if kind == INSIDE:
                    word.append((one, place))
                    continue
                if kind == NOTHING:
                    continue
                self._add_word(pieces, word, offset)
                word = []
                if kind == ALONE:
                    self._add_word(pieces, [(one, place)], offset)
        self._add_word(pieces, word, offset)

    def _add_word(self, pieces: Pieces, word: list[tuple[str, int]], offset: int) -> None:
        if not word:
            return
        text = "".join(character for character, _ in word)
        for piece, first, last in self._cut(text):
            _add(pieces, piece, offset + word[first][1], offset + word[last - 1][1] + 1)

    def _cut(self, word: str) -> list[tuple[int, int, int]]:
        """WordPiece: the longest subword that fits, again and again."""
        whole = [(self.settings["unknown"], 0, len(word))]
        if len(word) > self.settings["longest"]:
            return whole
        found = []
        start = 0
        while start < len(word):
            prefix = self.settings["prefix"] if start else ""
            for end in range(len(word), start, -1):
                piece = self.vocabulary.get(prefix + word[start:end])
                if piece is not None:
                    break
            else:
                return whole
            found.append((piece, start, end))
            start = end
        return found

    def clean(self, character: str) -> list[tuple[str, int]]:
        """What one character becomes by itself, and what each part is to the words around it."""
        settings = self.settings
        form = settings["forms"].get(character)
        text = form if form is not None else character
        if form is None and settings["nfkc"]:
            text = unicodedata.normalize("NFKC", character)
        found = []
        for one in text:
            kind = self.kind(one)
            if kind == NOTHING:
                found.append((one, kind))
                continue
            parts = one
            if settings["accents"]:
                nfd = unicodedata.normalize("NFD", one)
                parts = "".join(c for c in nfd if unicodedata.category(c) != "Mn")
            for part in parts.lower() if settings["lowercase"] else parts:
                # The pre-tokenizer sees what became of it; spaces around Chinese stay.
                found.append((part, kind if kind == ALONE else self.kind(part)))
        return found

    def kind(self, character: str) -> int:
        known = self.settings["kinds"].get(character)
        if known is not None:
            return known
        if self.settings["clean"]:
            if character in "\t\n\r":
                return SPACE
            category = unicodedata.category(character)
            if character in "\0\ufffd" or category in ("Cc", "Cf", "Co", "Cs"):
                return NOTHING
        if character.isspace() and character not in "\x1c\x1d\x1e\x1f":
            return SPACE
        if character in _ASCII_PUNCTUATION or unicodedata.category(character)[0] == "P":
            return ALONE
        return ALONE if self.settings["chinese"] and is_chinese(character) else INSIDE


class _Table(dict):
    """Remembers what was found for each character."""

    def __init__(self, find):
        self._find = find

    def __missing__(self, character):
        found = self[character] = self._find(character)
        return found


def is_chinese(character: str) -> bool:
    """Whether the tokenizer sets a character off by spaces."""
    code = ord(character)
    return any(first <= code <= last for first, last in _CHINESE)


def _add(pieces: Pieces, piece: int, start: int, end: int) -> None:
    pieces.ids.append(piece)
    pieces.starts.append(start)
    pieces.ends.append(end)


def _compose(text: str) -> Iterator[tuple[str, int]]:
    """NFKC where characters act on their neighbours, and the place that each result comes from, as
    the package unicode-normalization-alignments tells it to tokenizers: a composed character is
    where its first part was."""
    parts: list[tuple[int, str, int]] = []  # combining class, character, places it takes
    ready = 0
    for character in text:
        for k, part in enumerate(unicodedata.normalize("NFKD", character)):
            order = unicodedata.combining(part)
            if not order:
                parts[ready:] = sorted(parts[ready:], key=lambda found: found[0])
                ready = len(parts) + 1
            parts.append((order, part, 0 if k else 1))
    parts[ready:] = sorted(parts[ready:], key=lambda found: found[0])

    composed: list[tuple[int, str, int]] = []
    base: int | None = None  # where in composed the last starter is
    last_order: int | None = None
    for order, part, places in parts:
        if base is not None and (last_order is None or last_order < order):
            _, starter, taken = composed[base]
            both = unicodedata.normalize("NFC", starter + part)
            if len(both) == 1:
                composed[base] = (0, both, taken + places)
                continue
        if not order:
            base, last_order = len(composed), None
        elif base is not None:
            last_order = order
        composed.append((order, part, places))
    place = 0
    for _, part, places in composed:
        yield part, place if places else max(0, place - 1)
        place += places
