import json

import jsonschema
import numpy
import pytest
from spacy.tokens import Doc

from spacy_tcm import __version__
from spacy_tcm.extensions import install_extensions, note_provenance
from spacy_tcm.record import (
    SCHEMA_VERSION,
    make_record,
    read_schema,
)

NOT_RUN = {
    "negation": None,
    "certainty": None,
    "temporality": None,
    "experiencer": None,
    "section": None,
    "codes": [],
}


def validate(record):
    validator = jsonschema.Draft202012Validator(read_schema())
    validator.check_schema(read_schema())
    validator.validate(record)


def test_record_of_a_doc(nlp):
    install_extensions()
    doc = nlp("便血，舌红")
    doc._.record_id = "7"
    doc.ents[0]._.score = numpy.float32(0.876543)
    doc.ents[0]._.photo_gate = numpy.float32(0.25)
    record = doc._.record
    assert record == make_record(doc)
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    unknown = {"component": None, "version": None}
    validate(record)
    assert record == {
        "schema_version": "1.0",
        "id": "7",
        "text": "便血，舌红",
        "sections": [],
        "entities": [
            {
                "start": 0,
                "end": 2,
                "label": "SYMPTOM",
                "text": "便血",
                "score": 0.8765,
                "photo_gate": 0.25,
                **NOT_RUN,
                "provenance": {**unknown, "start": 0, "end": 2, "score": 0.8765},
            },
            {
                "start": 3,
                "end": 5,
                "label": "TONGUE",
                "text": "舌红",
                "score": None,
                "photo_gate": None,
                **NOT_RUN,
                "provenance": {**unknown, "start": 3, "end": 5, "score": None},
            },
        ],
        "tongue": {"status": "none", "reasons": [], "quality": {}, "attributes": {}},
        "fields": {},
        "conflicts": [],
        "prescriptions": [],
        "drugs": [],
        "relations": [],
        "syndrome": None,
        "deid": None,
        "provenance": {},
    }


def test_all_parts_are_in_the_schema_and_say_who_told_them(nlp):
    doc = nlp("便血，舌红")
    doc._.sections = [{"id": "chief_complaint", "start": 0, "end": 3, "kind": "cue"}]
    blood, _tongue = doc.ents
    blood._.negation, blood._.certainty = "possible", "possible"
    blood._.temporality, blood._.experiencer = "past", "family"
    code = {"system": "s", "code": None, "display": "便血", "score": 1.0, "method": "exact"}
    blood._.codes = [code]
    doc._.fields = {
        "舌象.舌色": {
            "value": ["红"],
            "evidence": "舌红",
            "start": 3,
            "end": 5,
            "source": "text",
            "confidence": 0.5,
        }
    }
    doc._.relations = [{"type": "HAS_TONGUE", "head": "visit", "tail": 1, "score": 1.0}]
    for part in ("entities", "fields", "relations"):
        note_provenance(doc, part, f"my_{part}")
    record = make_record(doc)
    validate(record)
    first, second = record["entities"]
    assert (first["section"], second["section"]) == ("chief_complaint", None)
    assert first["codes"] == [code]
    assert [first[name] for name in ("negation", "temporality", "experiencer")] == [
        "possible",
        "past",
        "family",
    ]
    told = {"version": __version__}
    assert record["provenance"]["relations"] == {**told, "component": "my_relations"}
    assert first["provenance"] == {
        **told,
        "component": "my_entities",
        "start": 0,
        "end": 2,
        "score": None,
    }
    assert record["fields"]["舌象.舌色"]["provenance"] == {
        **told,
        "component": "my_fields",
        "start": 3,
        "end": 5,
        "score": 0.5,
    }
    assert record["relations"][0]["provenance"] == {
        **told,
        "component": "my_relations",
        "start": 3,
        "end": 5,
        "score": 1.0,
    }


@pytest.mark.parametrize(
    ("part", "wrong"),
    [
        ("schema_version", "0.2"),
        ("entities", [{"start": -1}]),
        ("fields", {"舌象.舌色": {"value": ["红"]}}),
        ("relations", [{"type": "HAS_TONGUE", "head": "patient", "tail": 1, "score": 1}]),
    ],
)
def test_the_schema_refuses(nlp, part, wrong):
    record = make_record(nlp("便血"))
    with pytest.raises(jsonschema.ValidationError):
        validate({**record, part: wrong})


def test_the_schema_has_the_version_of_the_records():
    assert read_schema()["properties"]["schema_version"] == {"const": SCHEMA_VERSION}
    assert read_schema()["$id"].endswith(SCHEMA_VERSION)


def test_numpy_values_and_nan_become_json(nlp):
    doc = nlp("舌红")
    doc._.tongue = {
        "status": "ok",
        "reasons": (),
        "quality": {"sharpness": numpy.float32("nan"), "size": numpy.int64(3)},
        "attributes": {"spots": {"probabilities": numpy.array([0.25, 0.75])}},
    }
    tongue = make_record(doc)["tongue"]
    assert tongue["reasons"] == []
    assert tongue["quality"] == {"sharpness": None, "size": 3}
    assert tongue["attributes"]["spots"]["probabilities"] == [0.25, 0.75]


def test_what_is_no_json_is_refused(nlp):
    doc = nlp("舌红")
    doc._.tongue = {"status": "ok", "quality": {"photo": b"x"}}
    with pytest.raises(TypeError, match="bytes"):
        make_record(doc)


def test_installing_twice_is_safe():
    install_extensions()
    install_extensions()
    assert Doc.has_extension("record")
