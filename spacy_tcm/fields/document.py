"""From a Doc to its fields: what the context says of the entities, and all readers together."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from spacy.tokens import Doc, Span

from spacy_tcm.fields.course import read_course
from spacy_tcm.fields.pulse import PulseGrammar
from spacy_tcm.fields.reader import read_field
from spacy_tcm.fields.scene import Cues, Place, Scene

# Between two pulse entities so far apart lies another mention.
_FAR = 40
# How much is left of the confidence when the words are vague, and by how the value was found.
_FUZZY = 0.8
_BY_RULE = {"onset": 0.8, "disease": 0.7, "first": 0.5, "unit": 0.9}
_SHADES = re.compile(r"(?P<base>淡红|淡白|红)(?P<modifier>[偏略稍微带](?P<hue>[暗紫红白淡]))")
_OTHER_COLOUR = {
    ("淡红", "暗"): "暗红",
    ("淡红", "紫"): "淡紫",
    ("淡红", "红"): "红",
    ("淡红", "白"): "淡白",
    ("淡红", "淡"): "淡白",
    ("红", "暗"): "暗红",
    ("淡白", "紫"): "淡紫",
}


def is_told(ent: Span) -> bool:
    """Whether the entity holds for the patient now, as far as `tcm_context` has said."""
    return (
        _context(ent, "negation") in (None, "present")
        and _context(ent, "temporality") in (None, "current")
        and _context(ent, "experiencer") in (None, "patient")
    )


def read_fields(
    doc: Doc,
    scene: Scene,
    definitions: Sequence[Mapping[str, Any]],
    of_tongue: Mapping[str, Mapping[str, Any]],
    pulse: PulseGrammar,
) -> dict[str, dict[str, Any]]:
    """All fields that the text tells, in the order of the definitions. of_tongue: those of the
    tongue, from text and photo."""
    scores = {(ent.start_char, ent.end_char): _context(ent, "score") for ent in doc.ents}
    department = doc._.department if Doc.has_extension("department") else None
    text = doc.text  # spaCy joins it anew each time
    found: dict[str, dict[str, Any]] = {}
    for field in definitions:
        if department and field.get("departments") and department not in field["departments"]:
            continue
        grammar = field.get("grammar")
        if grammar == "tongue":
            finding = of_tongue.get(field["id"])
            if finding and finding["start"] is not None:
                finding = {
                    **finding,
                    **_shade(finding["evidence"], finding["value"]),
                    "rule": "tongue",
                }
        elif grammar == "pulse":
            finding = read_pulse(scene, pulse)
        elif grammar == "course":
            finding = read_course(field, scene)
        else:
            finding = read_field(field, scene)
        if finding is not None:
            found[field["id"]] = _complete(finding, text, scores)
    return found


def _shade(evidence: str, values: Sequence[str]) -> dict[str, Any]:
    """舌淡红偏暗 is 淡红, and may be 暗红."""
    for match in _SHADES.finditer(evidence.replace("黯", "暗")):
        other = _OTHER_COLOUR.get((match["base"], match["hue"]))
        if match["base"] in values and other:
            return {"fuzzy": True, "modifier": match["modifier"], "candidates": [*values, other]}
    return {}


def make_scene(doc: Doc, cues: Cues) -> Scene:
    entities = [(e.start_char, e.end_char, e.label_) for e in doc.ents]
    negations = {
        (e.start_char, e.end_char): value
        for e in doc.ents
        if (value := _context(e, "negation")) is not None
    }
    elsewhere = [
        (e.start_char, e.end_char)
        for e in doc.ents
        if _context(e, "temporality") in ("past", "future")
        or _context(e, "experiencer") == "family"
    ]
    sections = doc._.sections if Doc.has_extension("sections") else []
    return Scene(cues, cues.normalise(doc.text), entities, sections or [], negations, elsewhere)


def read_pulse(scene: Scene, grammar: PulseGrammar) -> dict[str, Any] | None:
    """Of the last mention that is neither past nor a discussion."""
    groups: list[list[tuple[int, int]]] = []
    places: list[Place] = []
    for start, end, label in scene.entities:
        if label != "PULSE":
            continue
        place = scene.place(start)
        near = groups and start - groups[-1][-1][1] <= _FAR and places[-1][:3] == place[:3]
        if near:
            groups[-1].append((start, end))
        else:
            groups.append([(start, end)])
            places.append(place)
    told = []
    for group, place in zip(groups, places, strict=True):
        finding = grammar.read(group, scene.text)
        if finding is not None and not place.outside:
            told.append(((place.visit == scene.current, not place.aside, group[0][0]), finding))
    if not told:
        return None
    finding = max(told, key=lambda pair: pair[0])[1]
    return {**finding, "source": "text", "rule": "pulse"}


def _complete(
    finding: Mapping[str, Any], text: str, scores: Mapping[tuple[int, int], float | None]
) -> dict[str, Any]:
    """With raw text, vagueness and confidence. The evidence reads as the text does."""
    found = dict(finding)
    start, end = found.get("start"), found.get("end")
    if start is None or end is None:
        return found
    found["evidence"] = text[start:end]
    found.setdefault("raw", found["evidence"])
    found.setdefault("fuzzy", False)
    inside = [s for (a, b), s in scores.items() if s is not None and a < end and start < b]
    confidence = min(inside, default=1.0) * _BY_RULE.get(found.get("rule", ""), 1.0)
    found["confidence"] = round(confidence * (_FUZZY if found["fuzzy"] else 1.0), 4)
    return found


def _context(span: Span, name: str) -> Any:
    return getattr(span._, name) if Span.has_extension(name) else None
