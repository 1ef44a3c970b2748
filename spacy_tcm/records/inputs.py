"""Reads what a hospital has: text files, JSON lines and CSV tables, one record at a time.

Every record comes out, in order, either as an `InputRecord` or as a `BadInput` that says what is
wrong with it and where. Nothing of the patient's text is ever part of such a message.
"""

import codecs
import csv
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

from spacy_tcm.errors import Errors, RecordError, Warnings
from spacy_tcm.images.load import resolve_inside

SUFFIXES = (".txt", ".jsonl", ".csv")
PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")


@dataclass(frozen=True)
class InputOptions:
    """How to read the records.

    images: the folder that holds the photos, or None to use none.
    text_field, id_field, image_field: JSON keys or CSV columns.
    per_line: in .txt files every line is a record, instead of the whole file.
    """

    images: Path | None = None
    text_field: str = "text"
    id_field: str = "id"
    image_field: str = "image"
    per_line: bool = False


@dataclass(frozen=True)
class InputRecord:
    """A record to process.

    source: "file" or "file:line", the file relative to the input folder.
    image: the photo relative to the image folder, as named or found; None if there is none.
    photo: the same as an absolute path inside the image folder; the file need not exist.
    warnings: what the user should know although the record is fine.
    """

    id: str
    source: str
    text: str
    image: str | None = None
    photo: str | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class BadInput:
    """A record that cannot be read. id: None where not even that is known."""

    id: str | None
    source: str
    message: str


def find_files(path: Path) -> tuple[list[Path], list[Path]]:
    """The input files of a file or folder (folders recursively), sorted, and those left out.

    RAISES RecordError: there is nothing to read.
    """
    if not path.exists():
        raise RecordError(Errors.E501.format(path=path))
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    used = [p for p in files if p.suffix.lower() in SUFFIXES and not p.name.startswith(".")]
    if not used:
        raise RecordError(Errors.E502.format(path=path, suffixes=", ".join(SUFFIXES)))
    chosen = set(used)
    return used, [p for p in files if p not in chosen]


def read_inputs(path: Path, options: InputOptions) -> Iterator[InputRecord | BadInput]:
    """Every record of a file or folder, in order of file name and line. Reads as it goes.

    A record without an id gets one from its place: the file's path without its suffix, and the
    line (``clinic/day1-17``).
    """
    root = path if path.is_dir() else path.parent
    seen: set[bytes] = set()  # digests, not ids: 8 bytes each, however long the ids
    for file in find_files(path)[0]:
        # A file name, too, may hold bytes that are no UTF-8.
        name = file.relative_to(root).as_posix().encode(errors="backslashreplace").decode()
        for found in _read_file(file, name, name[: -len(file.suffix)], options):
            if isinstance(found, InputRecord):
                digest = blake2b(found.id.encode(), digest_size=8).digest()
                if digest in seen:
                    found = BadInput(found.id, found.source, Errors.E513)
                seen.add(digest)
            yield found


def count_inputs(path: Path, options: InputOptions) -> int:
    """How many records `read_inputs` will yield."""
    return sum(1 for _ in read_inputs(path, replace(options, images=None)))


def _read_file(
    file: Path, source: str, stem: str, options: InputOptions
) -> Iterator[InputRecord | BadInput]:
    readers = {".txt": _read_txt, ".jsonl": _read_jsonl, ".csv": _read_csv}
    try:
        yield from readers[file.suffix.lower()](file, source, stem, options)
    except OSError as error:
        yield BadInput(None, source, Errors.E510.format(error=error.strerror))


def _read_txt(
    file: Path, source: str, stem: str, options: InputOptions
) -> Iterator[InputRecord | BadInput]:
    with _open(file) as stream:
        if not options.per_line:
            text = stream.read().rstrip("\r\n")
            yield _make_record(stem, source, text, None, options)
            return
        for number, line in enumerate(stream, start=1):
            if text := line.rstrip("\r\n"):
                place = f"{source}:{number}"
                yield _make_record(f"{stem}-{number}", place, text, None, options)


def _read_jsonl(
    file: Path, source: str, stem: str, options: InputOptions
) -> Iterator[InputRecord | BadInput]:
    with _open(file) as stream:
        for number, line in enumerate(stream, start=1):
            if not line.strip():
                continue
            place = f"{source}:{number}"
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                message = Errors.E511.format(cause=f"{error.msg}, column {error.colno}")
                yield BadInput(None, place, message)
            except (ValueError, RecursionError) as error:  # endless digits, endless brackets
                yield BadInput(None, place, Errors.E511.format(cause=type(error).__name__))
            else:
                yield _from_fields(row, place, f"{stem}-{number}", options)


