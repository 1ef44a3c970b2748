"""What the commands share."""

import os
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, ParamSpec

import typer

from spacy_tcm.errors import Errors, ModelError, TCMError

if TYPE_CHECKING:
    from spacy.language import Language

P = ParamSpec("P")


def exits_cleanly(command: Callable[P, None]) -> Callable[P, None]:
    """A TCMError becomes its message on standard error and exit code 1, without a traceback."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except TCMError as error:
            typer.echo(str(error), err=True)
            raise typer.Exit(1) from None

    return run


def load_pipeline(model: str, n_process: int = 1) -> "Language":
    """A trained pipeline by folder or package name. RAISES ModelError: it cannot be loaded."""
    import spacy

    if n_process > 1:
        # Forked workers deadlock in libraries that have started threads before.
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        return spacy.load(model)
    except (OSError, ValueError, ImportError, KeyError) as error:
        cause = str(error).strip().splitlines() or [type(error).__name__]
        message = Errors.E504.format(model=model, cause=cause[0].rstrip("."))
        raise ModelError(message) from None
