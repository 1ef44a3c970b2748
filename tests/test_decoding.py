"""The decoder against brute force over every path, and against pytorch-crf."""

from itertools import pairwise, product

import numpy
import pytest
import torch
from torch.nn.utils import parametrize

from spacy_tcm.decoding import Potentials, best_paths, path_probabilities, posteriors
from spacy_tcm.nets.crf import BioesCRF, CRFArch
from spacy_tcm.tags import legal_transitions, spans_to_tags, tags_to_spans


def make(seed, lengths, n_labels=1, spread=2.0):
    """Potentials as a trained pipeline has them, and emissions, float32."""
    rng = numpy.random.default_rng(seed)
    n_tags = 1 + 4 * n_labels
    legal = legal_transitions(n_labels)
    shapes = ((n_tags,), (n_tags,), (n_tags, n_tags))
    start, end, step = (
        numpy.where(numpy.array(ok), rng.normal(size=shape), -1e4).astype("f")
        for ok, shape in zip(legal, shapes, strict=True)
    )
    emissions = rng.normal(size=(len(lengths), max(lengths), n_tags)) * spread
    return Potentials(start, step, end), emissions.astype("f")


def all_paths(potentials, emissions):
    """The score of each path of one sequence, by definition."""
    start, step, end = (p.astype(float) for p in potentials)
    scores = {}
    for path in product(range(emissions.shape[1]), repeat=len(emissions)):
        score = start[path[0]] + end[path[-1]] + sum(step[a, b] for a, b in pairwise(path))
        scores[path] = score + sum(float(emissions[t, tag]) for t, tag in enumerate(path))
    return scores


def weights(scores, temperature=1.0):
    """Path -> its probability."""
    values = numpy.array(list(scores.values())) / temperature
    values = numpy.exp(values - values.max())
    return dict(zip(scores, values / values.sum(), strict=True))


@pytest.mark.parametrize("lengths", [[1], [2], [4], [2, 4, 1]])
def test_best_path_is_that_of_brute_force(lengths):
    for seed in range(10):
        potentials, emissions = make(seed, lengths)
        for b, path in enumerate(best_paths(potentials, emissions, lengths)):
            scores = all_paths(potentials, emissions[b, : lengths[b]])
            assert tuple(path) == max(scores, key=scores.__getitem__)


@pytest.mark.parametrize("n_labels", [1, 3, 23])
def test_best_paths_are_those_of_pytorch_crf(n_labels):
    for seed in range(5):
        torch.manual_seed(seed)
        crf = BioesCRF(CRFArch(n_labels))
        for p in crf.parameters():
            torch.nn.init.normal_(p)
        potentials = Potentials(*(p.detach().numpy() for p in crf.potentials()))
        lengths = [60, 1, *torch.randint(1, 60, (6,)).tolist()]
        emissions = torch.randn(8, 60, 1 + 4 * n_labels) * 3
        mask = torch.arange(60)[None] < torch.tensor(lengths)[:, None]
        with torch.no_grad(), parametrize.cached():
            expected = crf.crf.decode(emissions, mask)
        assert best_paths(potentials, emissions.numpy(), lengths) == expected


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_run_probability_is_that_of_brute_force(temperature):
    lengths = [4, 2]
    for seed in range(5):
        potentials, emissions = make(seed, lengths)
        runs = [
            [
                (first, spans_to_tags(size, [(0, size, 0)]))
                for size in range(1, n + 1)
                for first in range(n - size + 1)
            ]
            for n in lengths
        ]
        found = path_probabilities(potentials, emissions, lengths, runs, temperature)
        for b, n in enumerate(lengths):
            paths = weights(all_paths(potentials, emissions[b, :n]), temperature)
            for (first, tags), p in zip(runs[b], found[b], strict=True):
                end = first + len(tags)
                right = sum(w for path, w in paths.items() if list(path[first:end]) == tags)
                assert p == pytest.approx(right, abs=1e-6)


def test_posteriors_are_those_of_brute_force():
    lengths = [3, 1, 2]
    for seed in range(3):
        potentials, emissions = make(seed, lengths)
        for b, found in enumerate(posteriors(potentials, emissions, lengths)):
            assert found.shape == (lengths[b], emissions.shape[-1])
            paths = weights(all_paths(potentials, emissions[b, : lengths[b]]))
            for t, row in enumerate(found):
                right = [sum(w for p, w in paths.items() if p[t] == tag) for tag in range(len(row))]
                assert row == pytest.approx(right, abs=1e-6)


