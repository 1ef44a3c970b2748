"""Components whose only state are tables: how these are saved with the pipeline."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import srsly
from spacy.pipeline import Pipe
from spacy.util import SimpleFrozenList, from_bytes, from_disk, to_bytes, to_disk

from spacy_tcm.tables import Table


class Stored(NamedTuple):
    """One of them. file, key: its names in a folder and in bytes. get, set: it as JSON-able data;
    set is also told what to call it in errors, or None. read: the data of a file. optional: where
    a pipeline from before lacks the file, the component keeps what it has."""

    file: str
    key: str
    get: Callable[[], Any]
    set: Callable[[Any, str | None], None]
    read: Callable[[Path], Any] = srsly.read_json
    optional: bool = False


def store_table(
    owner: object,
    attribute: str,
    kind: type[Table],
    file: str,
    key: str,
    *,
    depth: int = 1,
    optional: bool = False,
) -> Stored:
    """For a `Table` that is an attribute of owner. depth: see `Table.from_stored`."""

    def set_(data: Any, source: str | None) -> None:
        setattr(owner, attribute, kind.from_stored(data, source, depth=depth))

    return Stored(file, key, lambda: getattr(owner, attribute).data, set_, kind.read_json, optional)


P = TypeVar("P", bound="StoringPipe")


class StoringPipe(Pipe):
    """Saves what `stored` lists; settings are in the pipeline's config."""

    def stored(self) -> list[Stored]:
        raise NotImplementedError

    def to_disk(self, path: str | Path, *, exclude: Iterable[str] = SimpleFrozenList()) -> None:
        to_disk(path, {part.file: _writer(part) for part in self.stored()}, exclude)

    def from_disk(self: P, path: str | Path, *, exclude: Iterable[str] = SimpleFrozenList()) -> P:
        """RAISES ModelError: a table there cannot be used."""
        from_disk(path, {part.file: _reader(part) for part in self.stored()}, exclude)
        return self

    def to_bytes(self, *, exclude: Iterable[str] = SimpleFrozenList()) -> bytes:
        return to_bytes({part.key: _dumper(part) for part in self.stored()}, exclude)

    def from_bytes(self: P, data: bytes, *, exclude: Iterable[str] = SimpleFrozenList()) -> P:
        """RAISES ModelError: a table there cannot be used."""
        from_bytes(data, {part.key: _loader(part) for part in self.stored()}, exclude)
        return self


def _writer(part: Stored) -> Callable[[Path], None]:
    return lambda path: srsly.write_json(path, part.get())


def _reader(part: Stored) -> Callable[[Path], None]:
    def read(path: Path) -> None:
        if not part.optional or path.exists():
            part.set(part.read(path), str(path))

    return read


def _dumper(part: Stored) -> Callable[[], bytes]:
    return lambda: srsly.json_dumps(part.get())


def _loader(part: Stored) -> Callable[[bytes], None]:
    return lambda data: part.set(srsly.json_loads(data), None)
