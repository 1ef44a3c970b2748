"""The texts of a run: read, cut, deduplicated, chosen, and kept apart from tests."""

import json
import lzma
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy

from spacy_tcm.errors import Errors, ModelError
from spacy_tcm.training.pretraining.encoder import SPECIAL

SUFFIXES = (".jsonl", ".txt", ".xz")

# Texts that share this many characters in a row, spaces apart, are taken for the same text.
SHARED = 12

# One chunk in so many is held out.
HELD_OUT = 200

_SPACE = re.compile(r"\s+")
_SENTENCE = re.compile(r"[^。！？；!?;\n]*[。！？；!?;\n]?")


@dataclass(frozen=True)
class Texts:
    """Chunks to train on, and chunks held out, of both kinds of text. excluded: how many are left
    out because an excluded file has some of their text."""

    domain: list[str]
    general: list[str]
    held_out_domain: list[str]
    held_out_general: list[str]
    excluded: int = 0

    def epoch(self, domain_weight: int) -> list[str]:
        """What one epoch shows: domain chunks so often, the others once."""
        return self.domain * domain_weight + self.general

    def chunks(self) -> tuple[list[str], ...]:
        return self.domain, self.general, self.held_out_domain, self.held_out_general


def prepare_texts(
    domain: Sequence[Path],
    general: Sequence[Path] = (),
    exclude: Sequence[Path] = (),
    *,
    keep: float = 1.0,
    size: int = 126,
) -> Texts:
    """Chunks of at most ``size`` characters, each once, none with text of an excluded file.

    domain: texts like those the encoder will read; all are used.
    general: more text; of its chunks the share ``keep`` that is most like the domain is used
        (Moore and Lewis 2010: the difference of the cross-entropies per character under a model of
        the domain and one of the general text, here bigrams of characters).
    exclude: evaluation texts; a chunk that shares `SHARED` characters in a row with one is dropped.
    RAISES ModelError: a file is missing or of another kind, a folder has none of a kind that is
        read, or no domain text is left to train on.
    """
    tests = _find_shared(_read(exclude))
    seen: set[str] = set()
    chunks: dict[str, list[str]] = {}
    excluded = 0
    for kind, paths in (("domain", domain), ("general", general)):
        found = list(_unique(cut(_read(paths), size), seen))
        chunks[kind] = [chunk for chunk in found if not tests(chunk)]
        excluded += len(found) - len(chunks[kind])
        if not chunks["domain"]:
            cause = f"--exclude dropped each of {len(found)} chunks" if found else "they are empty"
            raise ModelError(Errors.E415.format(cause=cause))
    if keep < 1 and chunks["general"]:
        chunks["general"] = _most_like(chunks["domain"], chunks["general"], keep)
    train = {kind: [c for c in found if not _held_out(c)] for kind, found in chunks.items()}
    held_out = {kind: [c for c in found if _held_out(c)] for kind, found in chunks.items()}
    if not train["domain"]:
        cause = f"they are so short that each of {len(held_out['domain'])} chunks is held out"
        raise ModelError(Errors.E415.format(cause=cause))
    return Texts(
        train["domain"], train["general"], held_out["domain"], held_out["general"], excluded
    )


def read_vocabulary(path: Path) -> list[str]:
    """The tokens of a ``vocab.txt``, one a line.

    RAISES ModelError: it cannot be read or lacks special tokens.
    """
    try:
        tokens = path.read_text(encoding="utf-8-sig").rstrip("\n").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(Errors.E417.format(path=path, cause=_cause(error))) from None
    missing = [token for token in SPECIAL if token not in tokens]
    if missing:
        raise ModelError(Errors.E433.format(path=path, missing=", ".join(missing)))
    return tokens


def cut(texts: Iterable[Sequence[str]], size: int) -> Iterator[str]:
    """Chunks of at most ``size`` characters, filled with whole sentences unless one is longer.

    texts: the lines of one text each. Lines are joined without the line end: old books are wrapped
        inside their sentences.
    """
    for lines in texts:
        chunk = ""
        for sentence in _sentences(lines, size):
            if len(chunk) + len(sentence) > size:
                yield chunk
                chunk = ""
            chunk += sentence
        if chunk:
            yield chunk


