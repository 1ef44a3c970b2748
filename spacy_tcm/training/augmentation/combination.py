"""``spacy_tcm.augment.v1``: several augmenters as one."""

from random import Random
from typing import Any

from spacy_tcm.errors import Errors, RecordError
from spacy_tcm.training.augmentation.edits import Augmenter, check_share, replace_text
from spacy_tcm.training.validation import Record


def create_augment(
    # Any, not Augmenter: confection compares types while nested blocks are still dicts.
    steps: dict[str, Any],
    chances: dict[str, float] | None = None,
) -> Augmenter:
    """``spacy_tcm.augment.v1``: augmenters one after the other, each with its own chance.

    steps: a name of your own -> an augmenter, in the order in which they are applied.
    chances: name -> how probable the step is taken for a record, from 0 to 1; 1 if not named.
    RAISES RecordError: a step is no augmenter, or a chance is out of range or of no step.
    """
    chances = chances or {}
    for name, step in steps.items():
        if not callable(step):
            raise RecordError(Errors.E366.format(name=name))
    if unknown := sorted(chances.keys() - steps.keys()):
        raise RecordError(Errors.E365.format(unknown=", ".join(unknown), steps=", ".join(steps)))
    for name, chance in chances.items():
        check_share(f"chances.{name}", chance)

    def augment(record: Record, rng: Random) -> Record:
        record = replace_text(record, [])  # a copy, also where no step is taken
        for name, step in steps.items():
            if rng.random() < chances.get(name, 1.0):
                record = step(record, rng)
        return record

    return augment
