"""Records as spaCy's DocBin."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import spacy
from spacy.tokens import Doc, DocBin

from spacy_tcm.extensions import install_extensions
from spacy_tcm.records.exports.common import Record

_OF_ENTITIES = (
    *("score", "photo_gate", "codes"),
    *("negation", "certainty", "temporality", "experiencer"),
)
_OF_DOCS = ("tongue", "sections", "fields", "conflicts", "prescriptions", "syndrome", "deid")


def make_doc(record: Record, nlp: spacy.language.Language) -> Doc:
    """The Doc that the record was made of, without its photo. An entity that begins or ends inside
    a token gets the whole of it; of two that then overlap, the longer stays."""
    install_extensions()
    doc = nlp.make_doc(record["text"])
    doc._.record_id = record["id"]
    for name in _OF_DOCS:
        doc._.set(name, record[name])
    spans: list[Any] = []
    for entity in record["entities"]:
        start, end, label = entity["start"], entity["end"], entity["label"]
        spans.append(doc.char_span(start, end, label, alignment_mode="expand"))
        for name in _OF_ENTITIES:
            spans[-1]._.set(name, entity[name])
    doc.set_ents(spacy.util.filter_spans(spans), default="outside")
    number: dict[Any, Any] = {spans.index(span): n for n, span in enumerate(doc.ents)}
    number["visit"] = "visit"
    doc._.relations = [
        {**found, "head": number[found["head"]], "tail": number[found["tail"]]}
        for found in record["relations"]
        if {found["head"], found["tail"]} <= number.keys()
    ]
    return doc


def write_docbin(path: Path, records: Iterable[Record]) -> int:
    """RETURNS: how many. ``DocBin(store_user_data=True).from_disk(path)`` reads it."""
    nlp = spacy.blank("tcm")
    docbin = DocBin(store_user_data=True)
    for record in records:
        docbin.add(make_doc(record, nlp))
    docbin.to_disk(path)
    return len(docbin)
