"""Records as FHIR R4 bundles.

What is coded how follows Taiwan's TWCM implementation guide where it has a choice: a pattern is a
Condition of category "syndrome", the tongue one Observation with a component per sign, free text
where there is no verified code. Everything is preliminary, since a machine has told it.
"""

from base64 import b64encode
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from spacy_tcm.errors import Errors, ModelError
from spacy_tcm.records.exports.common import (
    BASE,
    Entity,
    Record,
    best_code,
    concept,
    entity_id,
    value_text,
    visit_id,
)

SYSTEMS = {
    "icd11": "http://id.who.int/icd/release/11/mms",
    "ucum": "http://unitsofmeasure.org",
    "observation": "http://terminology.hl7.org/CodeSystem/observation-category",
    "clinical": "http://terminology.hl7.org/CodeSystem/condition-clinical",
    "verification": "http://terminology.hl7.org/CodeSystem/condition-ver-status",
    "condition": "http://terminology.hl7.org/CodeSystem/condition-category",
}
UNITS = {"℃": "Cel", "mmHg": "mm[Hg]", "cm": "cm", "次/日": "/d", "日": "d", "周": "wk"}
UNITS |= {"月": "mo", "年": "a", "g": "g", "ml": "mL"}
OBSERVED = ("SYMPTOM", "SIGN", "TONGUE", "PULSE")
DIAGNOSED = ("TCM_DISEASE", "WM_DISEASE", "SYNDROME")


def make_bundle(record: Record, recorded: datetime) -> dict[str, Any]:
    """One record as a Bundle of type collection, JSON-able and in the order of the note.

    recorded: when the record was made, with a time zone.
    """
    return _Visit(record, recorded).bundle()


def validate_bundle(bundle: dict[str, Any]) -> None:
    """By the models of fhir.resources (R4B). RAISES ModelError: the package is not there, or the
    bundle is not valid; the message names places, no values."""
    try:
        from fhir.resources.R4B.bundle import Bundle
        from pydantic import ValidationError
    except ModuleNotFoundError as error:
        raise ModelError(Errors.E590.format(package=error.name)) from None
    try:
        Bundle.model_validate(bundle)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise ModelError(Errors.E582.format(place=place, cause=first["type"])) from None


