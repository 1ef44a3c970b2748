"""Records from files: inline marks (.txt), JSON lines (.jsonl) or DocBin (.spacy)."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from spacy.tokens import Doc, DocBin
from spacy.vocab import Vocab

from spacy_tcm.errors import Errors, RecordError
from spacy_tcm.extensions import install_extensions
from spacy_tcm.images.load import resolve_inside
from spacy_tcm.tags import ALTERNATIVE, LABELS
from spacy_tcm.training.markup import read_markup
from spacy_tcm.training.validation import Problem, Record, find_problems, is_span

SUFFIXES = (".txt", ".jsonl", ".spacy")

# Where the Docs of a .spacy file keep the entities that Doc.ents cannot hold, because they begin or
# end inside a token.
MISALIGNED_KEY = "spacy_tcm.misaligned"

Paths = str | Path | Sequence[str | Path]

# Another scheme's label -> ours, several of ours (the span is one of these), or None to drop it.
LabelMap = Mapping[str, str | Sequence[str] | None]


class Scanned(NamedTuple):
    """One record as read. ``record`` is None where there is not even an object."""

    path: Path
    place: str  # file, line and record id, for messages
    record: Record | None
    image: Path | None  # where the photo is, or should be
    problems: list[Problem]


def record_files(paths: Paths) -> list[Path]:
    """The files of one or more paths; a folder stands for the record files in it, by name.

    RAISES RecordError: nothing there, or not a kind of file that is read.
    """
    files: list[Path] = []
    for path in map(Path, [paths] if isinstance(paths, str | Path) else paths):
        if path.is_dir():
            found = sorted(file for file in path.iterdir() if file.suffix in SUFFIXES)
            if not found:
                raise RecordError(Errors.E303.format(path=path))
            files += found
        elif not path.is_file():
            raise RecordError(Errors.E301.format(path=path))
        elif path.suffix not in SUFFIXES:
            raise RecordError(Errors.E302.format(path=path))
        else:
            files.append(path)
    return files


def read_records(
    paths: Paths,
    *,
    labels: Sequence[str] | None = None,
    label_map: LabelMap | None = None,
) -> Iterator[Record]:
    """The valid records of files or folders, one at a time, in order.

    labels: what the corpus annotates, where a record does not say so itself (``labels``). Default:
        the targets of ``label_map``, else all 23. A record of a corpus with ``labels`` is given
        the key ``labels``.
    label_map: see `LabelMap`. Where it names several labels, the entity is given them all, joined
        by ``ALTERNATIVE``: it is one of them, not known which.
    RAISES RecordError: the first problem, with file, line and record id; or, without ``labels``,
        ``label_map`` names a label that is not ours.
    """
    for record, _ in read_with_images(paths, labels=labels, label_map=label_map):
        yield record


def read_with_images(
    paths: Paths,
    *,
    image_root: str | Path | None = None,
    labels: Sequence[str] | None = None,
    label_map: LabelMap | None = None,
) -> Iterator[tuple[Record, Path | None]]:
    """Like :func:`read_records`, with the place of each record's photo: see `scan_records`."""
    for scanned in scan_records(paths, image_root=image_root, labels=labels, label_map=label_map):
        for problem in scanned.problems:
            raise RecordError(problem.message)
        if scanned.record is not None:
            yield scanned.record, scanned.image


def scan_records(
    paths: Paths,
    *,
    image_root: str | Path | None = None,
    labels: Sequence[str] | None = None,
    label_map: LabelMap | None = None,
) -> Iterator[Scanned]:
    """All records, each with its problems: nothing is raised for what is wrong with one of them.

    image_root: the folder under which photos lie. Default: the folder of the corpus file. A photo
        need not exist; a path that leaves the folder is a problem.
    """
    if labels is None and label_map is not None:
        _check_targets(label_map)
        labels = sorted({label for target in label_map.values() for label in _targets(target)})
    for path in record_files(paths):
        root = path.parent if image_root is None else Path(image_root)
        first_use: dict[str, str] = {}
        for unit, record in _READERS[path.suffix](path):
            if isinstance(record, RecordError):
                problem = Problem("structure", str(record))
                yield Scanned(path, f"{path}, {unit}", None, None, [problem])
                continue
            identifier = str(record.get("id"))
            place = f"{path}, {unit}, record '{identifier}'"
            if label_map is not None:
                _map_labels(record, label_map)
            if labels is not None:
                record.setdefault("labels", list(labels))
            problems = list(find_problems(record, place, labels or LABELS))
            if identifier in first_use:
                message = Errors.E316.format(place=place, first=first_use[identifier])
                problems.append(Problem("id", message))
            first_use.setdefault(identifier, unit)
            image = None
            if isinstance(record.get("image"), str):
                try:
                    image = resolve_inside(root, record["image"])
                except RecordError as error:
                    problems.append(Problem("image", Errors.E321.format(place=place, cause=error)))
            yield Scanned(path, place, record, image, problems)


