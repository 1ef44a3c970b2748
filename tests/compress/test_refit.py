import pytest
import torch

from spacy_tcm.compress.refit import refit
from spacy_tcm.compress.tuning import feature_error, recalibrate
from spacy_tcm.compress.units import prunable
from spacy_tcm.errors import ModelError
from spacy_tcm.images.render import random_attributes, render_tongue
from spacy_tcm.models.photos import Photo, prepare_photos

from .conftest import make_net


@pytest.fixture(scope="module")
def photos() -> list[Photo]:
    images = [render_tongue(random_attributes(seed), size=48, seed=seed) for seed in range(8)]
    return [*prepare_photos(images, 32), *prepare_photos([None], 32)]


def cut(net, share):
    pruner = prunable(net)
    return pruner.slice([torch.arange(max(1, round(unit.width * share))) for unit in pruner.units])


@pytest.mark.parametrize("kind", ["resnet", "efficientnet"])
def test_it_is_nearer_to_the_whole_net(kind, photos):
    teacher = make_net(kind)
    sliced, measured, fitted = (cut(teacher, 0.5) for _ in range(3))
    recalibrate(measured, photos)
    refit(fitted, teacher, photos)
    errors = [feature_error(net, teacher, photos) for net in (sliced, measured, fitted)]
    assert errors[2] < errors[0]
    assert errors[2] < 0.9 * errors[1] or kind == "resnet"
    assert all(not name.startswith("heads") for name in changed(cut(teacher, 0.5), fitted))


def changed(one, other):
    state = other.state_dict()
    return [name for name, x in one.state_dict().items() if not torch.equal(x, state[name])]


def test_what_is_whole_stays_so(photos):
    teacher, same = make_net("efficientnet"), make_net("efficientnet")
    refit(same, teacher, photos)
    assert feature_error(same, teacher, photos) < 0.01


def test_without_a_photo():
    with pytest.raises(ModelError, match="E494"):
        refit(make_net("efficientnet"), make_net("efficientnet"), prepare_photos([None], 32))
