"""Encoders in Hugging Face folders: what is said when one is loaded, and when one cannot be."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from spacy_tcm.errors import Errors, ModelError


@contextmanager
def loading(name: str) -> Iterator[None]:
    """Around the code that loads the encoder of that name, a folder or of the hub.

    transformers' remarks on weights that are missing are not shown: nobody uses a pooler.
    RAISES ModelError: it cannot be loaded.
    """
    from safetensors import SafetensorError
    from transformers.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    except ModelError:  # says already what is wrong
        raise
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError) as error:
        raise ModelError(Errors.E428.format(name=name, cause=_cause(name, error))) from None
    finally:
        logging.set_verbosity(level)


def _cause(name: str, error: Exception) -> str:
    """The first sentence tells what is wrong; others list each kind of model there is."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    cause = lines[0].split(". ")[0].rstrip(".")[:200]
    if Path(name).exists():
        return cause
    looks_like_a_path = name.startswith((".", "/", "~")) or name.count("/") > 1
    return "no such folder" if looks_like_a_path else f"no such folder; {cause}"
