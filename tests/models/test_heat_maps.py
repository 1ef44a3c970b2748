"""Where attributes are seen: against what is known of the net and of the photo."""

import sys

import numpy
import pytest
import spacy
import torch
from spacy.training import Example

from spacy_tcm.errors import ModelError
from spacy_tcm.images.colour import ZONES, find_zones
from spacy_tcm.images.heat import draw_heat, share_by_zone
from spacy_tcm.models.heat_maps import check_captum, find_heat
from spacy_tcm.models.photos import Photo
from spacy_tcm.models.weights import get_module
from spacy_tcm.types import PhotoInfo

from ..tongues import ATTRIBUTES, EFFICIENTNET, RESNET

# Without weights it begins at random.
MODELS = {
    "resnet": {**RESNET, "image_size": 64},
    "efficientnet": {**EFFICIENTNET, "weights": None, "segmenter": None, "dropout": 0.5},
}


@pytest.fixture(params=MODELS)
def model(request):
    nlp = spacy.blank("tcm")
    encoder = nlp.add_pipe("tongue_encoder", config={"model": MODELS[request.param]})
    torch.manual_seed(0)
    example = Example(nlp.make_doc(""), nlp.make_doc(""))
    encoder.initialize(lambda: [example], nlp=nlp, attributes=ATTRIBUTES)
    return encoder.model


@pytest.fixture
def mask():
    y, x = numpy.mgrid[:64, :64] / 63
    return (x - 0.5) ** 2 / 0.12 + (y - 0.5) ** 2 / 0.2 < 1


@pytest.fixture
def photo(mask):
    generator = numpy.random.default_rng(0)
    pixels = generator.integers(60, 200, (64, 64, 3)).astype("uint8")
    colours = generator.standard_normal(30).astype("float32")
    return Photo(PhotoInfo("ok"), pixels, mask, colours)


def test_a_map_for_each_attribute(model, photo, mask):
    for told in ([0, 0], [1, 2]):
        found = find_heat(model, photo, told)
        assert len(found) == 2
        for heat in found:
            assert heat.shape == (64, 64)
            assert heat.dtype == numpy.uint8
            assert heat.max() == 255
            assert not heat[~mask].any()


def test_the_model_stays_as_it_is(model, photo):
    net = get_module(model.layers[0])
    for training in (True, False):
        net.train(training)
        modes = [module.training for module in net.modules()]
        state = {name: tensor.clone() for name, tensor in net.state_dict().items()}
        hooks = [len(module._forward_hooks) for module in net.modules()]
        for parameter in net.parameters():
            parameter.grad = torch.full_like(parameter, 3.0)
        with torch.no_grad():
            find_heat(model, photo, [1, 2])
        assert [module.training for module in net.modules()] == modes
        assert [len(module._forward_hooks) for module in net.modules()] == hooks
        assert all(torch.equal(state[name], tensor) for name, tensor in net.state_dict().items())
        assert all((parameter.grad == 3).all() for parameter in net.parameters())


def test_the_same_twice_and_another_for_another_value(model, photo):
    one, two = find_heat(model, photo, [0, 0]), find_heat(model, photo, [0, 0])
    other = find_heat(model, photo, [1, 1])
    for a, b, c in zip(one, two, other, strict=True):
        numpy.testing.assert_array_equal(a, b)
        assert (a != c).any()


def test_a_frozen_trunk_has_heat_too(model, photo):
    get_module(model.layers[0]).trunk.requires_grad_(False)
    assert find_heat(model, photo, [0, 1])[1].max() == 255


