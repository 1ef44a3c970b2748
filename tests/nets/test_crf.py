"""The CRF against brute force over every path, and against pytorch-crf."""

from itertools import pairwise, product

import pytest
import torch
from torch.nn.utils import parametrize

from spacy_tcm.decoding import Potentials, posteriors
from spacy_tcm.nets.crf import BioesCRF, CRFArch
from spacy_tcm.tags import legal_transitions, spans_to_tags

N_LABELS = 1
N_TAGS = 1 + 4 * N_LABELS


def make_crf(seed, n_labels=N_LABELS):
    torch.manual_seed(seed)
    crf = BioesCRF(CRFArch(n_labels)).double()
    for p in crf.parameters():
        torch.nn.init.normal_(p)
    return crf


def make_batch(seed, lengths, n_tags=N_TAGS):
    torch.manual_seed(seed + 1000)
    emissions = torch.randn(len(lengths), max(lengths), n_tags, dtype=torch.double) * 2
    mask = torch.arange(max(lengths))[None, :] < torch.tensor(lengths)[:, None]
    return emissions, mask


def path_scores(crf, emissions, n_labels=N_LABELS):
    """Score of every path of one sequence, by definition; illegal paths are -inf."""
    start, end, transition = legal_transitions(n_labels)
    raw = {
        name: getattr(crf.crf.parametrizations, name).original.detach()
        for name in ("start_transitions", "end_transitions", "transitions")
    }
    scores = {}
    for path in product(range(emissions.shape[1]), repeat=len(emissions)):
        legal = start[path[0]] and end[path[-1]]
        legal = legal and all(transition[a][b] for a, b in pairwise(path))
        score = raw["start_transitions"][path[0]] + raw["end_transitions"][path[-1]]
        score = score + sum(emissions[t, tag] for t, tag in enumerate(path))
        score = score + sum(raw["transitions"][a, b] for a, b in pairwise(path))
        scores[path] = float(score) if legal else float("-inf")
    return scores


def log_sum(scores):
    return torch.logsumexp(torch.tensor(list(scores), dtype=torch.double), 0)


def beliefs(crf, emissions, mask):
    """The posterior of each tag at each token, zeros behind the end."""
    potentials = Potentials(*(p.detach().numpy() for p in crf.potentials()))
    found = posteriors(potentials, emissions.detach().numpy(), mask.sum(1).tolist())
    return torch.nn.utils.rnn.pad_sequence([torch.from_numpy(p) for p in found], True)


@pytest.mark.parametrize("lengths", [[1], [2], [3], [4], [4, 1, 2], [1, 3]])
@pytest.mark.parametrize("seed", range(3))
def test_partial_likelihood_is_that_of_brute_force(lengths, seed):
    crf, (emissions, mask) = make_crf(seed), make_batch(seed, lengths)
    allowed = torch.rand(emissions.shape) < 0.6
    allowed[..., 0] = True  # O everywhere is always a legal path
    expected = torch.zeros(1, dtype=torch.double)
    for b, n in enumerate(lengths):
        scores = path_scores(crf, emissions[b, :n])
        ok = [s for p, s in scores.items() if all(allowed[b, t, tag] for t, tag in enumerate(p))]
        expected += log_sum(scores.values()) - log_sum(ok)
    assert torch.allclose(crf(emissions, mask, allowed), expected, atol=1e-9)


def test_gradients_are_numerically_right():
    crf, (emissions, mask) = make_crf(0), make_batch(0, [3, 1, 2])
    allowed = torch.ones_like(emissions, dtype=torch.bool)
    allowed[0, 1, 1:] = False
    names = [name for name, _ in crf.named_parameters()]

    def loss(em, *parameters):
        state = dict(zip(names, parameters, strict=True))
        return torch.func.functional_call(crf, state, (em, mask, allowed))

    inputs = (emissions.requires_grad_(), *crf.parameters())
    assert torch.autograd.gradcheck(loss, inputs)


def test_equals_pytorch_crf_on_full_annotation():
    crf = make_crf(1, n_labels=3).float()
    lengths = [40, 17, 1]
    emissions, mask = make_batch(1, lengths, n_tags=13)
    emissions = emissions.float().requires_grad_()
    tags = torch.tensor(
        [
            spans_to_tags(40, [(2, 5, 0), (5, 6, 2), (30, 40, 1)]),
            spans_to_tags(17, [(0, 17, 1)]) + [0] * 23,
            [4, *[0] * 39],
        ]
    )
    allowed = torch.nn.functional.one_hot(tags, 13).bool()
    ours = crf(emissions, mask, allowed)
    ours.backward()
    gradient, emissions.grad = emissions.grad, None
    with parametrize.cached():
        theirs = -crf.crf(emissions, tags, mask)
    theirs.backward()
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)
    assert torch.allclose(gradient, emissions.grad, atol=1e-4)


def test_long_sequences_and_extreme_emissions_stay_finite():
    crf = make_crf(0).float()
    emissions = torch.randn(1, 5000, N_TAGS) * 50
    mask = torch.ones(1, 5000, dtype=torch.bool)
    allowed = torch.zeros(1, 5000, N_TAGS, dtype=torch.bool)
    allowed[..., 0] = True
    emissions.requires_grad_()
    loss = crf(emissions, mask, allowed)
    loss.backward()
    assert torch.isfinite(loss).all()
    assert torch.isfinite(emissions.grad).all()


def test_distillation_draws_posteriors_to_the_teachers():
    crf, (emissions, mask) = make_crf(0), make_batch(0, [4, 2])
    anything = torch.ones(emissions.shape, dtype=torch.bool)
    taught = beliefs(make_crf(1), *make_batch(1, [4, 2]))
    emissions.requires_grad_(True)
    loss = crf(emissions, mask, anything, taught, 0.25)
    (gradient,) = torch.autograd.grad(loss, emissions)
    assert torch.allclose(gradient, 0.25 * (beliefs(crf, emissions, mask) - taught))
    # Nothing is annotated, so all there is to learn is the teacher's.
    assert crf(emissions, mask, anything).item() == pytest.approx(0, abs=1e-9)


def test_distillation_leaves_transitions_to_the_annotation():
    crf, (emissions, mask) = make_crf(0), make_batch(0, [4])
    outside = torch.zeros(emissions.shape, dtype=torch.bool)
    outside[..., 0] = True
    taught = beliefs(make_crf(1), *make_batch(1, [4]))
    parameters = list(crf.parameters())
    alone = torch.autograd.grad(crf(emissions, mask, outside).sum(), parameters)
    shared = torch.autograd.grad(crf(emissions, mask, outside, taught, 0.5).sum(), parameters)
    for a, b in zip(alone, shared, strict=True):
        assert torch.allclose(0.5 * a, b)
