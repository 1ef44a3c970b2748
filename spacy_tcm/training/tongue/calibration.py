"""Probabilities of photo attributes that mean what they say, and when to abstain.

One temperature for each attribute divides its scores (Guo et al. 2017). Then, of the photos held
out, the bound of an attribute is the least probability at which those at least as probable are, by
their probabilities, right as often as the target says. Colours are abstained from, too, where a
photo's are further from those learned from than of any photo held out.
"""

import warnings
from collections.abc import Iterable
from typing import Any

import numpy
from numpy.typing import NDArray
from spacy.language import Language
from spacy.training import Example

from spacy_tcm.errors import Errors, ModelError, Warnings
from spacy_tcm.models.tongue import colour_distance
from spacy_tcm.pipeline.tongue_encoder import TongueEncoder, softmax
from spacy_tcm.training.evaluation import reliability

# Temperatures tried, in equal ratios.
GRID = numpy.geomspace(0.25, 8.0, 61)
BATCH = 32  # photos at a time
LEAST = 20  # photos with a label that a temperature is fitted on
NEVER = 1.01  # as a bound: abstain always


def calibrate_tongue(
    nlp: Language,
    examples: Iterable[Example],
    *,
    target: float = 0.9,
    name: str = "tongue_encoder",
) -> dict[str, dict[str, Any]]:
    """Set temperature and bound of each attribute that enough of the examples label.

    examples: photos with ``reference._.tongue_labels``, not those of training. target: accuracy
        wanted of what is told without abstaining, above 0 and below 1.
    RETURNS: attribute -> photos, temperature, bound, coverage (share not abstained), and
        calibration_error before and after, all of these examples.
    RAISES ModelError: there is no such component, nothing can be fitted, or target is impossible.
    """
    encoder = nlp.get_pipe(name) if name in nlp.pipe_names else None
    if not isinstance(encoder, TongueEncoder):
        raise ModelError(Errors.E446.format(name=name))
    if not 0 < target < 1:
        raise ModelError(Errors.E448.format(name=name, value=target))
    scores, labels, distances = _read_scores(encoder, list(examples))
    found, few = {}, {}
    for attribute, part in encoder.parts():
        values = encoder.attributes[attribute]
        rows = [i for i, known in enumerate(labels) if known.get(attribute) in values]
        if len(rows) < LEAST:
            few[attribute] = len(rows)
            continue
        told = scores[rows, part]
        gold = numpy.array([values.index(labels[i][attribute]) for i in rows])
        before = _error(told, gold, encoder.temperatures.get(attribute, 1.0))
        temperature = float(GRID[numpy.argmin([_log_loss(told, gold, t) for t in GRID])])
        best = numpy.array([softmax(row / temperature).max() for row in told])
        bound = find_bound(best, target)
        encoder.temperatures[attribute] = temperature
        encoder.bounds[attribute] = bound
        found[attribute] = {
            "photos": len(rows),
            "temperature": temperature,
            "bound": bound,
            "coverage": float((best >= bound).mean()),
            "calibration_error": {"before": before, "after": _error(told, gold, temperature)},
        }
    if not found:
        known = "; ".join(f"{n}: {', '.join(values)}" for n, values in encoder.attributes.items())
        raise ModelError(Errors.E447.format(known=known, least=LEAST))
    encoder.cfg["most_distant"] = max(distances)
    for attribute, count in few.items():
        warnings.warn(Warnings.W406.format(name=attribute, count=count, least=LEAST), stacklevel=2)
    return found


def find_bound(best: NDArray[numpy.float64], target: float) -> float:
    """The least of the probabilities such that the mean of all at least as large is the target or
    more; `NEVER` if there is none."""
    ordered = numpy.sort(best)[::-1]
    means = numpy.cumsum(ordered) / numpy.arange(1, len(ordered) + 1)
    enough = numpy.flatnonzero(means >= target)
    return float(ordered[enough[-1]]) if len(enough) else NEVER


def _read_scores(
    encoder: TongueEncoder, examples: list[Example]
) -> tuple[NDArray[numpy.float32], list[dict[str, str]], list[float]]:
    """Scores (photos, values), labels and colour distances of the photos that can be used."""
    scores, labels, distances = [], [], []
    for start in range(0, len(examples), BATCH):
        some = examples[start : start + BATCH]
        features = encoder.predict([example.predicted for example in some])
        for i in numpy.flatnonzero(features.present):
            scores.append(encoder.model.ops.to_numpy(features.scores)[i])
            labels.append(some[i].reference._.tongue_labels or {})
            distances.append(colour_distance(encoder.model, features.photos[int(i)]))
    width = sum(map(len, encoder.attributes.values()))
    return numpy.array(scores, dtype="float32").reshape(-1, width), labels, distances


def _log_loss(scores: NDArray, gold: NDArray[numpy.int64], temperature: float) -> float:
    p = numpy.array([softmax(row / temperature)[k] for row, k in zip(scores, gold, strict=True)])
    return float(-numpy.log(p + 1e-12).mean())


def _error(scores: NDArray, gold: NDArray[numpy.int64], temperature: float) -> float:
    p = numpy.array([softmax(row / temperature) for row in scores])
    right = p.argmax(1) == gold
    pairs = list(zip(map(float, p.max(1)), map(bool, right), strict=True))
    return reliability(pairs)["expected_calibration_error"]
