"""Characters as tokens, and lexicon matches beside them."""

import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal

import srsly
from spacy import util
from spacy.language import Language
from spacy.scorer import Scorer
from spacy.tokens import Doc
from spacy.training import Example
from spacy.vocab import Vocab

from spacy_tcm.errors import Errors, LexiconError
from spacy_tcm.extensions import install_extensions
from spacy_tcm.lexicon import Entry, Lexicon, Paths, check_text, read_tables

Granularity = Literal["char", "word"]

# Runs that stay whole: numbers with inner points (2023.5.1) or thousands separators (1,200), and
# Latin letters with the micro sign and the Greek mu of units; all of them also full-width.
_RUN = (
    r"[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])(?:\.[0-9]+)*"
    r"|[０-９]{1,3}(?:，[０-９]{3})+(?![０-９])(?:．[０-９]+)*"
    r"|[0-9０-９]+(?:[.．][0-9０-９]+)*"
    r"|[A-Za-zÀ-ÖØ-öø-ɏＡ-Ｚａ-ｚµμ]+"
)
# The characters that runs begin with: testing them first makes Chinese text fast.
_HEAD = "0-9０-９A-Za-zÀ-ÖØ-öø-ɏＡ-Ｚａ-ｚµμ"
_RUNS = re.compile(rf"(?=[{_HEAD}])(?:{_RUN})")
# One ASCII space after a token that is not white space belongs to it, as in all of spaCy.
_TOKENS = re.compile(rf"[^\s{_HEAD}] ?|(?:{_RUN}) ?|\r\n|\s")


class LexiconTokenizer(util.DummyTokenizer):
    """Split a text so that no entity is ever cut, and note which terms of the lexicon it holds.

    Each character is a token, but digit runs, Latin runs and ``\\r\\n`` stay whole. With
    ``granularity="word"``, the terms of the lexicon are tokens too: for search, not for training.
    ``doc.text == text`` for any text. ``doc._.lexicon_matches`` is a list of
    [start, end, category] (characters, end exclusive), sorted; no match cuts a digit or Latin run.
    """

    def __init__(
        self, vocab: Vocab, lexicon: Lexicon | None = None, granularity: Granularity = "char"
    ):
        """RAISES LexiconError: granularity is neither "char" nor "word"."""
        install_extensions()
        self.vocab = vocab
        self.lexicon = Lexicon() if lexicon is None else lexicon
        self.granularity = _checked(granularity)

    def initialize(
        self,
        get_examples: Callable[[], Iterable[Example]] | None = None,
        *,
        nlp: Language | None = None,
        lexicon: Paths | None = None,
        user_terms: Paths | None = None,
    ) -> None:
        """Read the lexicon, by ``[initialize.tokenizer]``; from then on the pipeline carries it.

        lexicon: tables of built-in terms (files, or folders of ``*.tsv``); None keeps those
            there are.
        user_terms: tables of the user's own terms; they are added to those there are.
        RAISES LexiconError: see :func:`spacy_tcm.lexicon.read_tsv`.
        """
        core = self.lexicon.entries if lexicon is None else read_tables(lexicon)
        user = [] if user_terms is None else read_tables(user_terms)
        self.lexicon = Lexicon(core, [*self.lexicon.user_entries, *user])

    def add_terms(self, terms: Iterable[Entry | tuple[str, str]]) -> None:
        """Add the user's own terms, as (term, category) or entries: :meth:`Lexicon.add_terms`."""
        self.lexicon.add_terms(terms)

    def __call__(self, text: str) -> Doc:
        """RAISES TCMError: the text holds a lone surrogate."""
        check_text(text)
        within = {i for run in _RUNS.finditer(text) for i in range(run.start() + 1, run.end())}
        words = self._words(text, within) if self.granularity == "word" else _TOKENS.findall(text)
        spaces = [False] * len(words)
        if " " in text:
            spaces = [len(word) > 1 and word[-1] == " " for word in words]
            words = [word[:-1] if s else word for word, s in zip(words, spaces, strict=True)]
        doc = Doc(self.vocab, words=words, spaces=spaces)
        doc._.lexicon_matches = [list(match) for match in self.lexicon.matches(text, within)]
        return doc

    def pipe(self, texts: Iterable[str], **kwargs: Any) -> Iterator[Doc]:
        return map(self, texts)

    def score(self, examples: Iterable[Example]) -> dict[str, Any]:
        return Scorer.score_tokenization(examples)

    def to_bytes(self, *, exclude: Iterable[str] = (), **kwargs: Any) -> bytes:
        return util.to_bytes(
            {
                "cfg": lambda: srsly.json_dumps({"granularity": self.granularity}),
                "lexicon": self.lexicon.to_bytes,
            },
            exclude,
        )

    def from_bytes(
        self, data: bytes, *, exclude: Iterable[str] = (), **kwargs: Any
    ) -> "LexiconTokenizer":
        util.from_bytes(
            data,
            {
                "cfg": lambda cfg: self._set_config(srsly.json_loads(cfg)),
                "lexicon": lambda data: self.lexicon.from_bytes(data),
            },
            exclude,
        )
        return self

    def to_disk(self, path: str | Path, *, exclude: Iterable[str] = (), **kwargs: Any) -> None:
        util.to_disk(
            path,
            {
                "cfg.json": lambda p: srsly.write_json(p, {"granularity": self.granularity}),
                "lexicon": lambda p: self.lexicon.to_disk(p),
            },
            exclude,
        )

    def from_disk(
        self, path: str | Path, *, exclude: Iterable[str] = (), **kwargs: Any
    ) -> "LexiconTokenizer":
        readers: dict[str, Callable[[Path], Any]] = {
            "cfg.json": lambda p: self._set_config(srsly.read_json(p)),
            "lexicon": lambda p: self.lexicon.from_disk(p),
        }
        util.from_disk(path, readers, exclude)
        return self

    def _set_config(self, config: dict[str, Any]) -> None:
        self.granularity = _checked(config["granularity"])

    def _words(self, text: str, within: set[int]) -> list[str]:
        """Lexicon words, and between them the tokens of ``granularity="char"``."""
        words = []
        done = 0
        for start, end in self.lexicon.words(text, within):
            words += _TOKENS.findall(text, done, start)
            if text.startswith(" ", end):
                end += 1
            words.append(text[start:end])
            done = end
        return words + _TOKENS.findall(text, done)


def _checked(granularity: Granularity) -> Granularity:
    if granularity not in ("char", "word"):
        raise LexiconError(Errors.E109.format(found=granularity))
    return granularity


def create_lexicon_tokenizer(
    granularity: Granularity = "char",
) -> Callable[[Language], LexiconTokenizer]:
    """``spacy_tcm.LexiconTokenizer.v1``: see :class:`LexiconTokenizer`."""
    return partial(_make_tokenizer, granularity=_checked(granularity))


def _make_tokenizer(nlp: Language, granularity: Granularity) -> LexiconTokenizer:
    return LexiconTokenizer(nlp.vocab, granularity=granularity)
