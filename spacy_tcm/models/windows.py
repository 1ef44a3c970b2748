"""Windows of a Doc that a transformer can read whole."""

import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import accumulate

import numpy
from spacy.attrs import ORTH
from spacy.tokens import Doc, Span

from spacy_tcm.errors import Errors, ModelError

# A window begins and ends, where possible, after one of these.
BREAKS = frozenset([*"\n。！？；!?;", "\r\n"])


def create_subword_windows(
    max_subwords: int = 384, overlap: int = 32
) -> Callable[[Iterable[Doc]], list[list[Span]]]:
    """Span getter ``spacy_tcm.subword_windows.v1`` for ``spacy-transformers``.

    Cuts each Doc into windows that together cover it, at line or sentence ends where there are any
    within reach. For ``spacy_tcm.WindowedTransformer.v1``, which takes each token from the window
    where it stands most centrally; other architectures average the copies.

    max_subwords: the most subwords of a window, without the encoder's special tokens. Counted are
        characters after NFKD: a WordPiece vocabulary never makes more pieces than that. A token
        longer than that, such as an endless number, is a window alone.
    overlap: subwords of context on each side of a token: neighbours share at least twice as many.
    RAISES ModelError: max_subwords is below 1, or overlap not from 0 to below half of it.
    """
    if max_subwords < 1:
        raise ModelError(Errors.E413.format(found=max_subwords))
    if not 0 <= 2 * overlap < max_subwords:
        raise ModelError(Errors.E420.format(found=overlap, most=max_subwords))
    return partial(cut_all, max_subwords=max_subwords, overlap=overlap)


def cut_all(docs: Iterable[Doc], max_subwords: int, overlap: int) -> list[list[Span]]:
    return [list(cut_windows(doc, max_subwords, overlap)) for doc in docs]


def cut_windows(doc: Doc, max_subwords: int, overlap: int) -> Iterator[Span]:
    """Each window goes on at least half of ``max_subwords - 2 * overlap`` beyond the last, except
    before a token that is longer than that: their number is linear in the length of the Doc."""
    counts, is_break = _count_pieces(doc)
    before = [0, *accumulate(counts)]
    breaks = [0, *(i + 1 for i, is_last in enumerate(is_break) if is_last)]
    reach = (max_subwords - 2 * overlap) // 4

    def snap(place: int) -> int:
        """To the last sentence end not behind a place, if it is within reach."""
        end = breaks[bisect_right(breaks, place) - 1]
        return end if before[place] - before[end] <= reach else place

    start = end = 0
    while end < len(doc):
        fits = bisect_right(before, before[start] + max_subwords) - 1
        last = max(fits, end + 1)
        end = last if last == len(doc) or snap(last) <= end else snap(last)
        yield doc[start:end]
        if end < len(doc):
            shared = bisect_right(before, max(0, before[end] - 2 * overlap)) - 1
            # Not so early that the next token would not fit any more.
            earliest = bisect_left(before, before[end + 1] - max_subwords)
            start = max(snap(shared), min(earliest, end))


def _count_pieces(doc: Doc) -> tuple[list[int], list[bool]]:
    """Of each token: its characters after NFKD, and whether it is of BREAKS."""
    # By different tokens: to make a Token of each takes long.
    different, place = numpy.unique(doc.to_array(ORTH), return_inverse=True)
    texts = [doc.vocab.strings[int(orth)] for orth in different]
    counts = numpy.array([len(unicodedata.normalize("NFKD", text)) for text in texts], dtype=int)
    breaks = numpy.array([text in BREAKS for text in texts], dtype=bool)
    return counts[place].tolist(), breaks[place].tolist()
