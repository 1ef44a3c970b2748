"""Records from any readable format to JSON lines or DocBin, every one verified before."""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import spacy
from spacy.tokens import DocBin

from spacy_tcm.errors import Errors, RecordError
from spacy_tcm.records.exports.annotations import read_brat, read_doccano, read_label_studio
from spacy_tcm.tags import LABELS
from spacy_tcm.training.corpus import annotate
from spacy_tcm.training.reading import MISALIGNED_KEY, Paths, record_files, scan_records
from spacy_tcm.training.validation import Record, find_field_problems, read_field_definitions

# What reads the exports of annotation tools.
TOOLS: dict[str, Callable[[Path], Iterator[Record]]] = {
    "brat": read_brat,
    "doccano": read_doccano,
    "label-studio": read_label_studio,
}


def convert_annotations(tool: str) -> Callable[..., dict[Path, list[Record]]]:
    """A `convert_records` for what an annotation tool has exported: one of TOOLS."""

    def convert(inputs: Sequence[Path], *args: Any, **kwargs: Any) -> dict[Path, list[Record]]:
        with TemporaryDirectory() as folder:
            files = [Path(folder) / f"{path.stem}.jsonl" for path in inputs]
            for path, file in zip(inputs, files, strict=True):
                if not path.exists():
                    raise RecordError(Errors.E301.format(path=path))
                if file.exists():
                    raise RecordError(Errors.E344.format(path=f"{path.stem}.jsonl"))
                write_jsonl(file, list(TOOLS[tool](path)))
            try:
                return convert_records(files, *args, **kwargs)
            except RecordError as error:
                message = str(error)
                for path, file in zip(inputs, files, strict=True):
                    message = message.replace(str(file), str(path))
                raise RecordError(message) from None

    return convert


def convert_records(
    inputs: Paths,
    out: str | Path,
    *,
    split: str | Path | None = None,
    fields: str | Path | None = None,
    label_map: str | Path | None = None,
    docbin: bool = False,
) -> dict[Path, list[Record]]:
    """Verify all records, then write them below ``out``, one file per input file or part.

    split: JSON object of part -> list of file stems; every input file is in exactly one part.
    fields: field definitions (``assets/fields.json``) that the values of ``fields`` must keep to.
    label_map: JSON object of other label names -> ours, a list of ours (the entity is one of
        them), or null to drop such entities. The records then say that they annotate only
        our labels named there.
    docbin: write .spacy (entities, id, image, labels, tongue) instead of .jsonl (everything).
    RETURNS: file written -> its records.
    RAISES RecordError: the first problem; nothing is written then.
    """
    files = record_files(inputs)
    parts = {file: file.stem for file in files} if split is None else read_split(split, files)
    mapped = None if label_map is None else read_label_map(label_map)
    definitions = None if fields is None else read_field_definitions(fields)
    outputs: dict[Path, list[Record]] = {}
    first_use: dict[str, Path] = {}
    for file, part in parts.items():
        target = Path(out) / f"{part}{'.spacy' if docbin else '.jsonl'}"
        if target in outputs and split is None:
            raise RecordError(Errors.E344.format(path=target))
        if any(target.resolve() == source.resolve() for source in files):
            raise RecordError(Errors.E343.format(path=target))
        records = outputs.setdefault(target, [])
        for scanned in scan_records(file, label_map=mapped):
            for problem in scanned.problems:
                raise RecordError(f"{problem.message}\n{Errors.E346}")
            record = scanned.record
            if record is None:
                continue
            if definitions is not None:
                for problem in find_field_problems(record, scanned.place, definitions):
                    raise RecordError(problem.message)
            if record["id"] in first_use:
                first = first_use[record["id"]]
                raise RecordError(Errors.E316.format(place=scanned.place, first=first))
            first_use[record["id"]] = file
            records.append(record)
    Path(out).mkdir(parents=True, exist_ok=True)
    for target, records in outputs.items():
        (write_docbin if docbin else write_jsonl)(target, records)
    return outputs


def read_split(path: str | Path, files: list[Path]) -> dict[Path, str]:
    """The part of each file. RAISES RecordError: a file is in no part or in several."""
    try:
        split = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RecordError(Errors.E340.format(path=path, cause=type(error).__name__)) from None
    if not isinstance(split, dict) or not all(isinstance(stems, list) for stems in split.values()):
        raise RecordError(Errors.E340.format(path=path, cause="another shape"))
    counts = Counter(stem for stems in split.values() for stem in stems)
    known = Counter(file.stem for file in files)
    for stem in counts:
        if stem not in known:
            raise RecordError(Errors.E342.format(stem=stem))
    for stem in known:
        if counts[stem] != 1:
            raise RecordError(Errors.E341.format(stem=stem, count=counts[stem]))
    part_of = {stem: part for part, stems in split.items() for stem in stems}
    return {file: part_of[file.stem] for file in files}


def read_label_map(path: str | Path) -> dict[str, str | list[str] | None]:
    """Other label names -> ours, see `LabelMap`. RAISES RecordError: not a JSON object of such."""
    try:
        label_map = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RecordError(Errors.E345.format(path=path, cause=type(error).__name__)) from None
    if not isinstance(label_map, dict) or not all(
        target is None
        or all(one in LABELS for one in (target if type(target) is list else [target]))
        for target in label_map.values()
    ):
        raise RecordError(Errors.E345.format(path=path, cause="another shape or unknown labels"))
    return label_map


def write_jsonl(path: Path, records: list[Record]) -> None:
    """One JSON object a line, in UTF-8."""
    with path.open("w", encoding="utf-8", newline="\n") as out:
        for record in records:
            out.write(json.dumps(record, ensure_ascii=False) + "\n")


def write_docbin(path: Path, records: list[Record]) -> None:
    """A .spacy file that `read_records` reads back; fields, qualifiers and meta are left out."""
    nlp = spacy.blank("tcm")
    docbin = DocBin(store_user_data=True)
    for record in records:
        doc = nlp.make_doc(record["text"])
        doc.user_data[MISALIGNED_KEY] = annotate(doc, record)
        docbin.add(doc)
    docbin.to_disk(path)
