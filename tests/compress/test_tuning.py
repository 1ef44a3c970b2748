from pathlib import Path

import numpy
import pytest
import torch

from spacy_tcm.compress import tuning
from spacy_tcm.compress.tuning import (
    encode,
    feature_error,
    layer_outputs,
    recalibrate,
    refit_heads,
    tune_text,
    tune_tongue,
    vector_error,
)
from spacy_tcm.compress.units import prunable
from spacy_tcm.errors import ModelError
from spacy_tcm.images.render import random_attributes, render_tongue
from spacy_tcm.models.photos import Photo, prepare_photos
from spacy_tcm.nets.fusion import Tagger, TaggerArch
from spacy_tcm.nets.tongue import HeadsArch, TongueArch, TongueNet, pooled_size

from .conftest import TRUNKS, make_net

PHOTOS = ["resnet", "efficientnet"]


@pytest.fixture(scope="module")
def photos() -> list[Photo]:
    images = [render_tongue(random_attributes(seed), size=48, seed=seed) for seed in range(12)]
    prepared = prepare_photos([*images, None], 32)
    for photo in prepared[:-1]:
        photo.colours = numpy.zeros(5, dtype="float32")
    return prepared


@pytest.fixture(scope="module")
def texts() -> list[list[int]]:
    random = numpy.random.default_rng(3)
    return [random.integers(0, 40, n).tolist() for n in random.integers(3, 16, 40)]


def cut(net, share=0.6):
    pruner = prunable(net)
    kept = [
        values.topk(round(len(values) * share)).indices.sort().values
        for values in pruner.importances("l1")
    ]
    return pruner.slice(kept)


def tune(kind, steps, photos, texts, **options):
    """The student and the last loss."""
    teacher = make_net(kind)
    student = cut(teacher)
    if kind == "text":
        return student, tune_text(student, teacher, texts, steps, batch=8, **options)
    recalibrate(student, photos)
    return student, tune_tongue(student, teacher, photos, steps, batch=6, **options)


def error(kind, student, photos, texts):
    if kind == "text":
        return vector_error(student, make_net(kind), texts)
    return feature_error(student, make_net(kind), photos)


def same(a, b):
    return all(torch.equal(x, b[name]) for name, x in a.items())


def test_tuning_lowers_the_error(kind, photos, texts):
    losses = {}
    before = error(kind, tune(kind, 0, photos, texts)[0], photos, texts)
    student, last = tune(kind, 40, photos, texts, rate=3e-3, progress=losses.__setitem__)
    assert list(losses) == list(range(1, 41))
    assert last == losses[40]
    first, end = (list(losses.values())[i : i + 5] for i in (0, 35))
    assert sum(end) < 0.8 * sum(first)
    assert error(kind, student, photos, texts) < 0.8 * before


def test_what_is_whole_has_nothing_to_learn(kind, photos, texts):
    net = make_net(kind)
    assert error(kind, net, photos, texts) == 0
    losses = []
    if kind == "text":
        tune_text(net, make_net(kind), texts, 1, progress=lambda step, loss: losses.append(loss))
    else:
        tune_tongue(net, make_net(kind), photos, 1, progress=lambda step, loss: losses.append(loss))
    assert losses[0] == pytest.approx(0, abs=1e-6)


def test_same_seed_same_result(kind, photos, texts):
    found = [tune(kind, 4, photos, texts, seed=seed) for seed in (1, 1, 2)]
    assert found[0][1] == found[1][1]
    assert same(found[0][0].state_dict(), found[1][0].state_dict())
    assert found[0][1] != found[2][1]


def test_a_killed_run_goes_on(kind, photos, texts, tmp_path):
    through, last = tune(kind, 6, photos, texts)

    class Killed(Exception):
        pass

    def kill(step, loss):
        if step == 5:
            raise Killed

    with pytest.raises(Killed):
        tune(kind, 6, photos, texts, folder=tmp_path, save_every=2, progress=kill)
    steps = []
    student, resumed = tune(
        kind, 6, photos, texts, folder=tmp_path, save_every=2, progress=lambda *x: steps.append(x)
    )
    assert [step for step, _ in steps] == [5, 6]
    assert resumed == last
    assert same(student.state_dict(), through.state_dict())
    done, again = tune(kind, 6, photos, texts, folder=tmp_path)
    assert again == last
    assert same(done.state_dict(), through.state_dict()), "and is not begun again"
    assert [path.name for path in tmp_path.iterdir()] == ["tuning.safetensors"]


def test_another_or_damaged_run_is_told(photos, texts, tmp_path):
    tune("text", 2, photos, texts, folder=tmp_path)
    with pytest.raises(ModelError, match=r"E418.*rate"):
        tune("text", 2, photos, texts, folder=tmp_path, rate=1e-2)
    teacher = make_net("text")
    with pytest.raises(ModelError, match=r"E418.*arch"):
        tune_text(cut(teacher, 0.9), teacher, texts, 2, batch=8, folder=tmp_path)
    file = tmp_path / "tuning.safetensors"
    file.write_bytes(file.read_bytes()[:-50])
    with pytest.raises(ModelError, match="E419"):
        tune("text", 2, photos, texts, folder=tmp_path)


