"""Best paths and exact probabilities of a linear-chain CRF over BIOES tags, in NumPy.

Of all steps between tags, few are legal: one that closes a token (O, E, S) to one that opens the
next (O, B, S), and, within a label, B or I to I or E. Tags are sorted so that each group is one
block: E of all labels, O, S, B, I.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy
from numpy.typing import NDArray

_TINY = 1e-300

# A run of tags that stands at a place: its first token, and the tag ids.
Run = tuple[int, Sequence[int]]


class Potentials(NamedTuple):
    """Log-potentials: start and end (tags,), transitions (tags, tags) from row to column. What may
    not happen has one far below all others."""

    start: NDArray
    transitions: NDArray
    end: NDArray


class _Blocks(NamedTuple):
    """The legal transitions. between: (closing, opening). inside: (to E or I, from B or I, labels).
    order: tag ids in the order of the blocks."""

    start: NDArray
    between: NDArray
    inside: NDArray
    order: NDArray


def best_paths(
    potentials: Potentials, emissions: NDArray, lengths: Sequence[int]
) -> list[list[int]]:
    """The most probable legal path of each sequence, by Viterbi's algorithm.

    emissions: (batch, length, tags), padded behind the end. lengths: (batch,), from 1.
    """
    if not len(emissions):
        return []
    first = _blocks(potentials)
    n_labels = first.inside.shape[-1]
    closing, open_from = 2 * n_labels + 1, 3 * n_labels + 1
    scores = numpy.ascontiguousarray(emissions.transpose(1, 0, 2)[..., first.order])
    scores[0] += first.start
    steps = numpy.empty((closing, len(emissions), closing), scores.dtype)
    before = scores[0]
    for now in scores[1:]:
        # Sources outermost: adding and comparing then run along whole rows.
        closed = before.T[:closing, :, None]
        numpy.add(closed, first.between[:, None], out=steps)
        now[:, n_labels:open_from] += steps.max(0)
        inner = before[:, closing:].reshape(-1, 1, 2, n_labels) + first.inside
        best = numpy.maximum(inner[:, :, 0], inner[:, :, 1])
        now[:, :n_labels] += best[:, 0]
        now[:, open_from:] += best[:, 1]
        before = now
    return _trace_back(potentials, first, scores, numpy.asarray(lengths))


def _trace_back(
    potentials: Potentials, blocks: _Blocks, scores: NDArray, lengths: NDArray
) -> list[list[int]]:
    """scores: (length, batch, tags) of the best path to each tag, in the order of the blocks. Which
    tag such a path came from is found again only along the best of all."""
    order = blocks.order
    arriving = _legal(potentials.transitions, blocks)[order][:, order].T.astype(scores.dtype)
    end = potentials.end[order].astype(scores.dtype)
    length, batch = scores.shape[:2]
    path = numpy.zeros((length, batch), dtype=int)
    last = (scores[lengths - 1, numpy.arange(batch)] + end).argmax(-1)
    at = last
    for t in range(length - 1, -1, -1):
        if t + 1 < length:
            came = (scores[t] + arriving[at]).argmax(-1)
            at = numpy.where(t + 1 < lengths, came, last)
        path[t] = at
    tags = order[path]
    return [tags[:n, i].tolist() for i, n in enumerate(lengths.tolist())]


def path_probabilities(
    potentials: Potentials,
    emissions: NDArray,
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
    alpha, gamma, beta = _messages(potentials, emissions, lengths, temperature)
    # P(first tag) * product of P(next tag | tag and all that comes): for all runs at once.
    firsts = [(b, start, tags[0]) for b, some in enumerate(runs) for start, tags in some]
    b, t, tag = numpy.array(firsts).T
    both = alpha[t, b] * beta[t, b]
    rows = numpy.arange(len(b))
    found = both[rows, tag] / numpy.maximum(both.sum(-1), _TINY)
    steps = [
        (run, b, start + k, *step)
        for run, ((b, _, _), (start, tags)) in enumerate(
            zip(firsts, (one for some in runs for one in some), strict=True)
        )
        for k, step in enumerate(pairwise(tags))
    ]
    if steps:
        run, b, t, tag, following = numpy.array(steps).T
        step = numpy.exp(potentials.transitions[tag, following].astype(float) / temperature)
        step *= gamma[t + 1, b, following] / numpy.maximum(beta[t, b, tag], _TINY)
        numpy.multiply.at(found, run, step)
    scores = iter(numpy.minimum(found, 1.0).tolist())
    return [[next(scores) for _ in some] for some in runs]


def posteriors(potentials: Potentials, emissions: NDArray, lengths: Sequence[int]) -> list[NDArray]:
    """Posterior of each tag at each token, (tokens, tags) per sequence. Parameters: as for
    `best_paths`."""
    if not len(emissions):
        return []
    alpha, _, beta = _messages(potentials, emissions, lengths, 1.0)
    both = alpha * beta
    both /= numpy.maximum(both.sum(-1, keepdims=True), _TINY)
    return [both[:n, i].astype(emissions.dtype) for i, n in enumerate(lengths)]


def _messages(
    potentials: Potentials, emissions: NDArray, lengths: Sequence[int], temperature: float
) -> tuple[NDArray, NDArray, NDArray]:
    """The messages of the scaled forward-backward algorithm (Rabiner 1989, section V.A), each
    (length, batch, tags) float64 and right up to a factor per token.

    RETURNS: alpha, of what stands up to a token; gamma, of what stands from it on; beta, of what
        stands behind it, which is gamma of the next token through the transitions.
    """
    scaled = Potentials(*(numpy.asarray(p, dtype=float) / temperature for p in potentials))
    ahead = _blocks(scaled)
    # Read from its end, a path has E where it had B: the same blocks, and the same algorithm.
    back = _blocks(Potentials(scaled.end, scaled.transitions.T, scaled.start), mirrored=True)
    n_labels = ahead.inside.shape[-1]
    closing, open_from = 2 * n_labels + 1, 3 * n_labels + 1
    batch, length, n_tags = emissions.shape
    place = numpy.arange(length)[:, None]
    ends = numpy.asarray(lengths)[None]
    mirror = numpy.where(place < ends, ends - 1 - place, place)
    column = numpy.arange(batch)[None]

    x = emissions.transpose(1, 0, 2).astype(float)
    x -= x.max(-1, keepdims=True)
    x /= temperature
    numpy.exp(x, out=x)
    after = numpy.empty((length, 2, batch, n_tags))
    after[:, 0] = x[..., ahead.order]
    after[:, 1] = x[mirror, column][..., back.order]
    before = numpy.empty_like(after)
    before[0, 0], before[0, 1] = numpy.exp(ahead.start), numpy.exp(back.start)
    between = numpy.exp(numpy.stack([ahead.between, back.between]))
    inside = numpy.exp(numpy.stack([ahead.inside, back.inside]))[:, None]
    ones = numpy.ones(n_tags)
    for t in range(length):
        now, came = after[t], before[t]
        if t:
            last = after[t - 1]
            numpy.matmul(last[..., :closing], between, out=came[..., n_labels:open_from])
            inner = last[..., closing:].reshape(2, batch, 1, 2, n_labels) * inside
            came[..., :n_labels] = inner[:, :, 0, 0] + inner[:, :, 0, 1]
            came[..., open_from:] = inner[:, :, 1, 0] + inner[:, :, 1, 1]
        now *= came
        now /= numpy.maximum(now @ ones, _TINY)[..., None]
    there, back_there = numpy.argsort(ahead.order), numpy.argsort(back.order)
    alpha = after[:, 0][..., there]
    gamma, beta = (some[mirror, 1, column][..., back_there] for some in (after, before))
    return alpha, gamma, beta


def _blocks(potentials: Potentials, mirrored: bool = False) -> _Blocks:
    """mirrored: B and E have changed places."""
    n_labels = (len(potentials.start) - 1) // 4
    label = 4 * numpy.arange(n_labels)
    b, i, e, s = label + 1, label + 2, label + 3, label + 4
    if mirrored:
        b, e = e, b
    outside = numpy.zeros(1, dtype=int)
    order = numpy.concatenate([e, outside, s, b, i])
    closing, opening = order[: 2 * n_labels + 1], order[n_labels : 3 * n_labels + 1]
    step = potentials.transitions
    inside = numpy.array([[step[b, e], step[i, e]], [step[b, i], step[i, i]]])
    return _Blocks(potentials.start[order], step[closing][:, opening], inside, order)


def _legal(transitions: NDArray, blocks: _Blocks) -> NDArray:
    """The transitions, with -inf where no block has one."""
    legal = numpy.full_like(transitions, -numpy.inf)
    order, n_labels = blocks.order, blocks.inside.shape[-1]
    closing, opening = order[: 2 * n_labels + 1], order[n_labels : 3 * n_labels + 1]
    legal[numpy.ix_(closing, opening)] = blocks.between
    e, b, i = (
        order[:n_labels],
        order[2 * n_labels + 1 : 3 * n_labels + 1],
        order[3 * n_labels + 1 :],
    )
    for row, to in enumerate((e, i)):
        for column, come in enumerate((b, i)):
            legal[come, to] = blocks.inside[row, column]
    return legal
