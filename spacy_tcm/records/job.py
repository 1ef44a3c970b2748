"""The main job: a stream of records through a pipeline, and the results into files.

    entries = annotate(nlp, read_inputs(path, options))
    summary = write_results(entries, out, nlp.meta)

Every record that goes in gives one entry, in the same order. A record that cannot be read or on
which a component fails becomes an entry with ``"status": "error"``; the others are not touched by
it. Memory does not grow with the number of records.
"""

import contextlib
import json
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import IO, Any, Literal

from spacy.language import Language
from spacy.tokens import Doc

from spacy_tcm.batching import Counters, forkable_torch
from spacy_tcm.errors import Errors, TCMError, Warnings
from spacy_tcm.extensions import install_extensions
from spacy_tcm.images.load import photo_id
from spacy_tcm.images.reasons import REASONS, explain
from spacy_tcm.record import SCHEMA_VERSION
from spacy_tcm.records.inputs import BadInput, InputRecord
from spacy_tcm.records.pictures import Pictures

RECORDS, ERRORS, WARNINGS, SUMMARY = (
    "records.jsonl",
    "errors.jsonl",
    "warnings.jsonl",
    "summary.json",
)
# Records handed to `nlp.pipe` at a time. Worker processes are started anew for each such stretch,
# so it is long; after a failure that breaks the stream, what is left of it goes one by one.
STRETCH = 1000
N_SAMPLES = 10
BAD_PATH = "bad_path"  # why a photo was rejected whose path was not even looked at

Entry = dict[str, Any]


@dataclass
class Summary:
    """What came of a run.

    photos: number of records by photo status. entities: number of entities by label.
    error_codes: number of errors by code.
    samples, first_errors: the first few entries and the first error of each code.
    batching: what the memory budget, if there is one, has led to.
    """

    pipeline: dict[str, str]
    records: int = 0
    ok: int = 0
    errors: int = 0
    warnings: int = 0
    seconds: float = 0.0
    photos: Counter[str] = field(default_factory=Counter)
    entities: Counter[str] = field(default_factory=Counter)
    error_codes: Counter[str] = field(default_factory=Counter)
    samples: list[Entry] = field(default_factory=list)
    first_errors: list[Entry] = field(default_factory=list)
    batching: Counters | None = None

    def add(self, entry: Entry) -> None:
        self.records += 1
        if len(self.samples) < N_SAMPLES:
            self.samples.append(entry)
        if entry["status"] == "error":
            self.errors += 1
            code = entry["error"]["code"]
            if code not in self.error_codes:
                self.first_errors.append(entry)
            self.error_codes[code] += 1
            return
        self.ok += 1
        self.warnings += len(entry["warnings"])
        self.photos[entry["tongue"]["status"]] += 1
        self.entities.update(entity["label"] for entity in entry["entities"])

    def to_json(self) -> dict[str, Any]:
        return {
            "schema_version": SCHEMA_VERSION,
            "pipeline": self.pipeline,
            "records": self.records,
            "ok": self.ok,
            "errors": self.errors,
            "warnings": self.warnings,
            "photos": dict(sorted(self.photos.items())),
            "entities": dict(self.entities.most_common()),
            "seconds": round(self.seconds, 2),
            **({"batching": self.batching.to_json()} if self.batching is not None else {}),
        }


class _Failure:
    """spaCy's error handler during a run: remembers the first failure, raises nothing.

    Docs that a component fails on then drop out of the stream, and `_annotate_stretch` notices.
    """

    def __init__(self) -> None:
        self.message: str | None = None

    def __call__(self, name: str | None, proc: Any, docs: Any, error: BaseException) -> None:
        # The words of a foreign exception may quote the text, so only its type is shown.
        cause = str(error) if isinstance(error, TCMError) else type(error).__name__
        self.message = self.message or Errors.E520.format(component=name or "nlp", cause=cause)


