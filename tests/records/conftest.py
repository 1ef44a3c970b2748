"""A pipeline without training: terms by entity_ruler, photos by the safe loader alone; and a record
with everything in it, for what is made of records."""

import copy
import json

import pytest
import spacy
from spacy.language import Language

from spacy_tcm.images.load import load_tongue_image

TERMS = {"便血": "SYMPTOM", "舌红": "TONGUE", "苔黄腻": "TONGUE", "脉弦": "PULSE", "黄芪": "HERB"}


@Language.component("records_test_photo")
def look_at_photo(doc):
    loaded = load_tongue_image(doc._.tongue_image, 32)
    attributes = {}
    if loaded.status == "ok":
        probabilities = {"light": 0.1, "regular": 0.7, "dark": 0.2}
        attributes["body_color"] = {
            "value": "regular",
            "probabilities": probabilities,
            "abstained": False,
        }
    doc._.tongue = {
        "status": loaded.status,
        "reasons": list(loaded.reasons),
        "quality": loaded.quality,
        "attributes": attributes,
    }
    return doc


@pytest.fixture
def nlp():
    nlp = spacy.blank("tcm")
    patterns = [
        {"label": label, "pattern": [{"TEXT": character} for character in term]}
        for term, label in TERMS.items()
    ]
    nlp.add_pipe("entity_ruler").add_patterns(patterns)
    nlp.add_pipe("records_test_photo")
    return nlp


TEXT = (
    '患者便血3天，色鲜红；否认发热。母亲糖尿病。\n舌红"苔黄\\腻"，脉弦数，体温37.2℃。湿热下注证？\n'
    "处方：黄芪30g（先煎）\t𠮷草6g，7剂。"
)


def find(surface, label, **more):
    start = TEXT.index(surface)
    return {
        "start": start,
        "end": start + len(surface),
        "label": label,
        "text": surface,
        "score": 0.9,
        "photo_gate": 0.0,
        "negation": "present",
        "certainty": "certain",
        "temporality": "current",
        "experiencer": "patient",
        "section": None,
        "codes": [],
        "provenance": {
            "component": "multimodal_ner",
            "version": "0.1.0",
            "start": start,
            "end": start + len(surface),
            "score": 0.9,
        },
        **more,
    }


def told(component):
    return {"component": component, "version": "0.1.0", "start": None, "end": None, "score": None}


def field(value, evidence, **more):
    start = TEXT.index(evidence)
    place = {"start": start, "end": start + len(evidence), "source": "text"}
    return {"value": value, "evidence": evidence, **place, "provenance": told("tcm_fields"), **more}


def herb(name, **more):
    start = TEXT.index(name)
    place = {"text": name, "start": start, "end": start + len(name), "dose_text": ""}
    return {"name": name, **place, "processing": None, "unit": "g", "footnote": None, **more}


CODE = {
    "system": "icd11-tm1",
    "code": "SF8G",
    "display": "大肠湿热",
    "version": "2022-05",
    "score": 0.8,
    "method": "fuzzy",
}
ALIAS = {**CODE, "system": "spacy_tcm", "code": None, "display": "便血", "method": "exact"}


@pytest.fixture
def record():
    return copy.deepcopy(
        {
            "schema_version": "1.0",
            "id": "门诊/2024 号",
            "text": TEXT,
            "sections": [],
            "entities": [
                find("便血", "SYMPTOM", codes=[ALIAS]),
                find("3天", "TIME"),
                find("色鲜红", "QUALITY"),
                find("发热", "SYMPTOM", negation="absent"),
                find("糖尿病", "WM_DISEASE", experiencer="family"),
                find('舌红"苔黄\\腻"', "TONGUE", score=None),
                find("体温", "TEST"),
                find("37.2℃", "VALUE"),
                find("湿热下注证", "SYNDROME", certainty="possible", codes=[CODE]),
                find('腻"，脉弦数，体温37.2℃。湿热下注证？\n处方', "SIGN"),
            ],
            "tongue": {"status": "none", "reasons": [], "quality": {}, "attributes": {}},
            "fields": {
                "一般.体温": field(37.2, "体温37.2℃", unit="℃"),
                "呼吸内科.有无发热": field(False, "否认发热"),
                "舌象.苔质": field(["薄", "腻"], "腻"),
                "舌象.舌色": field(["红"], "舌红"),
                "消化内科.刻下腹泻频次": field([5, None], "3天", unit="次/日"),
            },
            "conflicts": [],
            "prescriptions": [
                {
                    "formula": None,
                    "herbs": [
                        herb("黄芪", dose=30, footnote="先煎"),
                        herb("𠮷草", dose=6.5),
                    ],
                    "count": 7,
                    "route": None,
                    "regimen": "日一剂",
                    "start": TEXT.index("黄芪"),
                    "end": len(TEXT),
                    "warnings": [],
                    "provenance": told("tcm_prescriptions"),
                }
            ],
            "relations": [
                {
                    "type": kind,
                    "head": head,
                    "tail": tail,
                    "score": 1.0,
                    "provenance": told("tcm_relations"),
                }
                for kind, head, tail in (
                    ("HAS_SYMPTOM", "visit", 0),
                    ("HAS_DURATION", 0, 1),
                    ("HAS_QUALITY", 0, 2),
                    ("HAS_SYMPTOM", "visit", 3),
                    ("MEASURED_AS", 6, 7),
                )
            ],
            "drugs": [],
            "syndrome": None,
            "deid": None,
            "provenance": {},
        }
    )


@pytest.fixture
def folder(record, tmp_path):
    """As `structure` leaves it: also with a record that failed."""
    second = {**copy.deepcopy(record), "id": None, "text": "", "entities": [], "fields": {}}
    second |= {"prescriptions": [], "relations": []}
    bad = {"schema_version": "1.0", "id": "x", "status": "error", "error": {}}
    path = tmp_path / "results"
    path.mkdir()
    lines = [{**record, "status": "ok"}, bad, second]
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    (path / "records.jsonl").write_text(text, encoding="utf-8")
    return path
