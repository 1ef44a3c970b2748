"""Reads what a hospital has: text files, JSON lines and CSV tables, one record at a time.

Every record comes out, in order, either as an `InputRecord` or as a `BadInput` that says what is
wrong with it and where. Nothing of the patient's text is ever part of such a message.
"""

import codecs
import csv
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import IO, Any

from spacy_tcm.errors import Errors, RecordError, Warnings
from spacy_tcm.images.load import resolve_inside
from spacy_tcm.lexicon import find_surrogate

SUFFIXES = (".txt", ".jsonl", ".csv")
PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")


@dataclass(frozen=True)
class InputOptions:
    """How to read the records.

    images: the folder that holds the photos, or None to use none.
    text_field, id_field, image_field: JSON keys or CSV columns.
    per_line: in .txt files every line is a record, instead of the whole file.
    patient_field: the JSON key or CSV column that tells whose record it is; need not be there.
    """

    images: Path | None = None
    text_field: str = "text"
    id_field: str = "id"
    image_field: str = "image"
    per_line: bool = False
    patient_field: str | None = None


@dataclass(frozen=True)
class InputRecord:
    """A record to process.

    source: "file" or "file:line", the file relative to the input folder.
    image: the photo relative to the image folder, as named or found; None if there is none.
    photo: the same as an absolute path inside the image folder; the file need not exist.
    bad_path: a photo was named by something that is no path inside the image folder.
    warnings: what the user should know although the record is fine.
    patient: whose record it is, if it says so.
    """

    id: str
    source: str
    text: str
    image: str | None = None
    photo: str | None = None
    bad_path: bool = False
    warnings: tuple[str, ...] = ()
    patient: str | None = None


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
        encoding = _encoding(file)
        if encoding == "gb18030" and (line := _private_use(file)):
            # Not only the records that have them: none of the others can be trusted either.
            yield BadInput(None, source, Errors.E524.format(line=line))
            return
        # Line ends stay as they are. Bytes that cannot be decoded become lone surrogates, so that
        # only the record they stand in is refused.
        with open(file, encoding=encoding, errors="surrogateescape", newline="") as stream:
            yield from readers[file.suffix.lower()](stream, source, stem, options)
    except OSError as error:
        yield BadInput(None, source, Errors.E510.format(error=error.strerror))


def _read_txt(
    stream: IO[str], source: str, stem: str, options: InputOptions
) -> Iterator[InputRecord | BadInput]:
    if not options.per_line:
        text = stream.read().rstrip("\r\n")
        yield _make_record(stem, source, text, None, options)
        return
    for number, line in enumerate(stream, start=1):
        if text := line.rstrip("\r\n"):
            place = f"{source}:{number}"
            yield _make_record(f"{stem}-{number}", place, text, None, options)


class _Object(dict[str, Any]):
    """A JSON object that knows which of its keys it was given more than once."""

    def __init__(self, pairs: list[tuple[str, Any]]):
        super().__init__(pairs)
        self.keys_given = [key for key, _ in pairs]


def _read_jsonl(
    stream: IO[str], source: str, stem: str, options: InputOptions
) -> Iterator[InputRecord | BadInput]:
    for number, line in enumerate(stream, start=1):
        if not line.strip():
            continue
        place = f"{source}:{number}"
        try:
            row = json.loads(line, object_pairs_hook=_Object)
        except json.JSONDecodeError as error:
            message = Errors.E511.format(cause=f"{error.msg}, column {error.colno}")
            yield BadInput(None, place, message)
        except (ValueError, RecursionError) as error:  # endless digits, endless brackets
            yield BadInput(None, place, Errors.E511.format(cause=type(error).__name__))
        else:
            if not isinstance(row, _Object):
                yield BadInput(None, place, Errors.E518.format(kind=_in_words(row)))
            elif (field := _repeated(row.keys_given, options)) is not None:
                yield BadInput(None, place, Errors.E523.format(field=field))
            else:
                yield _from_fields(row, place, f"{stem}-{number}", options)


class _Lines:
    """The lines of a stream; `ended` when more were asked for than there are."""

    def __init__(self, stream: Iterable[str]):
        self._lines = iter(stream)
        self.ended = False

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        try:
            return next(self._lines)
        except StopIteration:
            self.ended = True
            raise


def _read_csv(
    stream: IO[str], source: str, stem: str, options: InputOptions
) -> Iterator[InputRecord | BadInput]:
    csv.field_size_limit(2**31 - 1)  # the default refuses records of more than 131,072 characters
    lines = _Lines(stream)
    rows = csv.reader(lines, strict=True)
    header: list[str] | None = None
    while True:
        number = rows.line_num + 1  # where the row begins; quoted cells hold line breaks
        place = f"{source}:{number}"
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            last = rows.line_num
            if lines.ended:
                message = Errors.E522.format(first=number, count=last - number + 1)
            else:
                message = Errors.E515.format(cause=error, first=number, last=last)
            yield BadInput(None, place, message)
            continue
        if not any(row):
            continue
        if header is None:
            header = [column.strip() for column in row]
            # The column names are not shown: without a header they are a patient's data.
            if options.text_field not in header:
                yield BadInput(None, place, Errors.E516.format(field=options.text_field))
                return
            if (field := _repeated(header, options)) is not None:
                yield BadInput(None, place, Errors.E523.format(field=field))
                return
        elif len(row) != len(header):
            message = Errors.E517.format(
                first=number, last=rows.line_num, found=len(row), expected=len(header)
            )
            yield BadInput(None, place, message)
        else:
            fields = dict(zip(header, row, strict=True))
            found = _from_fields(fields, place, f"{stem}-{number}", options)
            if isinstance(found, InputRecord) and _holds_rows(row):
                warning = Warnings.W506.format(source=source, first=number, last=rows.line_num)
                found = _warn(found, warning)
            yield found