def annotate(
    nlp: Language,
    items: Iterable[InputRecord | BadInput],
    *,
    batch_size: int | None = None,
    n_process: int = 1,
    keep_image_names: bool = False,
    pictures: Pictures | None = None,
) -> Iterator[Entry]:
    """Run the pipeline over records.

    batch_size, n_process: as for ``nlp.pipe``. Worker processes compute in one torch thread each,
        whatever OMP_NUM_THREADS says, and so does this process until the last entry.
    keep_image_names: photos may be named after patients, so that they go by
        :func:`~spacy_tcm.images.load.photo_id` unless this is asked for.
    pictures: what to keep of the photos, if anything.
    YIELDS: one JSON-able dict per item, in order. All have ``schema_version``, ``id``, ``source``
        and ``status``. With status "ok" they have also ``image`` (the photo's id, None if there is
        no photo or its file cannot be read), the rest of
        :func:`~spacy_tcm.record.make_record`, and ``warnings``; with status "error",
        ``error``. With keep_image_names, ``image`` is the photo as named or found, and ``photo``
        its id. Warnings and errors are ``{"code", "message"}``.
    """
    finish = partial(_ok_entry, keep_image_names=keep_image_names, pictures=pictures)
    install_extensions()
    failure = _Failure()
    previous = nlp.default_error_handler
    nlp.set_error_handler(failure)  # type: ignore[arg-type]  # typed as always raising
    stream = iter(items)
    try:
        with forkable_torch(n_process):
            while stretch := list(islice(stream, STRETCH)):
                yield from _annotate_stretch(nlp, stretch, failure, finish, batch_size, n_process)
    finally:
        nlp.set_error_handler(previous)


def _annotate_stretch(
    nlp: Language,
    items: Sequence[InputRecord | BadInput],
    failure: _Failure,
    finish: Callable[[InputRecord, Doc], Entry],
    batch_size: int | None,
    n_process: int,
) -> Iterator[Entry]:
    next_item = 0
    try:
        docs = nlp.pipe(
            _make_docs(nlp, items), as_tuples=True, batch_size=batch_size, n_process=n_process
        )
        for doc, index in docs:
            # What has not come out before this Doc is bad input, or was dropped by a component,
            # alone or because of another record in its batch.
            while next_item < index:
                yield _alone(nlp, items[next_item], failure, finish)
                next_item += 1
            yield finish(items[index], doc)  # type: ignore[arg-type]  # _make_docs: no BadInput
            next_item = index + 1
    except Exception:  # the boundary: whatever breaks the stream, each record gets its own attempt
        pass
    for item in items[next_item:]:
        yield _alone(nlp, item, failure, finish)


def _make_docs(nlp: Language, items: Sequence[InputRecord | BadInput]) -> Iterator[tuple[Doc, int]]:
    for index, item in enumerate(items):
        if isinstance(item, InputRecord):
            # The boundary: a Doc that cannot be made is missed, and reported, in _annotate_stretch.
            with contextlib.suppress(Exception):
                yield _make_doc(nlp, item), index


def _make_doc(nlp: Language, item: InputRecord) -> Doc:
    doc = nlp.make_doc(item.text)
    doc._.record_id = item.id
    doc._.tongue_image = item.photo
    return doc


def _alone(
    nlp: Language,
    item: InputRecord | BadInput,
    failure: _Failure,
    finish: Callable[[InputRecord, Doc], Entry],
) -> Entry:
    """The entry of one record, processed by itself; an error entry if that fails."""
    if isinstance(item, BadInput):
        return _error_entry(item, item.message)
    failure.message = None
    try:
        entry = finish(item, nlp(_make_doc(nlp, item)))
    except Exception as error:  # the boundary: a record must not fail its batch
        failure(None, None, None, error)
    return _error_entry(item, failure.message) if failure.message else entry


