"""Best paths and exact probabilities of a linear-chain CRF over BIOES tags, in NumPy.

Sequences are packed: the tokens of all of them that come t-th stand together, the longest sequence
first, so that a step is one slice and nothing is computed for padding.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy
from numpy.typing import NDArray

from spacy_tcm.tags import legal_transitions

_TINY = 1e-300
# Below this share, what float32 cannot hold might matter: then float64.
_LEAST = 1e-25
# In log-potentials; more than rounding can change.
_MARGIN = 1e-2

# A run of tags that stands at a place: its first token, and the tag ids.
Run = tuple[int, Sequence[int]]


class Potentials(NamedTuple):
    """Log-potentials: start and end (tags,), transitions (tags, tags) from row to column. What may
    not happen has one far below all others."""

    start: NDArray
    transitions: NDArray
    end: NDArray


class _Packed(NamedTuple):
    """Of all tokens of a batch, by step. counts: sequences that have a token at a step, (length,).
    starts: the first of them, (length + 1,). order: the sequences, longest first. ahead, back:
    which of all tokens, one sequence after the other, stands where, read from either end,
    (tokens,)."""

    counts: NDArray
    starts: NDArray
    order: NDArray
    ahead: NDArray
    back: NDArray

    @classmethod
    def from_lengths(cls, lengths: NDArray) -> "_Packed":
        order = numpy.argsort(-lengths, kind="stable")
        counts = (lengths[:, None] > numpy.arange(lengths.max())).sum(0)
        starts = numpy.concatenate([[0], numpy.cumsum(counts)])
        step = numpy.repeat(numpy.arange(len(counts)), counts)
        which = order[numpy.arange(len(step)) - starts[step]]
        first = numpy.cumsum(lengths) - lengths
        return cls(
            counts, starts, order, first[which] + step, first[which] + lengths[which] - 1 - step
        )

    def steps(self) -> list[tuple[int, int, int, int]]:
        """Where the step before has the sequences that go on, and where the step is, from the
        second step on."""
        starts, counts = self.starts.tolist(), self.counts.tolist()
        return [
            (starts[t - 1], starts[t - 1] + counts[t], starts[t], starts[t + 1])
            for t in range(1, len(counts))
        ]


def best_paths(
    potentials: Potentials, emissions: Sequence[NDArray] | NDArray, lengths: Sequence[int]
) -> list[list[int]]:
    """The most probable legal path of each sequence, by Viterbi's algorithm.

    emissions: (batch, length, tags), or (length, tags) of each; what is behind the end does not
    count. lengths: (batch,), from 1.

    Of all steps between tags, few are legal: one that closes a token (O, E, S) to one that opens
    the next (O, B, S), and, within a label, B or I to I or E. Tags are sorted so that each group is
    one block: E of all labels, O, S, B, I. Of those that close a token, only the few are tried that
    no other surely beats.
    """
    if not len(lengths):
        return []
    packed = _Packed.from_lengths(numpy.asarray(lengths))
    start, between, inside, order = _blocks(potentials)
    n_labels = inside.shape[-1]
    closing, open_from = 2 * n_labels + 1, 3 * n_labels + 1
    scores = _flatten(emissions, lengths)[packed.ahead[:, None], order]
    scores[: packed.counts[0]] += start
    # By how much a tag (column) may be behind another (row) and still be the better to come from.
    behind = (between[None] - between[:, None]).max(-1) + _MARGIN
    rows = numpy.arange(packed.counts[0])
    for first, last, here, there in packed.steps():
        before, now = scores[first:last], scores[here:there]
        closed = before[:, :closing]
        best = closed.argmax(1)
        tried = closed >= (closed[rows[: len(best)], best][:, None] - behind[best])
        row, tag = tried.nonzero()
        steps = between[tag]
        steps += closed[row, tag][:, None]
        if len(row) > len(best):
            counts = tried.sum(1)
            steps = numpy.maximum.reduceat(steps, numpy.cumsum(counts) - counts)
        now[:, n_labels:open_from] += steps
        inner = before[:, closing:].reshape(-1, 1, 2, n_labels) + inside
        inner = numpy.maximum(inner[:, :, 0], inner[:, :, 1])
        now[:, :n_labels] += inner[:, 0]
        now[:, open_from:] += inner[:, 1]
    tags = order[_trace_back(potentials, order, scores, packed)]
    paths = numpy.empty_like(tags)
    paths[packed.ahead] = tags
    return [path.tolist() for path in numpy.split(paths, numpy.cumsum(lengths)[:-1])]


def _trace_back(
    potentials: Potentials, order: NDArray, scores: NDArray, packed: _Packed
) -> NDArray:
    """scores: (tokens, tags) of the best path to each tag, in this order of tags.
    RETURNS: (tokens,) of the best paths. Which tag these came from is found again only here."""
    arriving = _legal(potentials.transitions)[order][:, order].T.astype(scores.dtype)
    end = potentials.end[order].astype(scores.dtype)
    path = numpy.empty(len(scores), dtype=int)
    at = path[:0]
    for t in range(len(packed.counts) - 1, -1, -1):
        first, last = packed.starts[t], packed.starts[t + 1]
        going = first + len(at)
        at = (scores[first:going] + arriving[at]).argmax(-1)
        path[first:going] = at
        if going < last:
            path[going:last] = (scores[going:last] + end).argmax(-1)
            at = path[first:last]
    return path


def path_probabilities(
    potentials: Potentials,
    emissions: Sequence[NDArray] | NDArray,
    lengths: Sequence[int],
    runs: Sequence[Sequence[Run]],
    temperature: float = 1.0,
) -> list[list[float]]:
    """Posterior probability that a run of tags stands at a place, other tags summed out.

    emissions, lengths: as for `best_paths`. runs: per sequence. temperature: what all
        log-potentials are divided by first; above 1, probabilities are less sure of themselves.
    RETURNS: per sequence, one probability each.
    """
    if not any(runs):
        return [[] for _ in runs]
    first_token = numpy.cumsum(lengths) - lengths
    place = [int(first_token[b]) + start for b, some in enumerate(runs) for start, _ in some]
    tags = [tags for some in runs for _, tags in some]
    steps = [
        (run, start + k, *step)
        for run, (start, one) in enumerate(zip(place, tags, strict=True))
        for k, step in enumerate(pairwise(one))
    ]
    firsts = numpy.array([(start, one[0]) for start, one in zip(place, tags, strict=True)])
    inner = numpy.array(steps, dtype=int).reshape(-1, 4)
    found, exact = _run_probabilities(
        _messages(potentials, emissions, lengths, temperature, "f4"), firsts, inner
    )
    if not exact:
        found, _ = _run_probabilities(
            _messages(potentials, emissions, lengths, temperature, "f8"), firsts, inner
        )
    scores = iter(numpy.minimum(found, 1.0).tolist())
    return [[next(scores) for _ in some] for some in runs]


def posteriors(
    potentials: Potentials, emissions: Sequence[NDArray] | NDArray, lengths: Sequence[int]
) -> list[NDArray]:
    """Posterior of each tag at each token, (tokens, tags) per sequence. Parameters: as for
    `best_paths`."""
    if not len(lengths):
        return []
    messages = _messages(potentials, emissions, lengths, 1.0, "f8")
    both = messages.after[0, messages.ahead] * messages.before[1, messages.back]
    both /= numpy.maximum(both.sum(-1, keepdims=True), _TINY)
    return numpy.split(both.astype(emissions[0].dtype), numpy.cumsum(lengths)[:-1])


class _Messages(NamedTuple):
    """Of the scaled forward-backward algorithm (Rabiner 1989, section V.A), right up to a factor
    per token. after: of what stands up to a token, from either end, (2, tokens, tags). before: of
    what stands before it, which is that of the last token through the transitions. ahead, back:
    where the tokens are in the first and in the second of the two. step: (tags, tags). exact:
    whether nothing was too small for its type."""

    after: NDArray
    before: NDArray
    ahead: NDArray
    back: NDArray
    step: NDArray
    exact: bool


def _messages(
    potentials: Potentials,
    emissions: Sequence[NDArray] | NDArray,
    lengths: Sequence[int],
    temperature: float,
    dtype: str,
) -> _Messages:
    packed = _Packed.from_lengths(numpy.asarray(lengths))
    scaled = [numpy.asarray(p, dtype=float) / temperature for p in potentials]
    start, step, end = (numpy.exp(p - p.max()).astype(dtype) for p in scaled)
    x = _flatten(emissions, lengths).astype(dtype)
    x -= x.max(-1, keepdims=True)
    x /= temperature
    numpy.exp(x, out=x)
    after = x[numpy.stack([packed.ahead, packed.back])]
    before = numpy.empty_like(after)
    n = int(packed.counts[0])
    before[0, :n], before[1, :n] = start, end
    both_ways, ones = numpy.stack([step, step.T]), numpy.ones(len(start), dtype)
    sums = numpy.empty(after.shape[:2], dtype)
    for first, last, here, there in [(0, 0, 0, n), *packed.steps()]:
        now, came, total = after[:, here:there], before[:, here:there], sums[:, here:there]
        if here:
            numpy.matmul(after[:, first:last], both_ways, out=came)
        now *= came
        numpy.matmul(now, ones, out=total)
        numpy.maximum(total, numpy.finfo(dtype).tiny, out=total)
        now /= total[..., None]
    ahead, back = numpy.argsort(packed.ahead), numpy.argsort(packed.back)
    return _Messages(after, before, ahead, back, step, bool(sums.min() > _LEAST))


def _run_probabilities(
    messages: _Messages, firsts: NDArray, steps: NDArray
) -> tuple[NDArray, bool]:
    """P(first tag) * product of P(next tag | tag and all that comes), for all runs at once.

    firsts: (runs, 2), token and tag. steps: (steps, 4), run, token, its tag, the next one's.
    RETURNS: (runs,); whether nothing was too small."""
    place, tag = firsts.T
    both = messages.after[0, messages.ahead[place]].astype(float)
    both *= messages.before[1, messages.back[place]]
    total = both.sum(-1)
    found = both[numpy.arange(len(place)), tag] / numpy.maximum(total, _TINY)
    run, place, tag, following = steps.T
    step = messages.step[tag, following].astype(float)
    step *= messages.after[1, messages.back[place + 1], following]
    come = messages.before[1, messages.back[place], tag].astype(float)
    numpy.multiply.at(found, run, step / numpy.maximum(come, _TINY))
    return found, messages.exact and min(total.min(), come.min(initial=1.0)) > _LEAST


def _flatten(emissions: Sequence[NDArray] | NDArray, lengths: Sequence[int]) -> NDArray:
    """(tokens, tags) of all sequences, one after the other."""
    return numpy.concatenate([one[:n] for one, n in zip(emissions, lengths, strict=True)])


def _blocks(potentials: Potentials) -> tuple[NDArray, NDArray, NDArray, NDArray]:
    """RETURNS: start, in the order of the blocks; the legal transitions between tokens of different
    entities, (closing, opening), and within one, (to E or I, from B or I, labels); tag ids in the
    order of the blocks."""
    n_labels = (len(potentials.start) - 1) // 4
    b, i, e, s = (4 * numpy.arange(n_labels) + k for k in (1, 2, 3, 4))
    order = numpy.concatenate([e, [0], s, b, i])
    closing, opening = order[: 2 * n_labels + 1], order[n_labels : 3 * n_labels + 1]
    step = potentials.transitions
    inside = numpy.array([[step[b, e], step[i, e]], [step[b, i], step[i, i]]])
    return potentials.start[order], step[closing][:, opening], inside, order


def _legal(transitions: NDArray) -> NDArray:
    """The transitions, with -inf where a step is not legal."""
    legal = numpy.array(legal_transitions((len(transitions) - 1) // 4)[2])
    return numpy.where(legal, transitions, -numpy.inf)