def _holds_rows(row: list[str]) -> bool:
    """Whether a cell goes on with a line that could be a row of the same table.

    A quotation mark that is forgotten swallows rows up to the next one.
    """
    separators = len(row) - 1
    return separators > 0 and any(
        line.count(",") >= separators for cell in row for line in cell.splitlines()[1:]
    )


def _repeated(names: list[str], options: InputOptions) -> str | None:
    """The first field we read that is there more than once."""
    used = (options.text_field, options.id_field, options.image_field)
    return next((field for field in used if names.count(field) > 1), None)


def _in_words(value: Any) -> str:
    """What kind of JSON value it is that should have been another."""
    if value is None:
        return "nothing (null)"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "a text"
    return "a list" if isinstance(value, list) else "an object"


def _from_fields(
    row: dict[str, Any], source: str, default_id: str, options: InputOptions
) -> InputRecord | BadInput:
    """A record from a JSON object or a table row; checks the types of what JSON brought."""
    record_id = row.get(options.id_field)
    if isinstance(record_id, float) and record_id.is_integer():
        record_id = int(record_id)  # 1.0, as spreadsheets write it
    if isinstance(record_id, int) and not isinstance(record_id, bool):
        record_id = str(record_id)
    if record_id is None or record_id == "":
        record_id = default_id
    if not isinstance(record_id, str):
        message = Errors.E512.format(field=options.id_field, kind=_in_words(record_id))
        return BadInput(None, source, message)
    if (position := find_surrogate(record_id)) is not None:
        message = Errors.E514.format(field=options.id_field, position=position)
        return BadInput(None, source, message)
    if options.text_field not in row:
        return BadInput(record_id, source, Errors.E519.format(field=options.text_field))
    text = row[options.text_field]
    if not isinstance(text, str):
        message = Errors.E512.format(field=options.text_field, kind=_in_words(text))
        return BadInput(record_id, source, message)
    image = row.get(options.image_field)
    found = _make_record(record_id, source, text, None if image == "" else image, options)
    patient = row.get(options.patient_field) if options.patient_field else None
    if patient in (None, "") or not isinstance(found, InputRecord):
        return found
    return replace(found, patient=str(patient))


def _make_record(
    record_id: str, source: str, text: str, image: Any, options: InputOptions
) -> InputRecord | BadInput:
    """Check the text and find the photo."""
    if (position := find_surrogate(text)) is not None:
        message = Errors.E514.format(field=options.text_field, position=position)
        return BadInput(record_id, source, message)
    blank = () if text.strip() else (Warnings.W505.format(field=options.text_field),)
    record = InputRecord(record_id, source, text, warnings=blank)
    if options.images is None:
        return record if image is None else _warn(record, Warnings.W502)
    if image is not None:
        try:
            image, photo = _named_photo(options.images, image)
        except RecordError as error:  # the note is good whatever became of its photo
            warning = Warnings.W504.format(field=options.image_field, cause=error)
            return replace(_warn(record, warning), bad_path=True)
        return replace(record, image=image, photo=photo)
    try:
        for suffix in PHOTO_SUFFIXES:
            for image in (record_id + suffix, record_id + suffix.upper()):
                path = resolve_inside(options.images, image)
                if os.path.isfile(path):
                    return replace(record, image=image, photo=str(path))
    except RecordError as error:  # an id need not be a file name: that is no error
        return _warn(record, Warnings.W503.format(cause=error))
    return record


def _named_photo(images: Path, image: Any) -> tuple[str, str]:
    """The relative path with "/", which Windows may have written as a backslash, and the whole.

    RAISES RecordError: it is no path, or it leads out of the image folder.
    """
    if isinstance(image, str):
        image = image.replace("\\", "/")
    path = resolve_inside(images, image)
    if find_surrogate(image) is not None:  # a byte that was not decoded; the system would take it
        raise RecordError(Errors.E223)
    return image, str(path)


def _warn(record: InputRecord, warning: str) -> InputRecord:
    return replace(record, warnings=(*record.warnings, warning))


def _encoding(file: Path) -> str:
    """UTF-8 (with or without BOM), or GB18030, which Chinese Windows writes."""
    if _decodes(file, "utf-8") or not _decodes(file, "gb18030") or _is_damaged_utf8(file):
        return "utf-8-sig"
    return "gb18030"


def _private_use(file: Path) -> int | None:
    """The first line of a GB18030 file that has private-use characters (U+E000 to U+F8FF).

    GB18030 maps what it leaves free to them: text in Big5 is full of them, real text is not.
    """
    with open(file, encoding="gb18030", newline="") as stream:
        for number, line in enumerate(stream, start=1):
            if any("\ue000" <= character <= "\uf8ff" for character in line):
                return number
    return None


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
