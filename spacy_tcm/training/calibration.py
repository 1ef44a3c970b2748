"""Scores that mean what they say: of entities scored 0.8, four in five should be right.

One temperature divides all log-potentials of the CRF (Guo et al. 2017, for sequences); the entities
found stay the same. It is fitted on records held out of training.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy
from spacy.language import Language
from spacy.tokens import Doc

from spacy_tcm.errors import Errors, ModelError, Warnings
from spacy_tcm.pipeline.multimodal_ner import MultimodalNER, ScoredEntity
from spacy_tcm.training.evaluation import log_loss, make_docs, reliability
from spacy_tcm.training.validation import Record

# Temperatures tried, in equal ratios.
GRID = numpy.geomspace(0.5, 4.0, 43)
# A temperature fitted on fewer entities is reported as not reliable.
LEAST = 100


def calibrate(
    nlp: Language, records: Iterable[tuple[Record, Path | None]], *, name: str = "multimodal_ner"
) -> dict[str, Any]:
    """Set the temperature with the least log-loss of "this entity is right" on the records.

    records: as for `evaluate_records`; not those of training.
    RETURNS: temperature; before and after, of the same entities: see `reliability`; and warnings,
        the reasons why the temperature may not be reliable.
    RAISES ModelError: the pipeline has no such component or finds no entity, or the records have
        none annotated.
    """
    ner = nlp.get_pipe(name) if name in nlp.pipe_names else None
    if not isinstance(ner, MultimodalNER):
        raise ModelError(Errors.E442.format(name=name))
    records = list(records)
    if not any(record["entities"] for record, _ in records):
        raise ModelError(Errors.E445)
    pairs = list(nlp.pipe(make_docs(nlp, records), as_tuples=True))
    tried = [ner.temperature, *map(float, GRID)]
    entities = ner.predict_at([doc for doc, _ in pairs], tried)
    scored, right = score_entities(pairs, entities)
    if not right:
        raise ModelError(Errors.E443)
    before, *at_grid = (
        list(zip(scores, right, strict=True)) for scores in zip(*scored, strict=True)
    )
    best = int(numpy.argmin([log_loss(at) for at in at_grid]))
    ner.cfg["temperature"] = float(GRID[best])
    warnings = []
    if best in (0, len(GRID) - 1):
        warnings.append(Warnings.W403.format(temperature=ner.temperature))
    if len(right) < LEAST:
        warnings.append(Warnings.W404.format(count=len(right), least=LEAST))
    old, new = reliability(before), reliability(at_grid[best])
    if new["expected_calibration_error"] > old["expected_calibration_error"]:
        warnings.append(Warnings.W405)
    return {"temperature": ner.temperature, "before": old, "after": new, "warnings": warnings}


def score_entities(
    pairs: Iterable[tuple[Doc, Record]], entities: Iterable[list[ScoredEntity]]
) -> tuple[list[list[float]], list[bool]]:
    """Of each entity found whose label the record annotates: its scores, and whether start, end
    and label are right."""
    scored, right = [], []
    for (doc, record), found in zip(pairs, entities, strict=True):
        annotated = record.get("labels")
        gold = {tuple(entity) for entity in record["entities"]}
        for start, end, label, _, scores in found:
            if annotated is None or label in annotated:
                span = doc[start:end]
                scored.append(scores)
                right.append((span.start_char, span.end_char, label) in gold)
    return scored, right
