"""A search in one file: tensors as safetensors, the rest as JSON in its header; nothing pickled."""

import json
import os
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from spacy_tcm.errors import Errors, ModelError

_HEADER = "spacy_tcm"


def write_state(path: Path, tensors: dict[str, Tensor], about: dict[str, Any]) -> None:
    """Killed while it writes, it leaves the file of before. about: JSON-able."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f"{path.name}.new")
    copies = {name: x.detach().cpu().contiguous().clone() for name, x in tensors.items()}
    save_file(copies, new, metadata={_HEADER: json.dumps(about)})
    os.replace(new, path)


def read_state(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What `write_state` wrote. RAISES ModelError: the file is damaged, or none of these."""
    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return tensors, json.loads(file.metadata()[_HEADER])
    except (SafetensorError, ValueError, KeyError, TypeError):
        cause = "it is damaged, or something else"
        raise ModelError(Errors.E496.format(path=path, cause=cause)) from None