class _Visit:
    def __init__(self, record: Record, recorded: datetime):
        self.record, self.recorded = record, recorded.isoformat(timespec="seconds")
        self.id = visit_id(record)
        self.subject = {"reference": f"urn:uuid:{_uuid(self.id, 'patient')}"}
        self.note = {"reference": f"urn:uuid:{_uuid(self.id, 'note')}"}
        self.encounter = {"reference": f"urn:uuid:{_uuid(self.id, 'encounter')}"}
        self.entries: list[dict[str, Any]] = []

    def bundle(self) -> dict[str, Any]:
        self._add_frame()
        measured = {
            r["head"]: r["tail"] for r in self.record["relations"] if r["type"] == "MEASURED_AS"
        }
        for number, entity in enumerate(self.record["entities"]):
            for resource in self._of_entity(number, entity, measured):
                self._add(entity_id(self.record, number), resource)
        for field, found in self.record["fields"].items():
            self._add(field, self._of_field(field, found))
        for number, prescription in enumerate(self.record["prescriptions"]):
            self._add(f"prescription-{number}", self._of_prescription(prescription))
        self._add_impression()
        targets = [{"reference": entry["fullUrl"]} for entry in self.entries[3:]]
        if targets:
            self._add("provenance", self._provenance(targets))
        return {
            "resourceType": "Bundle",
            "id": self.id,
            "type": "collection",
            "timestamp": self.recorded,
            "entry": self.entries,
        }

    def _add(self, name: str, resource: dict[str, Any]) -> None:
        self.entries.append({"fullUrl": f"urn:uuid:{_uuid(self.id, name)}", "resource": resource})

    def _add_frame(self) -> None:
        self._add("patient", {"resourceType": "Patient"})
        self._add(
            "encounter",
            {
                "resourceType": "Encounter",
                "status": "unknown",
                "class": {
                    "system": "http://terminology.hl7.org/CodeSystem/v3-ActCode",
                    "code": "AMB",
                },
                "subject": self.subject,
                **self._identifier(),
            },
        )
        data = b64encode(self.record["text"].encode()).decode()
        attachment: dict[str, Any] = {"contentType": "text/plain; charset=utf-8"}
        if data:
            attachment["data"] = data
        self._add(
            "note",
            {
                "resourceType": "DocumentReference",
                "status": "current",
                "subject": self.subject,
                "content": [{"attachment": attachment}],
            },
        )

    def _identifier(self) -> dict[str, Any]:
        name = self.record["id"]
        return {"identifier": [{"system": BASE + "record", "value": name}]} if name else {}

    def _of_entity(
        self, number: int, entity: Entity, measured: dict[Any, Any]
    ) -> Iterator[dict[str, Any]]:
        label = entity["label"]
        if entity["experiencer"] == "family":
            if label in (*DIAGNOSED, "SYMPTOM") and entity["negation"] != "absent":
                yield self._family(entity)
        elif label in OBSERVED:
            yield self._observation(entity, valueBoolean=entity["negation"] != "absent")
        elif label in DIAGNOSED:
            yield self._condition(entity)
        elif label == "TEST" and number in measured:
            told = self.record["entities"][measured[number]]["text"]
            yield self._observation(entity, valueString=told)
        elif label == "PROCEDURE":
            yield self._procedure(entity)

    def _observation(self, entity: Entity, **value: Any) -> dict[str, Any]:
        category = "laboratory" if entity["label"] == "TEST" else "exam"
        return {
            "resourceType": "Observation",
            "extension": _place(entity),
            "status": "preliminary",
            "category": [_coded(SYSTEMS["observation"], category), _label(entity)],
            "code": _concept(entity),
            "subject": self.subject,
            "encounter": self.encounter,
            "derivedFrom": [self.note],
            **_interpretation(entity),
            **value,
        }

    def _condition(self, entity: Entity) -> dict[str, Any]:
        refuted = entity["negation"] == "absent"
        doubtful = entity["certainty"] == "possible"
        verification = "refuted" if refuted else "provisional" if doubtful else "unconfirmed"
        clinical = "inactive" if refuted or entity["temporality"] == "past" else "active"
        syndrome = entity["label"] == "SYNDROME"
        category = (
            {"coding": [{"system": BASE + "condition-category", "code": "syndrome"}]}
            if syndrome
            else _coded(SYSTEMS["condition"], "encounter-diagnosis")
        )
        return {
            "resourceType": "Condition",
            "extension": _place(entity),
            "clinicalStatus": _coded(SYSTEMS["clinical"], clinical),
            "verificationStatus": _coded(SYSTEMS["verification"], verification),
            "category": [category, _label(entity)],
            "code": _concept(entity),
            "subject": self.subject,
            "encounter": self.encounter,
            "evidence": [{"detail": [self.note]}],
        }

    def _family(self, entity: Entity) -> dict[str, Any]:
        return {
            "resourceType": "FamilyMemberHistory",
            "extension": _place(entity),
            "status": "partial",
            "patient": self.subject,
            "relationship": {"text": "家属"},
            "condition": [{"code": _concept(entity)}],
        }

    def _procedure(self, entity: Entity) -> dict[str, Any]:
        status = "not-done" if entity["negation"] == "absent" else "unknown"
        planned = entity["temporality"] == "future"
        return {
            "resourceType": "Procedure",
            "extension": _place(entity),
            "status": "preparation" if planned and status == "unknown" else status,
            "code": _concept(entity),
            "subject": self.subject,
            "encounter": self.encounter,
        }

    def _of_field(self, field: str, found: dict[str, Any]) -> dict[str, Any]:
        code = {
            "coding": [{"system": BASE + "field", "code": field}],
            "text": field.rpartition(".")[2],
        }
        derived = {"derivedFrom": [self.note]} if found["evidence"] else {}
        return {
            "resourceType": "Observation",
            **({"extension": _place(found)} if found["evidence"] else {}),
            "status": "preliminary",
            "category": [_coded(SYSTEMS["observation"], "exam")],
            "code": code,
            "subject": self.subject,
            "encounter": self.encounter,
            **derived,
            **_field_value(code, found),
        }

    def _of_prescription(self, found: dict[str, Any]) -> dict[str, Any]:
        formula = found["formula"] or {}
        herbs = found["herbs"]
        name = formula.get("name") or "、".join(herb["name"] for herb in herbs) or "处方"
        medication: dict[str, Any] = {
            "resourceType": "Medication",
            "id": "medication",
            "code": {"text": name},
        }
        if herbs:
            medication["ingredient"] = [_ingredient(herb) for herb in herbs]
        usage = " ".join(str(found[part]) for part in ("route", "regimen") if found[part])
        footnotes = [f"{h['name']} {h['footnote']}" for h in herbs if h.get("footnote")]
        count = found["count"]
        return {
            "resourceType": "MedicationRequest",
            "contained": [medication],
            "extension": _place(found),
            "status": "unknown",
            "intent": "order",
            "medicationReference": {"reference": "#medication"},
            "subject": self.subject,
            "encounter": self.encounter,
            **({"note": [{"text": text} for text in footnotes]} if footnotes else {}),
            **({"dosageInstruction": [{"text": usage}]} if usage else {}),
            **(
                {"dispenseRequest": {"quantity": {"value": count, "unit": "剂"}}}
                if isinstance(count, int | float)
                else {}
            ),
        }

    def _add_impression(self) -> None:
        wanted = ("SYNDROME", "PATHOGENESIS")
        told = [
            entity
            for entity in self.record["entities"]
            if entity["label"] in wanted and entity["negation"] != "absent"
        ]
        if not told:
            return
        self._add(
            "impression",
            {
                "resourceType": "ClinicalImpression",
                "status": "in-progress",
                "subject": self.subject,
                "encounter": self.encounter,
                "finding": [
                    {"itemCodeableConcept": _concept(entity), "basis": entity["label"]}
                    for entity in told
                ],
            },
        )

    def _provenance(self, targets: list[dict[str, Any]]) -> dict[str, Any]:
        parts = [*self.record["entities"], *self.record["fields"].values()]
        told = {
            f"{p['component']} {p['version']}"
            for p in (part["provenance"] for part in parts)
            if p["component"]
        }
        names = sorted(told) or ["spacy_tcm"]
        return {
            "resourceType": "Provenance",
            "target": targets,
            "recorded": self.recorded,
            "agent": [{"who": {"display": name}} for name in names],
            "entity": [{"role": "source", "what": self.note}],
        }


