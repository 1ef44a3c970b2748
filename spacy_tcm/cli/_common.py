"""What the commands share."""

import os
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec

import typer

from spacy_tcm.errors import Errors, ModelError, RecordError, TCMError

if TYPE_CHECKING:
    from spacy.language import Language

P = ParamSpec("P")


def exits_cleanly(command: Callable[P, None]) -> Callable[P, None]:
    """A TCMError, an OSError or a package that is not there becomes a message on standard error and
    exit code 1, no traceback."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except TCMError as error:
            typer.echo(str(error), err=True)
            raise typer.Exit(1) from None
        except ModuleNotFoundError as error:
            if (error.name or "").startswith("spacy_tcm"):
                raise
            typer.echo(Errors.E536.format(name=error.name), err=True)
            raise typer.Exit(1) from None
        except BrokenPipeError:
            raise  # the reader of our output left, as in `| head`: typer ends quietly
        except OSError as error:
            path = "a file" if error.filename is None else f"'{error.filename}'"
            cause = error.strerror or type(error).__name__
            typer.echo(Errors.E532.format(path=path, cause=cause), err=True)
            raise typer.Exit(1) from None

    return run


def check_output_folder(path: Path) -> None:
    """RAISES RecordError: no folder is or can be made at ``path``. Changes nothing."""
    nearest = next((folder for folder in (path, *path.parents) if folder.exists()), path)
    if not nearest.is_dir():
        raise RecordError(Errors.E533.format(path=nearest))
    _check_permission(nearest)


def check_apart(input_path: Path, out: Path) -> None:
    """RAISES RecordError: what is read and what is written would mix."""
    source, target = input_path.resolve(), out.resolve()
    if source == target or source in target.parents or target in source.parents:
        raise RecordError(Errors.E505.format(out=out, path=input_path))


def check_output_file(path: Path) -> None:
    """RAISES RecordError: no file can be written at ``path``. Changes nothing."""
    if path.is_dir():
        raise RecordError(Errors.E534.format(path=path))
    if path.exists():
        _check_permission(path)
    else:
        check_output_folder(path.parent)


def _check_permission(path: Path) -> None:
    if not os.access(path, os.W_OK):
        raise RecordError(Errors.E535.format(path=path))


def limit_threads(n_process: int) -> None:
    """With worker processes, one thread each: forked ones deadlock in libraries that have started
    threads before. Call it before anything imports spaCy, since torch reads this when imported."""
    if n_process > 1:
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def load_pipeline(model: str) -> "Language":
    """A trained pipeline by folder or package name. RAISES ModelError: it cannot be loaded."""
    import spacy

    try:
        return spacy.load(model)
    except (OSError, ValueError, ImportError, KeyError) as error:
        cause = str(error).strip().splitlines() or [type(error).__name__]
        message = Errors.E504.format(model=model, cause=cause[0].rstrip("."))
        raise ModelError(message) from None