def test_what_else_is_in_the_batch_changes_nothing():
    lengths = [50, 3, 21, 1]
    potentials, emissions = make(0, lengths, n_labels=4)
    paths = best_paths(potentials, emissions, lengths)
    runs = [[(s, path[s:e]) for s, e, _ in tags_to_spans(path)] for path in paths]
    together = path_probabilities(potentials, emissions, lengths, runs)
    assert any(runs)
    for b, n in enumerate(lengths):
        alone = emissions[b : b + 1, :n]
        assert best_paths(potentials, alone, [n]) == [paths[b]]
        (scores,) = path_probabilities(potentials, alone, [n], [runs[b]])
        assert scores == pytest.approx(together[b])


def test_long_sequences_and_extreme_emissions_stay_finite():
    potentials, emissions = make(0, [5000], spread=50)
    (path,) = best_paths(potentials, emissions, [5000])
    _, _, legal = legal_transitions(1)
    assert all(legal[a][b] for a, b in pairwise(path))
    runs = [[(s, path[s:e]) for s, e, _ in tags_to_spans(path)]]
    (scores,) = path_probabilities(potentials, emissions, [5000], runs)
    assert len(scores) > 100
    assert all(0 <= p <= 1 for p in scores)
    assert max(scores) > 0.9


def test_what_is_not_legal_is_never_decoded():
    """Also where all legal steps are unlikely."""
    potentials, emissions = make(3, [30], n_labels=2)
    legal = numpy.array(legal_transitions(2)[2])
    unlikely = numpy.where(legal, -100.0, -1e4).astype("f")
    (path,) = best_paths(potentials._replace(transitions=unlikely), emissions, [30])
    assert all(legal[a, b] for a, b in pairwise(path))


@pytest.mark.parametrize("spread", [1.0, 5.0, 30.0, 100.0])
def test_what_float32_cannot_hold_is_computed_in_float64(spread):
    """Scores are those that the same algorithm gives in 64 bits, however sure or torn emissions
    are."""
    lengths = [40, 7, 90]
    for seed in range(5):
        potentials, emissions = make(seed, lengths, n_labels=5, spread=spread)
        paths = best_paths(potentials, emissions, lengths)
        runs = [[(s, path[s:e]) for s, e, _ in tags_to_spans(path)] for path in paths]
        found = path_probabilities(potentials, emissions, lengths, runs)
        for b, n in enumerate(lengths):
            right = log_probabilities(potentials, emissions[b, :n], runs[b])
            assert found[b] == pytest.approx(right, abs=1e-5)


def log_probabilities(potentials, emissions, runs):
    """Of runs in one sequence, forward and backward in logarithms."""
    start, step, end = (p.astype(float) for p in potentials)
    x = emissions.astype(float)
    alpha, beta = [start + x[0]], [end]
    for now in x[1:]:
        alpha.append(now + numpy.logaddexp.reduce(alpha[-1][:, None] + step, axis=0))
    for later in x[:0:-1]:
        beta.insert(0, numpy.logaddexp.reduce(step + later + beta[0], axis=1))
    total = numpy.logaddexp.reduce(alpha[-1] + end)
    found = []
    for first, tags in runs:
        score = alpha[first][tags[0]] + beta[first + len(tags) - 1][tags[-1]] - total
        for k, (tag, following) in enumerate(pairwise(tags), first + 1):
            score += step[tag, following] + x[k, following]
        found.append(numpy.exp(score))
    return found


def test_lists_of_emissions_are_as_good_as_padded_ones():
    lengths = [5, 1, 9]
    potentials, emissions = make(1, lengths, n_labels=3)
    some = [emissions[b, :n] for b, n in enumerate(lengths)]
    assert best_paths(potentials, some, lengths) == best_paths(potentials, emissions, lengths)
    for one, other in zip(
        posteriors(potentials, some, lengths),
        posteriors(potentials, emissions, lengths),
        strict=True,
    ):
        numpy.testing.assert_array_equal(one, other)


def test_nothing_to_decode():
    potentials, _ = make(0, [1])
    empty = numpy.zeros((0, 0, 5), "f")
    assert best_paths(potentials, empty, []) == []
    assert path_probabilities(potentials, empty, [], []) == []
    assert posteriors(potentials, empty, []) == []
    assert path_probabilities(*make(0, [2]), [2], [[]]) == [[]]
