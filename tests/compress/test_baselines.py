import pytest
import torch

from spacy_tcm.compress.baselines import uniform_or_global
from spacy_tcm.compress.memory import ByteModel
from spacy_tcm.compress.units import prunable
from spacy_tcm.errors import BudgetInfeasibleError

from .conftest import make_net


def widths_of(kept):
    return [len(some) for some in kept]


@pytest.fixture
def pruner(kind):
    return prunable(make_net(kind))


@pytest.mark.parametrize("uniform", [False, True])
def test_every_budget_is_kept_and_widths_are_rounded(kind, pruner, uniform):
    importances = pruner.importances("l1")
    model = ByteModel.of(pruner.net, 2, 9 if kind == "text" else 32)
    whole = [unit.width for unit in pruner.units]
    least = [min(1 if unit.size > 1 else 4, unit.width) for unit in pruner.units]
    bounds = model.peak(least), model.peak(whole)
    assert bounds[0] < bounds[1]
    before = None
    for share in (1.0, 0.7, 0.4, 0.1, 0.0):
        budget = bounds[0] + int(share * (bounds[1] - bounds[0]))
        kept = uniform_or_global(pruner, importances, model.peak, budget, 4, uniform)
        widths = widths_of(kept)
        assert model.peak(widths) <= budget
        for width, unit, some in zip(widths, pruner.units, kept, strict=True):
            assert width == unit.width or unit.size > 1 or width % 4 == 0
            assert some.tolist() == sorted(set(some.tolist()))
        if before is None:
            assert widths == whole
        else:
            assert all(a <= b for a, b in zip(widths, before, strict=True)), "monotone"
        before = widths
    assert before != whole
    with pytest.raises(BudgetInfeasibleError) as error:
        uniform_or_global(pruner, importances, model.peak, bounds[0] - 1, 4, uniform)
    assert error.value.min_bytes == bounds[0]


@pytest.mark.parametrize("uniform", [False, True])
def test_the_least_important_go(pruner, uniform):
    """The first of each unit matter most, the first unit least of all."""
    importances = [
        torch.arange(unit.width, 0, -1.0) * unit.size + (100.0 * unit.size if i else 0)
        for i, unit in enumerate(pruner.units)
    ]
    whole = [unit.width for unit in pruner.units]
    kept = uniform_or_global(pruner, importances, sum, sum(whole) - 2, 1, uniform)
    assert all(some.tolist() == list(range(len(some))) for some in kept)
    widths = widths_of(kept)
    if uniform:
        shares = [width / n for width, n in zip(widths, whole, strict=True)]
        assert sum(share < 1 for share in shares) > 1
    else:
        assert widths == [whole[0] - 2, *whole[1:]]


def test_uniform_keeps_like_shares():
    pruner = prunable(make_net("resnet"))
    importances = pruner.importances("random")
    half = uniform_or_global(pruner, importances, sum, 20, 1, uniform=True)
    shares = [len(some) / unit.width for some, unit in zip(half, pruner.units, strict=True)]
    assert max(shares) - min(shares) < 0.2
    assert 18 <= sum(widths_of(half)) <= 20