def _uuid(visit: str, name: str) -> str:
    from uuid import NAMESPACE_URL, uuid5

    return str(uuid5(NAMESPACE_URL, f"{BASE}{visit}/{name}"))


def _coded(system: str, code: str) -> dict[str, Any]:
    return {"coding": [{"system": system, "code": code}]}


def _label(entity: Entity) -> dict[str, Any]:
    return _coded(BASE + "label", entity["label"])


def _place(found: Any) -> list[dict[str, Any]]:
    """From where in the note, in characters."""
    return [
        {
            "url": BASE + "text-span",
            "extension": [
                {"url": "start", "valueUnsignedInt": found["start"]},
                {"url": "end", "valueUnsignedInt": found["end"]},
            ],
        }
    ]


def _concept(entity: Entity) -> dict[str, Any]:
    code = best_code(entity)
    found: dict[str, Any] = {"text": entity["text"]}
    if code is not None:
        system = code["system"]
        known = SYSTEMS["icd11"] if system.lower().startswith("icd-11") else None
        uri = known or (system if ":" in system else BASE + system)
        found["coding"] = [{"system": uri, "code": code["code"], "display": code["display"]}]
    elif entity["codes"]:
        found["coding"] = [{"system": BASE + "term", "display": concept(entity)}]
    return found


def _interpretation(entity: Entity) -> dict[str, Any]:
    notes = [
        f"{name}: {entity[name]}"
        for name, usual in (("certainty", "certain"), ("temporality", "current"))
        if entity[name] not in (None, usual)
    ]
    return {"note": [{"text": note} for note in notes]} if notes else {}


def _field_value(code: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    value, unit = found["value"], found.get("unit")
    if isinstance(value, bool):
        return {"valueBoolean": value}
    if isinstance(value, int | float):
        return {"valueQuantity": _quantity(value, unit)}
    if isinstance(value, list) and any(not isinstance(item, str) for item in value):
        ends = zip(("low", "high"), value, strict=False)
        return {"valueRange": {n: _quantity(x, unit) for n, x in ends if x is not None}}
    if isinstance(value, list) and len(value) > 1:
        return {"component": [{"code": code, "valueString": item} for item in value]}
    return {"valueString": value_text(value)} if value else {}


def _quantity(value: float, unit: str | None) -> dict[str, Any]:
    quantity: dict[str, Any] = {"value": value}
    if unit:
        quantity["unit"] = unit
        if unit in UNITS:
            quantity |= {"system": SYSTEMS["ucum"], "code": UNITS[unit]}
    return quantity


def _ingredient(herb: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {"itemCodeableConcept": {"text": herb["name"]}}
    if isinstance(herb["dose"], int | float):
        one = {"value": 1, "unit": "剂"}
        found["strength"] = {"numerator": _quantity(herb["dose"], herb["unit"]), "denominator": one}
    return found
