"""Tables that users may edit: JSON files, checked where they are read."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from spacy_tcm.errors import ModelError

_MALFORMED = (AttributeError, IndexError, KeyError, TypeError, ValueError, re.error)

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
            cause = f"{type(error).__name__}: {error}"
            raise ModelError(self.ERROR.format(path=source or self.SOURCE, cause=cause)) from error

    @classmethod
    def from_path(cls: type[T], path: str | Path | None = None) -> T:
        """Read a file; None stands for the package's own. RAISES ModelError: it cannot be used."""
        path = cls.DEFAULT if path is None else Path(path)
        try:
            data = json.loads(path.read_text(encoding="utf8"))
        except (OSError, ValueError) as error:
            cause = f"{type(error).__name__}: {getattr(error, 'strerror', None) or error}"
            raise ModelError(cls.ERROR.format(path=path, cause=cause)) from error
        return cls(data, source=str(path))

    def _compile(self) -> None:
        raise NotImplementedError
