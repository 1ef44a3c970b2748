"""Where a tuning stands, in one file, so that it goes on after a kill."""

import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from spacy_tcm.errors import Errors, ModelError

FILE = "tuning.safetensors"
_MOMENTS = ("exp_avg", "exp_avg_sq", "step")


def write_tuning(
    folder: Path,
    net: nn.Module,
    optimizer: torch.optim.Optimizer,
    settings: dict[str, Any],
    step: int,
    loss: float,
) -> None:
    """Replace what is there, as a whole. settings: JSON-able."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {f"net.{name}": x.detach().contiguous() for name, x in net.state_dict().items()}
    for name, parameter in net.named_parameters():
        for key in _MOMENTS:
            if key in optimizer.state[parameter]:
                tensors[f"{key}.{name}"] = optimizer.state[parameter][key].contiguous()
    state = json.dumps({"settings": settings, "step": step, "loss": loss})
    new = folder / f"{FILE}.new"
    save_file(tensors, new, {"state": state})
    os.replace(new, folder / FILE)


def read_tuning(
    folder: Path | None,
    net: nn.Module,
    optimizer: torch.optim.Optimizer,
    settings: dict[str, Any],
) -> tuple[int, float]:
    """Into net and optimizer, if there is something. RETURNS: steps done, and the last loss.

    RAISES ModelError: it is damaged or has other settings.
    """
    if folder is None or not (folder / FILE).exists():
        return 0, float("nan")
    try:
        with safe_open(folder / FILE, "pt") as file:
            state = json.loads(file.metadata()["state"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        begun, mine = state["settings"], json.loads(json.dumps(settings))
        others = [name for name in mine if begun.get(name) != mine[name]]
        if others:
            raise ModelError(Errors.E418.format(path=folder, names=", ".join(others)))
        net.load_state_dict({name: tensors[f"net.{name}"] for name in net.state_dict()})
        for name, parameter in net.named_parameters():
            if f"step.{name}" in tensors:
                optimizer.state[parameter] = {
                    key: tensors[f"{key}.{name}"].to("cpu" if key == "step" else parameter.device)
                    for key in _MOMENTS
                }
        return int(state["step"]), float(state["loss"])
    except ModelError:
        raise
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        cause = type(error).__name__
        raise ModelError(Errors.E419.format(path=folder, cause=cause)) from None
