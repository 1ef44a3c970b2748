"""``spacy_tcm.MixedCorpus.v1``: several corpora trained on together."""

import random
from collections.abc import Callable, Iterator
from typing import Any

from spacy.language import Language
from spacy.training import Example

from spacy_tcm.errors import Errors, RecordError

Reader = Callable[[Language], Iterator[Example]]


def create_mixed_corpus(corpora: dict[str, Any], seed: int = 0) -> "MixedCorpus":
    """``spacy_tcm.MixedCorpus.v1`` for ``[corpora]``.

    corpora: name -> reader, such as ``spacy_tcm.RecordCorpus.v1`` with a label map and weight of
        its own; null leaves one out.
    """
    return MixedCorpus(corpora, seed)


class MixedCorpus:
    """Each call is one pass over all corpora, in an order of its own.

    For ``max_epochs = -1``, where spaCy makes a pass for each epoch and does not shuffle it.
    RAISES RecordError: no reader gives an Example.
    """

    def __init__(self, corpora: dict[str, Reader], seed: int = 0):
        self.corpora = {name: reader for name, reader in corpora.items() if reader is not None}
        if not self.corpora:
            raise RecordError(Errors.E350)
        self._random = random.Random(seed)

    def __call__(self, nlp: Language) -> Iterator[Example]:
        examples = [example for reader in self.corpora.values() for example in reader(nlp)]
        if not examples:
            raise RecordError(Errors.E353)
        self._random.shuffle(examples)
        yield from examples
