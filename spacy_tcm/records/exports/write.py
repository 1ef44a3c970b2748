"""Every export format, by name, and the files it makes of records."""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path

from spacy_tcm.fields.definitions import own_definitions
from spacy_tcm.records.exports import annotations, docbin, fhir, neo4j, rdf, tables
from spacy_tcm.records.exports.common import RECORDS, Record, read_records, visit_id


def write_export(
    source: Path, out: Path, form: str, *, everything: bool, check: bool
) -> list[Path]:
    """Write records in one format.

    source: see `read_records`. out: a folder; it and those above are made. form: one of FORMATS.
    everything: also in graphs, what the note denies, doubts, remembers, plans or says of the
        family. check: let a library that is not ours check the result, where there is one.
    RETURNS: files written, folders for those of many files.
    RAISES RecordError: a line is no record. ModelError: a package is not there, or the check fails.
    """
    out.mkdir(parents=True, exist_ok=True)
    return FORMATS[form](source, out, everything, check)


def _fhir(source: Path, out: Path, everything: bool, check: bool) -> list[Path]:
    folder = _folder(out / "fhir")
    file = source / RECORDS if source.is_dir() else source
    made = (
        datetime.fromtimestamp(int(file.stat().st_mtime), timezone.utc) if file.exists() else None
    )
    for name, record in _named(source):
        assert made is not None
        bundle = fhir.make_bundle(record, made)
        if check:
            fhir.validate_bundle(bundle)
        _write_json(folder / f"{name}.json", bundle)
    return [folder]


def _rdf(form: str, source: Path, out: Path, everything: bool, check: bool) -> list[Path]:
    graph = rdf.make_graph(read_records(source), facts_only=not everything)
    if check:
        rdf.validate_graph(graph)
    path = out / f"records.{rdf.FORMATS[form]}"
    path.write_text(rdf.to_text(graph, form), encoding="utf-8")
    return [path]


def _turtle(source: Path, out: Path, everything: bool, check: bool) -> list[Path]:
    return _rdf("turtle", source, out, everything, check)


def _nt(source: Path, out: Path, everything: bool, check: bool) -> list[Path]:
    return _rdf("nt", source, out, everything, check)


def _json_ld(source: Path, out: Path, everything: bool, check: bool) -> list[Path]:
    return _rdf("json-ld", source, out, everything, check)


def _neo4j(source: Path, out: Path, everything: bool, check: bool) -> list[Path]:
    folder = _folder(out / "neo4j")

    def items() -> Iterator[neo4j.Node | neo4j.Relationship]:
        return neo4j.make_nodes(read_records(source), facts_only=not everything)

    neo4j.write_csv(folder, items())
    neo4j.write_cypher(folder / neo4j.SCRIPT, items())
    return [folder]


def _csv(source: Path, out: Path, everything: bool, check: bool) -> list[Path]:
    path = out / "visits.csv"
    tables.write_csv(path, tables.make_rows(read_records(source), _field_ids(source)))
    return [path]


def _parquet(source: Path, out: Path, everything: bool, check: bool) -> list[Path]:
    path = out / "visits.parquet"
    tables.write_parquet(path, tables.make_rows(read_records(source), _field_ids(source)))
    return [path]


def _brat(source: Path, out: Path, everything: bool, check: bool) -> list[Path]:
    folder = _folder(out / "brat")
    for name, record in _named(source):
        text, marks = annotations.to_brat(record)
        # As bytes: line ends stay as they are, or offsets would shift.
        (folder / f"{name}.txt").write_bytes(text.encode())
        (folder / f"{name}.ann").write_bytes(marks.encode())
    return [folder]


def _doccano(source: Path, out: Path, everything: bool, check: bool) -> list[Path]:
    return [_write_lines(out / "doccano.jsonl", source, annotations.to_doccano)]


def _annotated(source: Path, out: Path, everything: bool, check: bool) -> list[Path]:
    return [_write_lines(out / "annotated.jsonl", source, annotations.to_annotated)]


def _label_studio(source: Path, out: Path, everything: bool, check: bool) -> list[Path]:
    path = out / "label_studio.json"
    _write_json(path, [annotations.to_label_studio(record) for record in read_records(source)])
    return [path]


def _docbin(source: Path, out: Path, everything: bool, check: bool) -> list[Path]:
    path = out / "records.spacy"
    docbin.write_docbin(path, read_records(source))
    return [path]


FORMATS: dict[str, Callable[[Path, Path, bool, bool], list[Path]]] = {
    "fhir": _fhir,
    "turtle": _turtle,
    "nt": _nt,
    "json-ld": _json_ld,
    "neo4j": _neo4j,
    "csv": _csv,
    "parquet": _parquet,
    "brat": _brat,
    "doccano": _doccano,
    "label-studio": _label_studio,
    "docbin": _docbin,
    "annotated": _annotated,
}


def _field_ids(source: Path) -> Sequence[str]:
    """Those of the package, so that the columns of two exports match; then others, in order of
    their first."""
    found = (field for record in read_records(source) for field in record["fields"])
    return list(dict.fromkeys([*(f["id"] for f in own_definitions()["fields"]), *found]))


def _named(source: Path) -> Iterator[tuple[str, Record]]:
    """With a name for a file: the id, as far as a file may be called so, or the visit's."""
    seen = set()
    for record in read_records(source):
        name = re.sub(r"[^\w.-]+", "_", record["id"] or "").strip("._")[:80]
        if not name or name.lower() in seen:
            name = f"{name}-{visit_id(record)}".lstrip("-")
        seen.add(name.lower())
        yield name, record


def _folder(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def _write_lines(path: Path, source: Path, convert: Callable[[Record], object]) -> Path:
    with path.open("w", encoding="utf-8", newline="\n") as out:
        for record in read_records(source):
            out.write(json.dumps(convert(record), ensure_ascii=False) + "\n")
    return path
