"""Tables that users may edit: JSON files, checked where they are read."""

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from spacy_tcm.errors import ModelError

_MALFORMED = (AttributeError, IndexError, KeyError, TypeError, ValueError, re.error)
_KINDS = {dict: "an object", list: "a list", str: "a text", bool: "true or false"}

T = TypeVar("T", bound="Table")


class Table:
    """What is read from an editable table. ``data`` is the whole of it, JSON-able: made of it
    again, it is the same.

    A subclass says which file is the package's own (``DEFAULT``), which error is raised (``ERROR``,
    with ``path`` and ``cause``) and what it is called there if it is no file (``SOURCE``), and
    makes of ``data`` what it needs in `_compile`.
    """

    DEFAULT: ClassVar[Path]
    ERROR: ClassVar[str]
    SOURCE: ClassVar[str] = "the table"

    def __init__(self, data: Mapping[str, Any], source: str | None = None):
        """RAISES ModelError: something is missing or malformed; source names it in the message."""
        try:
            self.data: dict[str, Any] = json.loads(json.dumps(data))
            self._compile()
        except _MALFORMED as error:
            cause = _explain(error, data, _read_own(self.DEFAULT))
            raise ModelError(self.ERROR.format(path=source or self.SOURCE, cause=cause)) from error

    @classmethod
    def from_path(cls: type[T], path: str | Path | None = None) -> T:
        """Read a file; None stands for the package's own. RAISES ModelError: it cannot be used."""
        path = cls.DEFAULT if path is None else Path(path)
        return cls(cls.read_json(path), source=str(path))

    @classmethod
    def from_stored(
        cls: type[T], data: Mapping[str, Any], source: str | None = None, *, depth: int = 1
    ) -> T:
        """Of what a pipeline has stored: keys that its version did not know yet are the package's
        own, those within objects too, down to a depth. A user's file has to be whole."""
        return cls(_fill(data, _read_own(cls.DEFAULT), depth), source=source)

    @classmethod
    def read_json(cls, path: Path) -> Any:
        """The JSON of a file. RAISES ModelError: it cannot be read."""
        try:
            return json.loads(path.read_text(encoding="utf8"))
        except OSError as error:
            cause = error.strerror or type(error).__name__
        except ValueError as error:
            cause = f"it is no JSON in UTF-8: {error}"
        raise ModelError(cls.ERROR.format(path=path, cause=cause))

    def _compile(self) -> None:
        raise NotImplementedError


@cache
def _read_own(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf8"))


def _fill(data: Any, own: Any, depth: int) -> Any:
    if not depth or not isinstance(data, Mapping) or not isinstance(own, Mapping):
        return data
    return {**own, **{key: _fill(value, own.get(key), depth - 1) for key, value in data.items()}}


def _explain(error: Exception, data: Any, own: Mapping[str, Any]) -> str:
    """What is wrong with a table, in words, with the key; own: one that is right."""
    if problem := next(_misfits("", data, own), None):
        return problem
    if isinstance(error, KeyError):
        missing = [key for key in own if key not in data]
        missing = missing or list(_lacking(str(error.args[0]), "", data, own))
        return f"missing: {', '.join(missing) or error.args[0]}"
    if isinstance(error, re.error):
        # Not every text is one; those that are stand in the one that failed.
        whole = error.pattern if isinstance(error.pattern, str) else ""
        for path, text in _texts("", data):
            try:
                if text in whole:
                    re.compile(text)
            except re.error as wrong:
                return f"{path}: it is no regular expression ({wrong})"
    return str(error)


def _kind(value: Any) -> str:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return "a number" if number else _KINDS.get(type(value), "nothing")


def _misfits(path: str, data: Any, own: Any) -> Iterator[str]:
    """Where values are of another kind than in our table, of which those that are alike stand for
    the user's own ones beside them."""
    if _kind(data) != _kind(own):
        yield f"{path or 'it'} must be {_kind(own)}, not {_kind(data)}"
    elif isinstance(own, Mapping):
        alike = next(iter(own.values())) if len({_kind(v) for v in own.values()}) == 1 else None
        simple = alike is not None and not isinstance(alike, dict | list)
        for key, value in data.items():
            if key in own:
                yield from _misfits(_join(path, key), value, own[key])
            elif simple or isinstance(alike, list):
                yield from _misfits(_join(path, key), value, alike)
    elif isinstance(own, list) and len({_kind(v) for v in own}) == 1 and isinstance(own[0], str):
        for number, value in enumerate(data):
            yield from _misfits(f"{path}[{number}]", value, own[0])


def _lacking(key: str, path: str, data: Any, own: Any) -> Iterator[str]:
    """Where our table has a key and this one has not."""
    if isinstance(data, Mapping) and isinstance(own, Mapping):
        if key in own and key not in data:
            yield _join(path, key)
        for name in own.keys() & data.keys():
            yield from _lacking(key, _join(path, name), data[name], own[name])


def _texts(path: str, data: Any) -> Iterator[tuple[str, str]]:
    if isinstance(data, str):
        yield path, data
    elif isinstance(data, Mapping):
        for key, value in data.items():
            yield from _texts(_join(path, key), value)
    elif isinstance(data, list):
        for number, value in enumerate(data):
            yield from _texts(f"{path}[{number}]", value)


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key