def _ok_entry(
    item: InputRecord, doc: Doc, *, keep_image_names: bool, pictures: Pictures | None
) -> Entry:
    record = doc._.record
    warnings = [_coded(warning) for warning in item.warnings]
    if item.bad_path:  # the pipeline saw no photo; the warning came with the input
        rejected = {"status": "rejected", "reasons": [BAD_PATH], "quality": {}, "attributes": {}}
        record["tongue"] = rejected
    elif record["tongue"]["status"] == "rejected":
        reasons = " ".join(describe_reason(reason) for reason in record["tongue"]["reasons"])
        warnings.append(_coded(Warnings.W501.format(reasons=reasons)))
    head = {"schema_version": None, "id": None, "source": item.source, "status": "ok"}
    photo = None if item.photo is None else photo_id(item.photo)
    if pictures is not None and item.photo is not None and photo is not None:
        pictures.save(photo, doc, item.photo)
    names = {"image": item.image, "photo": photo} if keep_image_names else {"image": photo}
    return {**head, **names, **record, "warnings": warnings}


def _error_entry(item: InputRecord | BadInput, message: str) -> Entry:
    return {
        "schema_version": SCHEMA_VERSION,
        "id": item.id,
        "source": item.source,
        "status": "error",
        "error": _coded(message),
    }


def _coded(message: str) -> dict[str, str]:
    """``"[E511] Not valid"`` as ``{"code": "E511", "message": "Not valid"}``."""
    found = re.match(r"\[([EW]\d+)\] ", message)
    return {
        "code": found[1] if found else "",
        "message": message[found.end() :] if found else message,
    }


def describe_reason(reason: str, language: Literal["en", "zh"] = "en") -> str:
    """Why a photo was rejected, as a sentence; codes of other components stay as they are."""
    return _coded(explain(reason, language))["message"] if reason in REASONS else reason


def write_results(
    entries: Iterable[Entry], out: Path, meta: dict[str, Any], batching: Counters | None = None
) -> Summary:
    """Write entries as they come; RETURNS what to tell the user.

    out: a folder, made if need be. It gets ``records.jsonl`` (every entry), ``errors.jsonl`` and
        ``warnings.jsonl`` (id, source, code, message) and ``summary.json``. They replace those of
        an earlier run when all is done; until then they end in ``.part``. Whatever stops the run
        before that (an exception, Ctrl-C) leaves the earlier files and no ``.part``.
    meta: ``nlp.meta``. batching: the counters of its memory budget, if there is one.
    """
    summary = Summary({key: meta.get(key, "") for key in ("lang", "name", "version")})
    summary.batching = batching
    started = time.perf_counter()
    out.mkdir(parents=True, exist_ok=True)
    try:
        with contextlib.ExitStack() as stack:
            records, errors, warnings = (
                stack.enter_context(_part(out / name).open("w", encoding="utf-8", newline="\n"))
                for name in (RECORDS, ERRORS, WARNINGS)
            )
            for entry in entries:
                _write_line(records, entry)
                summary.add(entry)
                where = {"id": entry["id"], "source": entry["source"]}
                if entry["status"] == "error":
                    _write_line(errors, {**where, **entry["error"]})
                else:
                    for warning in entry["warnings"]:
                        _write_line(warnings, {**where, **warning})
        summary.seconds = time.perf_counter() - started
        report = json.dumps(summary.to_json(), ensure_ascii=False, indent=2) + "\n"
        _part(out / SUMMARY).write_text(report, encoding="utf-8")
        for name in (RECORDS, ERRORS, WARNINGS, SUMMARY):
            os.replace(_part(out / name), out / name)
    finally:  # they hold patients' text: none may stay behind
        for name in (RECORDS, ERRORS, WARNINGS, SUMMARY):
            _part(out / name).unlink(missing_ok=True)
    return summary


def _part(path: Path) -> Path:
    return path.with_name(path.name + ".part")


def _write_line(stream: IO[str], value: dict[str, Any]) -> None:
    stream.write(json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n")
