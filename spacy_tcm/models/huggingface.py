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
    if _looks_like_a_path(name) and not Path(name).exists():
        # Else the hub is asked for it, several times.
        raise ModelError(Errors.E428.format(name=name, cause="no such folder"))
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
    if not Path(name).exists():
        return f"no such folder; {cause}"
    tokenizer = ("tokenizer*", "*vocab*", "*.model")
    if not any(file for pattern in tokenizer for file in Path(name).glob(pattern)):
        return f"{cause}; there is no tokenizer in it, such as tokenizer.json or vocab.txt"
    return cause


def _looks_like_a_path(name: str) -> bool:
    """Whether it can hardly be a name of the hub: it names a folder, or one inside a folder."""
    inside = "/" in name and Path(name).parent.is_dir()
    return inside or name.startswith((".", "/", "~")) or name.count("/") > 1