def _read_csv(
    file: Path, source: str, stem: str, options: InputOptions
) -> Iterator[InputRecord | BadInput]:
    csv.field_size_limit(2**31 - 1)  # the default refuses records of more than 131,072 characters
    with _open(file) as stream:
        rows = csv.reader(stream, strict=True)
        header: list[str] | None = None
        while True:
            number = rows.line_num + 1  # where the row begins; quoted cells hold line breaks
            place = f"{source}:{number}"
            try:
                row = next(rows)
            except StopIteration:
                return
            except csv.Error as error:
                yield BadInput(None, place, Errors.E515.format(cause=error))
                continue
            if not any(row):
                continue
            if header is None:
                header = [column.strip() for column in row]
                if options.text_field not in header:
                    # The column names are not shown: without a header they are a patient's data.
                    yield BadInput(None, place, Errors.E516.format(field=options.text_field))
                    return
            elif len(row) != len(header):
                message = Errors.E517.format(found=len(row), expected=len(header))
                yield BadInput(None, place, message)
            else:
                fields = dict(zip(header, row, strict=True))
                yield _from_fields(fields, place, f"{stem}-{number}", options)


def _from_fields(
    row: Any, source: str, default_id: str, options: InputOptions
) -> InputRecord | BadInput:
    """A record from a JSON object or a table row; checks the types of what JSON brought."""
    if not isinstance(row, dict):
        return BadInput(None, source, Errors.E518.format(kind=type(row).__name__))
    record_id = row.get(options.id_field)
    if isinstance(record_id, int) and not isinstance(record_id, bool):
        record_id = str(record_id)
    if record_id is None or record_id == "":
        record_id = default_id
    if not isinstance(record_id, str):
        kind = type(record_id).__name__
        message = Errors.E512.format(field=options.id_field, kind=kind)
        return BadInput(None, source, message)
    if (position := _bad_character(record_id)) is not None:
        message = Errors.E514.format(field=options.id_field, position=position)
        return BadInput(None, source, message)
    if options.text_field not in row:
        return BadInput(record_id, source, Errors.E519.format(field=options.text_field))
    text = row[options.text_field]
    if not isinstance(text, str):
        message = Errors.E512.format(field=options.text_field, kind=type(text).__name__)
        return BadInput(record_id, source, message)
    return _make_record(record_id, source, text, row.get(options.image_field) or None, options)


def _make_record(
    record_id: str, source: str, text: str, image: Any, options: InputOptions
) -> InputRecord | BadInput:
    """Check the text and find the photo."""
    if (position := _bad_character(text)) is not None:
        message = Errors.E514.format(field=options.text_field, position=position)
        return BadInput(record_id, source, message)
    if options.images is None:
        unused = (Warnings.W502,) if image is not None else ()
        return InputRecord(record_id, source, text, warnings=unused)
    if image is not None:
        try:
            photo = resolve_inside(options.images, image)
        except RecordError as error:
            return BadInput(record_id, source, str(error))
        return InputRecord(record_id, source, text, image, str(photo))
    try:
        for suffix in PHOTO_SUFFIXES:
            for image in (record_id + suffix, record_id + suffix.upper()):
                photo = resolve_inside(options.images, image)
                if os.path.isfile(photo):
                    return InputRecord(record_id, source, text, image, str(photo))
    except RecordError as error:  # an id need not be a file name: that is no error
        warning = Warnings.W503.format(cause=error)
        return InputRecord(record_id, source, text, warnings=(warning,))
    return InputRecord(record_id, source, text)


def _bad_character(text: str) -> int | None:
    """Where a lone surrogate stands: half a character, or a byte that could not be decoded."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        return error.start
    return None


def _open(file: Path) -> Any:
    """The file as text, line ends untouched; bytes that cannot be decoded become lone surrogates,
    so that only the record they stand in is refused."""
    return open(file, encoding=_encoding(file), errors="surrogateescape", newline="")


def _encoding(file: Path) -> str:
    """UTF-8 (with or without BOM), or GB18030, which Chinese Windows writes."""
    if _decodes(file, "utf-8") or not _decodes(file, "gb18030") or _is_damaged_utf8(file):
        return "utf-8-sig"
    return "gb18030"


def _decodes(file: Path, encoding: str) -> bool:
    decoder = codecs.getincrementaldecoder(encoding)("strict")
    try:
        with open(file, "rb") as stream:
            while block := stream.read(2**20):
                decoder.decode(block)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def _is_damaged_utf8(file: Path) -> bool:
    """GB18030 decodes nearly any bytes, so a few broken bytes would turn a UTF-8 file into
    gibberish. Where Chinese characters outnumber them, it is UTF-8."""
    chinese = broken = 0
    with open(file, encoding="utf-8", errors="surrogateescape", newline="") as stream:
        while block := stream.read(2**20):
            chinese += sum("\u3000" <= c <= "\u9fff" for c in block)
            broken += sum("\udc80" <= c <= "\udcff" for c in block)
    return chinese > broken
