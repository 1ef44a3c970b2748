"""Torch modules inside Thinc models, saved as safetensors with their architecture in the header.

Nothing is unpickled, nothing is loaded with ``strict=False``, and a net is always rebuilt with the
widths it was saved with, pruned or not.
"""

import hashlib
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thinc.api import Model, PyTorchWrapper_v3

from spacy_tcm.errors import Errors, ModelError

if TYPE_CHECKING:
    import torch

# One entry only: safetensors does not keep the order of several, and saving must be repeatable.
_HEADER = "spacy_tcm"


def wrap_torch(
    name: str,
    build: Callable[[dict[str, Any]], "torch.nn.Module"],
    *,
    convert_inputs: Callable | None = None,
    convert_outputs: Callable | None = None,
) -> Model:
    """An empty Thinc layer for a torch module; :func:`set_module` or loading fills it.

    name: of the layer, and the kind of weights it accepts.
    build: makes the module from its architecture dict; must be importable (spawn pickles it).
    """
    model: Model = PyTorchWrapper_v3(
        None,  # type: ignore[arg-type]
        convert_inputs,
        convert_outputs,
        serialize_model=partial(_to_safetensors, kind=name),
        deserialize_model=partial(_from_safetensors, kind=name, build=build),
    )
    model.name = name
    return model


def get_module(model: Model) -> Any:
    """The torch module in a layer made by :func:`wrap_torch`; None if it is still empty."""
    return model.shims[0]._model


def set_module(model: Model, module: "torch.nn.Module") -> None:
    """Put a torch module into its layer, on the device Thinc uses."""
    from thinc.util import get_torch_default_device

    model.shims[0]._model = module.to(get_torch_default_device())


def fingerprint(module: "torch.nn.Module") -> str:
    """The same for equal weights, and hardly ever for others."""
    digest = hashlib.sha256()
    for tensor in module.state_dict().values():
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def write_module(
    module: "torch.nn.Module", path: Path, *, kind: str, about: dict[str, Any] | None = None
) -> None:
    """Save one module, with its architecture, for :func:`read_module`. about: JSON-able, what else
    is to be known of it, for :func:`read_about`."""
    path.write_bytes(_to_safetensors(module, kind=kind, about=about))


def read_module(path: Path, *, kind: str, build: Callable) -> "torch.nn.Module":
    """The module that :func:`write_module` saved. kind, build: as for :func:`wrap_torch`.

    RAISES ModelError: there is no such file, or it holds something else.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        cause = type(error).__name__
        raise ModelError(Errors.E451.format(path=path, name=kind, cause=cause)) from None
    return _from_safetensors(None, data, "cpu", kind=kind, build=build)


def read_about(path: Path) -> dict[str, Any]:
    """What :func:`write_module` was told of a module that :func:`read_module` can read."""
    return _read_header(path.read_bytes()).get("about", {})


def _read_header(data: bytes) -> dict[str, Any]:
    # Its length in 8 bytes, then JSON. https://github.com/huggingface/safetensors
    size = int.from_bytes(data[:8], "little")
    return json.loads(json.loads(data[8 : 8 + size])["__metadata__"][_HEADER])


def _to_safetensors(module: Any, *, kind: str, about: dict[str, Any] | None = None) -> bytes:
    from safetensors.torch import save

    if module is None:
        raise ModelError(Errors.E401.format(name=kind))
    # Parametrised layers are stored under their raw parameters' names, as in state_dict().
    tensors = {k: v.detach().cpu().contiguous() for k, v in module.state_dict().items()}
    header = {"kind": kind, "arch": module.arch.to_dict()}
    if about is not None:
        header["about"] = about
    return save(tensors, metadata={_HEADER: json.dumps(header)})


def _from_safetensors(
    module: Any, data: bytes, device: Any, *, kind: str, build: Callable
) -> "torch.nn.Module":
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        header = _read_header(data)
        tensors = load(bytes(data))
    except (SafetensorError, ValueError, KeyError, TypeError) as err:
        raise ModelError(Errors.E402.format(name=kind, error=type(err).__name__)) from None
    if header["kind"] != kind:
        raise ModelError(Errors.E403.format(name=kind, found=header["kind"]))
    module = build(header["arch"])
    try:
        module.load_state_dict(tensors, strict=True)
    except RuntimeError as err:
        raise ModelError(Errors.E402.format(name=kind, error=err)) from None
    return module.to(device)