@pytest.mark.parametrize("kind", PHOTOS)
def test_only_the_trunk_of_a_frozen_net_changes(kind, photos):
    teacher = make_net(kind, frozen=True)
    student = cut(teacher).train()
    before = {name: x.clone() for name, x in student.state_dict().items()}
    tune_tongue(student, teacher, photos, 2, batch=4)
    changed = {name for name, x in student.state_dict().items() if not torch.equal(x, before[name])}
    assert changed
    assert all(name.startswith("trunk.") and "running" not in name for name in changed)
    assert not any(p.requires_grad for p in student.trunk.parameters())
    assert all(p.requires_grad for p in student.heads.parameters())
    assert all(p.grad is None for net in (student, teacher) for p in net.parameters())
    assert student.training


@pytest.mark.parametrize("kind", PHOTOS)
def test_recalibrated_norms_have_the_statistics_of_their_inputs(kind, photos):
    student = cut(make_net(kind))
    norm = student.trunk.stages[-1][-1].bn2
    seen = []
    recalibrate(student, photos)
    norm.register_forward_hook(lambda module, args, out: seen.append(args[0]))
    recalibrate(student, photos)
    (x,) = seen
    torch.testing.assert_close(norm.running_mean, x.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(norm.running_var, x.var((0, 2, 3)), rtol=1e-4, atol=1e-5)
    assert norm.momentum == 0.1, "as before"
    assert not norm.training


@pytest.mark.parametrize("kind", PHOTOS)
def test_refitted_heads_know_the_labels(kind, photos):
    """Of the one attribute that the maps tell, where it is known; nothing else changes."""
    net = cut(make_net(kind))
    labels = torch.stack([torch.arange(12) % 3, torch.arange(12) % 2], 1)
    labels[3, 0] = -1
    before = {name: x.clone() for name, x in net.state_dict().items()}
    last = refit_heads(net, photos[:12], labels, steps=200, rate=3e-2)
    _, pooled = net.look(*tuning.stack_photos(photos[:12], torch.device("cpu"))[:2])
    scores = net.heads(pooled, torch.zeros(12, 5))[:, :3]
    expected = labels[:, 0].where(labels[:, 0] >= 0, scores.argmax(1))
    assert scores.argmax(1).tolist() == expected.tolist()
    assert last < 0.3
    changed = {name for name, x in net.state_dict().items() if not torch.equal(x, before[name])}
    assert changed == {
        f"heads.by_map.{name}"
        for name in ("norm.running_mean", "norm.running_var", "score.weight", "score.bias")
    }
    again = cut(make_net(kind))
    assert refit_heads(again, photos[:12], labels, steps=200, rate=3e-2) == last
    with pytest.raises(ModelError, match="E494"):
        refit_heads(net, photos[:12], labels.new_full((12, 2), -1))
    with pytest.raises(ModelError, match="E494"):
        refit_heads(net, photos, labels)


def test_a_net_that_tells_no_attributes_can_be_tuned(photos):
    heads = HeadsArch(pooled_size(TRUNKS["resnet"]), 5, (), ())
    teacher = TongueNet(TongueArch(TRUNKS["resnet"], 8, heads)).eval()
    assert tune_tongue(cut(teacher), teacher, photos, 1, batch=4) > 0


def test_a_tagger_is_listened_to_and_left_alone(texts):
    teacher = make_net("text")
    tagger = Tagger(TaggerArch(12, 3, 8, 5, hidden=6))
    before = {name: x.clone() for name, x in tagger.state_dict().items()}
    losses = {}
    for given in (None, tagger):
        losses[given] = tune_text(cut(teacher), teacher, texts, 1, tagger=given)
    assert losses[tagger] > losses[None]
    assert same(before, tagger.state_dict())
    assert tagger.training
    assert all(p.grad is None and p.requires_grad for p in tagger.parameters())


def test_padding_changes_nothing(texts):
    """A text alone and beside a longer one."""
    net = make_net("text")
    ids, mask = tuning.pad([texts[0], list(range(20))[:15]], torch.device("cpu"))
    alone, one = tuning.pad([texts[0]], torch.device("cpu"))
    n = len(texts[0])
    for a, b in zip(layer_outputs(net, ids, mask), layer_outputs(net, alone, one), strict=True):
        torch.testing.assert_close(a[:1, :n], b, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(layer_outputs(net, ids, mask)[-1], net(ids, mask))


def test_nothing_to_learn_from(photos):
    net = make_net("resnet")
    with pytest.raises(ModelError, match="E494"):
        tune_tongue(net, net, [photos[-1]], 1)
    with pytest.raises(ModelError, match="E494"):
        recalibrate(net, [])
    text = make_net("text")
    with pytest.raises(ModelError, match="E494"):
        tune_text(text, text, [], 1)


def test_texts_become_subwords():
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(Path(__file__).parents[2] / "assets" / "encoder")
    long, short = encode(["患者便血三天" * 30, "脉弦"], tokenizer, 64)
    assert len(long) == 64
    assert len(short) == 4
    assert tokenizer.decode(short[1:3]).replace(" ", "") == "脉弦"
