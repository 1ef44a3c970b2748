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

from spacy_tcm.errors import Errors, ModelError
from spacy_tcm.pipeline.multimodal_ner import MultimodalNER
from spacy_tcm.training.evaluation import log_loss, make_docs, reliability
from spacy_tcm.training.validation import Record

# Temperatures tried, in equal ratios.
GRID = numpy.geomspace(0.5, 4.0, 43)


def calibrate(
    nlp: Language, records: Iterable[tuple[Record, Path | None]], *, name: str = "multimodal_ner"
) -> dict[str, Any]:
    """Set the temperature with the least log-loss of "this entity is right" on the records.

    records: as for `evaluate_records`; not those of training.
    RETURNS: temperature; and before and after, of the same entities: see `reliability`.
    RAISES ModelError: the pipeline has no such component, or finds no entity.
    """
    ner = nlp.get_pipe(name) if name in nlp.pipe_names else None
    if not isinstance(ner, MultimodalNER):
        raise ModelError(Errors.E442.format(name=name))
    docs = list(nlp.pipe(make_docs(nlp, records), as_tuples=True))
    before = score_pairs(docs)
    if not before:
        raise ModelError(Errors.E443)

    def score_at(temperature: float) -> list[tuple[float, bool]]:
        ner.cfg["temperature"] = float(temperature)
        found = [doc for doc, _ in docs]
        ner.set_annotations(found, ner.predict(found))
        return score_pairs(docs)

    losses = [log_loss(score_at(temperature)) for temperature in GRID]
    after = score_at(GRID[int(numpy.argmin(losses))])
    return {
        "temperature": ner.temperature,
        "before": reliability(before),
        "after": reliability(after),
    }


def score_pairs(docs: Iterable[tuple[Doc, Record]]) -> list[tuple[float, bool]]:
    """(score, whether start, end and label are right) of each entity that docs have."""
    pairs = []
    for doc, record in docs:
        annotated = record.get("labels")
        gold = {tuple(entity) for entity in record["entities"]}
        for ent in doc.ents:
            if ent._.score is not None and (annotated is None or ent.label_ in annotated):
                right = (ent.start_char, ent.end_char, ent.label_) in gold
                pairs.append((ent._.score, right))
    return pairs