def test_a_map_is_bright_where_its_head_looks(photo, mask):
    """A head that asks how much of one channel there is: the heat is that channel's map."""
    nlp = spacy.blank("tcm")
    encoder = nlp.add_pipe("tongue_encoder", config={"model": RESNET})
    torch.manual_seed(0)
    example = Example(nlp.make_doc(""), nlp.make_doc(""))
    encoder.initialize(lambda: [example], nlp=nlp, attributes=ATTRIBUTES)
    net = get_module(encoder.model.layers[0]).eval()
    seen = []
    hook = net.described[-1].register_forward_hook(lambda *call: seen.append(call[2].detach()))
    with torch.no_grad():
        net(*(torch.tensor(x)[None] for x in (photo.pixels, mask, photo.colours)))
        hook.remove()
        channel = int((seen[0][0].flatten(1) > 0).float().mean(1).argmax())
        net.heads.by_map.score.weight.zero_()
        net.heads.by_map.score.weight[2, channel] = 1.0
    _, heat = find_heat(encoder.model, photo, [0, 2])
    expected = torch.nn.functional.interpolate(seen[0][:, [channel]], (64, 64), mode="bilinear")
    expected = expected[0, 0].numpy()
    inside = mask & (find_zones(mask)[1])  # away from the edge, where cells are partly tongue
    assert numpy.corrcoef(heat[inside], expected[inside])[0, 1] > 0.99


@pytest.mark.parametrize("zone", range(5))
def test_colours_are_painted_into_their_zone(model, photo, mask, zone):
    norm, score = (lambda head: (head.norm, head.score))(
        get_module(model.layers[0]).heads.by_colour
    )
    with torch.no_grad():
        norm.running_mean.fill_(0.25)
        score.weight.zero_()
        score.weight[1, 6 * zone] = 2.0
        photo.colours[:] = 0.25
    assert not find_heat(model, photo, [1, 0])[0].any(), "as in training: nothing to say"
    photo.colours[6 * zone] = 1.0
    heat = find_heat(model, photo, [1, 0])[0]
    numpy.testing.assert_array_equal(heat == 255, find_zones(mask)[zone])
    assert share_by_zone(heat, mask)[list(ZONES)[zone]] > 0.9
    photo.colours[6 * zone] = -1.0
    assert not find_heat(model, photo, [1, 0])[0].any(), "speaks against it"


def test_without_captum(monkeypatch):
    check_captum()
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    with pytest.raises(ModelError, match=r"E463.*captum.*'\.\[train\]'"):
        check_captum()


def test_zones_cover_the_tongue(mask):
    zones = find_zones(mask)
    assert zones.shape == (5, 64, 64)
    numpy.testing.assert_array_equal(zones.any(0), mask)
    centres = {name: numpy.argwhere(zone).mean(0) for name, zone in zip(ZONES, zones, strict=True)}
    assert centres["left"][1] < 20 < 44 < centres["right"][1], "the viewer's"
    assert centres["root"][0] < 20 < 44 < centres["tip"][0]
    assert centres["centre"] == pytest.approx((33, 31.5), abs=2)


def test_shares(mask):
    heat = numpy.zeros((64, 64), dtype="uint8")
    assert share_by_zone(heat, mask) == {}
    heat[32, 14:18] = 255  # at the left edge
    assert share_by_zone(heat, mask)["left"] == 1
    heat[32, 32:34] = 254
    shares = share_by_zone(heat, mask)
    assert list(shares) == list(ZONES)
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["centre"] == pytest.approx(1 / 3, abs=0.01)


def test_drawing(mask):
    photo = numpy.full((64, 64, 3), (180, 90, 90), dtype="uint8")
    heat = numpy.zeros((64, 64), dtype="uint8")
    heat[30:34, 30:34] = 255
    drawn = draw_heat(photo, heat, mask)
    assert drawn.shape == (64, 64, 3)
    assert drawn.dtype == numpy.uint8
    assert (drawn[0, 0] == photo[0, 0]).all()
    assert abs(drawn[32, 32].astype(int) - photo[32, 32]).max() > 60
    assert (drawn[32, numpy.flatnonzero(mask[32])[0]] == 255).all(), "the outline"
    assert (photo == (180, 90, 90)).all(), "what is drawn on stays"
