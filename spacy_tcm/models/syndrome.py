"""Findings of the four examinations -> pattern elements. Thinc only."""

from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy
from spacy.strings import get_string_id
from spacy.tokens import Doc, Span
from spacy.util import registry
from thinc.api import Model
from thinc.initializers import zero_init
from thinc.layers import Linear
from thinc.types import Floats2d

from spacy_tcm.models.syndrome_elements import SyndromeElements

# Never what names the answer: SYNDROME, PATHOGENESIS, PRINCIPLE, FORMULA, HERB.
FINDINGS = ("SYMPTOM", "SIGN", "TONGUE", "PULSE", "QUALITY")
FIELDS = ("舌象.", "脉象.")

# What a finding that the table of elements has counts more than any other: chosen on tune.
ELEMENT_AMOUNT = 4.0

Features = dict[str, float]


def read_findings(
    doc: Doc, elements: SyndromeElements, *, ents: Iterable[Span] | None = None, photo: bool = True
) -> Features:
    """What is found in the patient now, as names of features and how much of each.

    ents: instead of ``doc.ents``. photo: use ``doc._.tongue``, too.
    """
    found: Features = {}
    texts: dict[str | None, list[str]] = {}
    for ent in doc.ents if ents is None else ents:
        if ent.label_ in FINDINGS and _is_told(ent):
            text = ent.text
            own = ent.label_ if ent.label_ in ("TONGUE", "PULSE") else None
            found[f"text:{text}"] = 1.0
            for a, b in pairwise(text):
                found[f"{own}:{a}{b}"] = 0.5
            if own:
                for character in text:
                    found[f"{own}:{character}"] = 0.5
            texts.setdefault(own, []).append(text)
    for own, all_of in texts.items():
        joined = "\n".join(all_of)
        for element, scope, word in elements.findings:
            if scope == own and word in joined:
                found[f"element:{element}"] = found.get(f"element:{element}", 0.0) + ELEMENT_AMOUNT
    for name, field in doc._.fields.items():
        if name.startswith(FIELDS):
            value = field["value"]
            for one in value if isinstance(value, list | tuple) else [value]:
                found[f"{name}={one}"] = 1.0
    if photo and doc._.tongue["status"] == "ok":
        for name, attribute in doc._.tongue["attributes"].items():
            if not attribute.get("unfamiliar"):
                for value, probability in attribute["probabilities"].items():
                    found[f"photo:{name}={value}"] = probability
    return found


def _is_told(ent: Span) -> bool:
    """Of the patient, now, not denied; what no component has looked at is."""
    return (
        ent._.negation in (None, "present")
        and ent._.temporality in (None, "current")
        and ent._.experiencer in (None, "patient")
    )


def hash_findings(batch: Sequence[Features], width: int) -> Floats2d:
    """(documents, width), each row divided by the square root of the sum of its amounts."""
    rows = numpy.zeros((len(batch), width), dtype="float32")
    for row, features in zip(rows, batch, strict=True):
        for name, amount in features.items():
            row[get_string_id(name) % width] += amount
    return rows / numpy.sqrt(numpy.maximum(rows.sum(axis=1, keepdims=True), 1.0))


@registry.architectures("spacy_tcm.SyndromeClassifier.v1")
def build_syndrome_classifier(
    width: int = 2048, nO: int | None = None
) -> Model[Floats2d, Floats2d]:
    """Architecture ``spacy_tcm.SyndromeClassifier.v1``: a linear model over hashed findings.

    width: how many rows of weights findings are hashed to. nO: the number of elements.
    RETURNS: (documents, width) of :func:`hash_findings` -> (documents, elements) logits.
    """
    return Linear(nO, width, init_W=zero_init)
