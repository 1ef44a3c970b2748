"""Where each token stands in the lexicon terms around it."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy
from spacy.attrs import IDX, LENGTH
from spacy.tokens import Doc
from thinc.api import Model
from thinc.types import Floats2d

from spacy_tcm.errors import Warnings, warn_once

# Begin, middle, end of a matched term, or a term of one token.
POSITIONS = "BMES"


def lexicon_features(
    doc: Doc, categories: Sequence[str], *, keep: numpy.ndarray | None = None
) -> Floats2d:
    """B/M/E/S of the terms in ``doc._.lexicon_matches``, by category.

    keep: (matches,) bool, which matches to use; all if None.
    RETURNS: (tokens, 4 * categories) of 0 and 1. A match that begins or ends inside a token has
        no place in it and is left out.
    """
    features: Any = numpy.zeros((len(doc), len(POSITIONS) * len(categories)), dtype="f")
    matches = doc._.lexicon_matches
    if matches is None and categories and len(doc):
        warn_once(Warnings.W401)
    if not matches or not categories:
        return features
    column = {category: len(POSITIONS) * i for i, category in enumerate(categories)}
    idx, length = doc.to_array([IDX, LENGTH]).astype("int64").T
    starts = {start: i for i, start in enumerate(idx.tolist())}
    ends = {end: i for i, end in enumerate((idx + length).tolist())}
    for i, (start, end, category) in enumerate(matches):
        first, last, at = starts.get(start), ends.get(end), column.get(category)
        if first is None or last is None or at is None or (keep is not None and not keep[i]):
            continue
        if first == last:
            features[first, at + 3] = 1.0
        else:
            features[first, at] = 1.0
            features[first + 1 : last, at + 1] = 1.0
            features[last, at + 2] = 1.0
    return features


def LexiconFeatures(
    categories: Sequence[str], dropout: float = 0.0
) -> Model[list[Doc], list[Floats2d]]:
    """Thinc layer of :func:`lexicon_features`.

    dropout: in training, the share of matches left out, so that terms the lexicon does not have
        are still found by their characters.
    """
    return Model(
        "lexicon_features",
        partial(_forward, tuple(categories)),
        dims={"nO": len(POSITIONS) * len(categories)},
        attrs={"lexicon_dropout": dropout},
    )


def _forward(categories, model: Model, docs: list[Doc], is_train: bool):
    rate = model.attrs["lexicon_dropout"] if is_train else 0.0
    out = []
    for doc in docs:
        keep = None
        if rate:
            keep = numpy.random.uniform(size=len(doc._.lexicon_matches or ())) >= rate
        out.append(model.ops.asarray(lexicon_features(doc, categories, keep=keep)))
    return out, lambda d_out: docs
