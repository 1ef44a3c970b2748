import os
import shutil
from dataclasses import replace

import pytest
import torch
from torch import nn

from spacy_tcm.errors import ModelError
from spacy_tcm.training.pretraining import checkpoint
from spacy_tcm.training.pretraining.checkpoint import (
    CHECKPOINT,
    check_folder,
    find_checkpoint,
    mark_begun,
    read_state,
    read_tensors,
    save_checkpoint,
)


class Kill(BaseException):
    pass


def make_net():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    return net, torch.optim.AdamW(net.parameters(), lr=0.1)


def train(net, optimizer):
    net(torch.ones(2, 3)).square().sum().backward()
    optimizer.step()
    optimizer.zero_grad()


def save(folder, net, optimizer, step):
    """With a weight that tells the step."""
    with torch.no_grad():
        net[0].bias[0] = step
    state = {"settings": {}, "step": step, "tokens": 0, "history": []}
    save_checkpoint(folder, net, optimizer, state)


def load(folder):
    """The step that state and tensors both tell."""
    found = find_checkpoint(folder)
    net, optimizer = make_net()
    read_tensors(found, net, optimizer)
    step = read_state(found)["step"]
    assert net[0].bias[0] == step
    assert len(optimizer.state) == 4
    return step


def kill_at(monkeypatch, number):
    """The number-th change on disk is begun, but not ended. RETURNS: a list of those begun."""
    begun = []

    def interrupted(name, do, half):
        def change(*args, **kwargs):
            begun.append(name)
            if len(begun) == number:
                half(*args)
                raise Kill
            return do(*args, **kwargs)

        return change

    def remove_some(path, *_args):
        for file in sorted(path.glob("*"))[:1]:
            file.unlink()

    def write_some(_tensors, path):
        path.write_bytes(b"half")

    def nothing(*_args):
        pass

    for where, name, half in [
        (shutil, "rmtree", remove_some),
        (os, "replace", nothing),
        (checkpoint, "save_file", write_some),
    ]:
        monkeypatch.setattr(where, name, interrupted(name, getattr(where, name), half))
    return begun


@pytest.mark.parametrize("number", range(1, 9))
def test_a_kill_at_any_point_leaves_a_whole_checkpoint(tmp_path, monkeypatch, number):
    net, optimizer = make_net()
    train(net, optimizer)
    save(tmp_path, net, optimizer, 1)
    with monkeypatch.context() as patch:
        begun = kill_at(patch, number)
        if number < 8:
            with pytest.raises(Kill):
                save(tmp_path, net, optimizer, 2)
        else:
            save(tmp_path, net, optimizer, 2)
            assert len(begun) == 7, "every change on disk was killed once by the cases before"
    assert load(tmp_path) in (1, 2)

    # And again, on what the first kill has left.
    with monkeypatch.context() as patch:
        kill_at(patch, 8 - number)
        if number < 8:
            with pytest.raises(Kill):
                save(tmp_path, net, optimizer, 3)
    assert load(tmp_path) in (1, 2, 3)
    save(tmp_path, net, optimizer, 4)
    assert load(tmp_path) == 4
    assert [path.name for path in tmp_path.iterdir()] == [CHECKPOINT]


def test_a_kill_in_the_first_save_leaves_none(tmp_path, monkeypatch):
    net, optimizer = make_net()
    train(net, optimizer)
    kill_at(monkeypatch, 2)
    with pytest.raises(Kill):
        save(tmp_path, net, optimizer, 1)
    assert find_checkpoint(tmp_path) is None


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("state.json", b'{"settings": {}, "ste'),
        ("state.json", b'{"settings": {}}'),
        ("state.json", b"\xff"),
        ("model.safetensors", b""),
        ("model.safetensors", None),
        ("optimizer.safetensors", b"x" * 100),
    ],
)
def test_damage_is_said(tmp_path, file, content):
    net, optimizer = make_net()
    train(net, optimizer)
    save(tmp_path, net, optimizer, 1)
    path = tmp_path / CHECKPOINT / file
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    with pytest.raises(ModelError, match=r"E419.*checkpoint"):
        load(tmp_path)


def test_a_checkpoint_of_another_net_is_damage(tmp_path):
    net, optimizer = make_net()
    train(net, optimizer)
    save(tmp_path, net, optimizer, 1)
    other = nn.Sequential(nn.Linear(3, 7), nn.Linear(7, 2))
    with pytest.raises(ModelError, match="E419"):
        read_tensors(tmp_path / CHECKPOINT, other, torch.optim.AdamW(other.parameters()))


def test_settings_must_be_the_same_except_for_steps_and_parts(tmp_path, small):
    from dataclasses import asdict

    net, optimizer = make_net()
    state = {"settings": asdict(small()), "step": 1, "tokens": 0, "history": []}
    save_checkpoint(tmp_path, net, optimizer, state)
    check_folder(tmp_path, small())
    check_folder(tmp_path, small(steps=99, accumulate=4))
    with pytest.raises(ModelError, match=r"E418.*\(rate, seed\)"):
        check_folder(tmp_path, small(rate=1.0, seed=3))
    with pytest.raises(ModelError, match=r"E418.*\(shape\)"):
        check_folder(tmp_path, small(shape=replace(small().shape, layers=3)))


@pytest.mark.parametrize("name", ["config.json", "vocab.txt", "notes.md"])
def test_a_folder_with_anything_else_is_refused(tmp_path, small, name):
    check_folder(tmp_path / "none", small())
    check_folder(tmp_path, small())
    (tmp_path / name).write_text("somebody's")
    for path in (tmp_path, tmp_path / name):
        with pytest.raises(ModelError, match="E412"):
            check_folder(path, small())


def test_a_run_killed_before_its_first_checkpoint_begins_again(tmp_path, small):
    mark_begun(tmp_path / "out")
    (tmp_path / "out" / "vocab.txt").write_text("left by it")
    check_folder(tmp_path / "out", small())
