"""Where a run stands, on disk: at any moment a whole one, so that a kill costs few updates."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from spacy_tcm.errors import Errors, ModelError
from spacy_tcm.training.pretraining.settings import CHANGEABLE, Settings

CHECKPOINT = "checkpoint"
PREVIOUS = "checkpoint.previous"  # there only while `save_checkpoint` replaces it
UNFINISHED = "checkpoint.new"  # there also before the first

MOMENTS = ("exp_avg", "exp_avg_sq", "step")

_DAMAGE = (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError)


def find_checkpoint(folder: Path) -> Path | None:
    """The checkpoint of the run in a folder, if it has one."""
    found = (folder / name for name in (CHECKPOINT, PREVIOUS))
    return next((path for path in found if path.exists()), None)


def check_folder(folder: Path, settings: Settings) -> None:
    """RAISES ModelError: the path is neither empty nor the folder of a run, or the run has other
    settings or a damaged checkpoint. Changes nothing."""
    checkpoint = find_checkpoint(folder)
    if checkpoint is not None:
        begun, mine = read_state(checkpoint)["settings"], asdict(settings)
        names = [n for n in mine if n not in CHANGEABLE and (n not in begun or begun[n] != mine[n])]
        if names:
            raise ModelError(Errors.E418.format(path=folder, names=", ".join(names)))
    elif not (folder / UNFINISHED).exists() and (folder.is_file() or any(folder.glob("*"))):
        raise ModelError(Errors.E412.format(path=folder))


def mark_begun(folder: Path) -> None:
    """Make the folder that of a run, before it holds a checkpoint."""
    (folder / UNFINISHED).mkdir(parents=True, exist_ok=True)


def digest(lines: Iterable[str]) -> str:
    """A fingerprint of them, to tell whether a run goes on with the same."""
    found = hashlib.sha256()
    for line in lines:
        found.update(f"{line}\n".encode())
    return found.hexdigest()


def save_checkpoint(
    folder: Path, net: nn.Module, optimizer: torch.optim.Optimizer, state: dict[str, Any]
) -> None:
    """Replace the run's checkpoint. state: JSON-able.

    Killed at any point, it leaves the old or the new one under a name `find_checkpoint` looks for.
    """
    current, previous = folder / CHECKPOINT, folder / PREVIOUS
    new = folder / UNFINISHED
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    parameters = {name: p.detach().contiguous() for name, p in net.named_parameters()}
    save_file(parameters, new / "model.safetensors")
    moments = {
        f"{name}.{key}": optimizer.state[parameter][key].contiguous()
        for name, parameter in net.named_parameters()
        for key in MOMENTS
        if key in optimizer.state[parameter]
    }
    save_file(moments, new / "optimizer.safetensors")
    (new / "state.json").write_text(json.dumps(state), encoding="utf8")
    if current.exists():
        shutil.rmtree(previous, ignore_errors=True)
        os.replace(current, previous)
    os.replace(new, current)
    shutil.rmtree(previous, ignore_errors=True)


def read_state(checkpoint: Path) -> dict[str, Any]:
    """What was given as ``state``. RAISES ModelError: it is damaged."""
    try:
        state = json.loads((checkpoint / "state.json").read_text(encoding="utf8"))
        for key in ("settings", "step", "tokens", "history"):
            state[key]
    except _DAMAGE as error:
        raise _damaged(checkpoint, error) from None
    return state


def read_tensors(checkpoint: Path, net: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Into the net and the optimizer of it. RAISES ModelError: it is damaged or of another net."""
    try:
        parameters = load_file(checkpoint / "model.safetensors")
        moments = load_file(checkpoint / "optimizer.safetensors")
        with torch.no_grad():
            for name, parameter in net.named_parameters():
                parameter.copy_(parameters[name])
                if f"{name}.step" in moments:
                    optimizer.state[parameter] = {
                        key: moments[f"{name}.{key}"].to(parameter.device) for key in MOMENTS
                    }
    except _DAMAGE as error:
        raise _damaged(checkpoint, error) from None


def _damaged(checkpoint: Path, error: Exception) -> ModelError:
    return ModelError(Errors.E419.format(path=checkpoint, cause=type(error).__name__))