def _map_labels(record: Record, label_map: LabelMap) -> None:
    """Rename or drop entities in place; what is malformed is left for the check to find."""
    entities = record.get("entities")
    if not isinstance(entities, list) or not all(is_span(span, 3) for span in entities):
        return
    record["entities"] = [
        [start, end, ALTERNATIVE.join(targets)]
        for start, end, label in entities
        if (targets := _targets(label_map.get(label, label)))
    ]


def _check_targets(label_map: LabelMap) -> None:
    for own, target in label_map.items():
        for label in _targets(target):
            if label not in LABELS:
                raise RecordError(Errors.E322.format(own=own, label=label))


def _targets(target: str | Sequence[str] | None) -> Sequence[str]:
    return [target] if isinstance(target, str) else target or []


# One reader per kind of file: (which unit of the file, the object or why there is none) ---------

Units = Iterator[tuple[str, Record | RecordError]]


def _read_txt(path: Path) -> Units:
    for line, record in read_markup(path):
        yield f"line {line}", record


def _read_jsonl(path: Path) -> Units:
    try:
        with path.open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield f"line {number}", _parse_line(line, f"{path}, line {number}")
    except UnicodeDecodeError:
        raise RecordError(Errors.E304.format(path=path)) from None


def _parse_line(line: str, place: str) -> Record | RecordError:
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        cause = f"{error.msg}, column {error.colno}"
        return RecordError(Errors.E305.format(place=place, cause=cause))
    if not isinstance(record, dict):
        return RecordError(Errors.E305.format(place=place, cause="not an object"))
    return record


def _read_spacy(path: Path) -> Units:
    install_extensions()
    try:
        docs = DocBin().from_disk(path).get_docs(Vocab())
        for number, doc in enumerate(docs, 1):
            yield f"document {number}", doc_to_record(doc, default_id=f"{path.stem}-{number}")
    except (ValueError, KeyError, OSError, EOFError) as error:
        if isinstance(error, RecordError):
            raise
        raise RecordError(Errors.E306.format(path=path)) from None


_READERS = {".txt": _read_txt, ".jsonl": _read_jsonl, ".spacy": _read_spacy}


# Records as Docs --------------------------------------------------------------------------------


def doc_to_record(doc: Doc, default_id: str) -> Record:
    """The record that an annotated Doc holds. Tokens of unknown annotation become ``missing``."""
    aligned = [[ent.start_char, ent.end_char, ent.label_] for ent in doc.ents]
    misaligned = [list(span) for span in doc.user_data.get(MISALIGNED_KEY, [])]
    record: Record = {
        "id": doc._.record_id or default_id,
        "text": doc.text,
        "entities": sorted(aligned + misaligned),
        "missing": [[t.idx, t.idx + len(t)] for t in doc if t.ent_iob == 0],
    }
    if doc._.tongue_image is not None:
        record["image"] = doc._.tongue_image
    if doc._.annotated_labels is not None:
        record["labels"] = list(doc._.annotated_labels)  # DocBin turns lists into tuples
    if doc._.tongue_labels is not None:
        record["tongue"] = doc._.tongue_labels
    if doc._.syndrome_labels is not None:
        record["meta"] = {"syndrome": list(doc._.syndrome_labels)}
    return record


def describe_on_doc(doc: Doc, record: Record) -> None:
    """Write what the record says beside its entities onto a reference Doc."""
    doc._.record_id = record["id"]
    doc._.tongue_image = record.get("image")
    doc._.annotated_labels = record.get("labels")
    doc._.tongue_labels = record.get("tongue")
    doc._.syndrome_labels = _syndromes(record)


def _syndromes(record: Record) -> list[str] | None:
    """``meta.syndrome``, if it is a list of names; None if the record tells no pattern."""
    meta = record.get("meta")
    names = meta.get("syndrome") if isinstance(meta, dict) else None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return None
    return names or None
