import json

import numpy
import pytest
from spacy.tokens import Doc

from spacy_tcm.records.record import install_record_extension, make_record


def test_record_of_a_doc(nlp):
    install_record_extension()
    doc = nlp("便血，舌红")
    doc._.record_id = "7"
    doc.ents[0]._.score = numpy.float32(0.876543)
    doc.ents[0]._.photo_gate = numpy.float32(0.25)
    record = doc._.record
    assert record == make_record(doc)
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert record == {
        "schema_version": "0.2",
        "id": "7",
        "text": "便血，舌红",
        "entities": [
            {
                "start": 0,
                "end": 2,
                "label": "SYMPTOM",
                "text": "便血",
                "score": 0.8765,
                "photo_gate": 0.25,
            },
            {
                "start": 3,
                "end": 5,
                "label": "TONGUE",
                "text": "舌红",
                "score": None,
                "photo_gate": None,
            },
        ],
        "tongue": {"status": "none", "reasons": [], "quality": {}, "attributes": {}},
        "fields": {},
        "conflicts": [],
    }


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
    install_record_extension()
    install_record_extension()
    assert Doc.has_extension("record")
