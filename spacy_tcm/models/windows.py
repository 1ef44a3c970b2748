"""Windows of a Doc that a transformer can read whole."""

import unicodedata
from collections.abc import Callable, Iterable

from spacy.tokens import Doc, Span

from spacy_tcm.errors import Errors, ModelError

# A window ends, where possible, after one of these.
BREAKS = frozenset("\n。！？；!?;")


def create_subword_windows(
    max_subwords: int = 384,
) -> Callable[[Iterable[Doc]], list[list[Span]]]:
    """Span getter ``spacy_tcm.subword_windows.v1`` for ``spacy-transformers``.

    Cuts each Doc into windows that never have more than max_subwords subwords, so that nothing is
    truncated, at line or sentence ends where there are any. Counted are characters after NFKC:
    a WordPiece vocabulary never makes more pieces than that. Leave room for two special tokens.
    A token longer than that, such as a run of digits, is a window alone.
    """
    if max_subwords < 1:
        raise ModelError(Errors.E413.format(found=max_subwords))

    def get_windows(docs: Iterable[Doc]) -> list[list[Span]]:
        return [list(_windows(doc, max_subwords)) for doc in docs]

    return get_windows


def _windows(doc: Doc, max_subwords: int) -> Iterable[Span]:
    start = size = 0
    best = None
    for token in doc:
        pieces = len(unicodedata.normalize("NFKC", token.text))
        while size + pieces > max_subwords and token.i > start:
            end = best or token.i
            yield doc[start:end]
            start, best = end, None
            size = sum(len(unicodedata.normalize("NFKC", t.text)) for t in doc[start : token.i])
        size += pieces
        if token.text in BREAKS:
            best = token.i + 1
    if start < len(doc):
        yield doc[start:]