def _sentences(lines: Sequence[str], size: int) -> Iterator[str]:
    for line in lines:
        text = _SPACE.sub(" ", line).strip()
        for match in _SENTENCE.finditer(text):
            sentence = match.group()
            for start in range(0, len(sentence), size):
                yield sentence[start : start + size]


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    """A folder stands for the texts in it, by name."""
    for path in paths:
        if path.is_dir():
            files = sorted(file for file in path.iterdir() if file.suffix in SUFFIXES)
            if not files:
                raise ModelError(Errors.E436.format(path=path, suffixes=", ".join(SUFFIXES)))
            yield from files
        elif not path.exists():
            raise ModelError(Errors.E417.format(path=path, cause="no such file or folder"))
        else:
            yield path


def _read(paths: Iterable[Path]) -> Iterator[list[str]]:
    """The lines of each text. A .jsonl holds a text a line, in ``text``; a .txt is one text."""
    for path in _files(paths):
        if path.suffix not in SUFFIXES:
            raise ModelError(Errors.E416.format(path=path, suffixes=", ".join(SUFFIXES)))
        number = 0
        try:
            opener = lzma.open if path.suffix == ".xz" else open
            with opener(path, "rt", encoding="utf-8-sig") as lines:
                if path.suffix == ".jsonl":
                    for number, line in enumerate(lines, start=1):  # noqa: B007
                        if line.strip():
                            yield _text_of(line).splitlines()
                else:
                    yield lines.read().splitlines()
        except (OSError, EOFError, lzma.LZMAError, ValueError, LookupError, TypeError) as error:
            place = f", line {number}" if number else ""
            raise ModelError(Errors.E417.format(path=path, cause=_cause(error) + place)) from None


def _cause(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, KeyError):
        return f"no field {error}"
    return getattr(error, "strerror", None) or type(error).__name__


def _text_of(line: str) -> str:
    """Of a JSON line. RAISES ValueError, LookupError, TypeError: there is none."""
    text = json.loads(line)["text"]
    if not isinstance(text, str):
        raise TypeError
    text.encode()  # half a character, which JSON can hold, is no text
    return text


def _unique(chunks: Iterable[str], seen: set[str]) -> Iterator[str]:
    for chunk in chunks:
        key = _SPACE.sub("", chunk)
        if len(key) > 1 and key not in seen:
            seen.add(key)
            yield chunk


def _find_shared(texts: Iterable[Sequence[str]]) -> Callable[[str], bool]:
    """A function that tells whether a chunk shares `SHARED` characters in a row with the texts."""
    from ahocorasick_rs import AhoCorasick

    grams: set[str] = set()
    for lines in texts:
        text = _SPACE.sub("", "".join(lines))
        grams.update(text[i : i + SHARED] for i in range(len(text) - SHARED + 1))
    if not grams:
        return lambda chunk: False
    automaton = AhoCorasick(sorted(grams), store_patterns=False)
    return lambda chunk: bool(automaton.find_matches_as_indexes(_SPACE.sub("", chunk)))


def _held_out(chunk: str) -> bool:
    return zlib.crc32(chunk.encode()) % HELD_OUT == 0


def _most_like(domain: list[str], general: list[str], keep: float) -> list[str]:
    """The share ``keep`` of the general chunks, in order, that are most like the domain."""
    inside, outside = _bigram_costs(domain), _bigram_costs(general)
    costs = inside - outside
    scores = numpy.array([costs[_bigrams(chunk)].mean() for chunk in general])
    limit = numpy.quantile(scores, keep)
    return [chunk for chunk, score in zip(general, scores, strict=True) if score <= limit]


_BUCKETS = 1 << 22


def _bigrams(text: str) -> numpy.ndarray:
    codes = numpy.frombuffer(f"\n{text}".encode("utf-32-le"), dtype="uint32").astype("int64")
    return (codes[:-1] * 65_599 + codes[1:]) % _BUCKETS


def _bigram_costs(chunks: list[str]) -> numpy.ndarray:
    """-log P of each bigram (hashed), with half a count for those never seen."""
    counts = numpy.full(_BUCKETS, 0.5)
    for start in range(0, len(chunks), 10_000):
        found = numpy.concatenate([_bigrams(chunk) for chunk in chunks[start : start + 10_000]])
        counts += numpy.bincount(found, minlength=_BUCKETS)
    return -numpy.log(counts / counts.sum())
