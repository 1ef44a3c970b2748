"""Every graph of a deployed pipeline in INT8, as far as the pipeline stays as good as it is."""

import contextlib
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy
import openvino
from numpy.typing import NDArray
from spacy.language import Language
from spacy.scorer import Scorer
from spacy.tokens import Doc
from spacy.training import Example
from thinc.api import Model

from spacy_tcm.compress.quantise import Report, quantise, run_graph
from spacy_tcm.errors import Errors, ModelError, Warnings
from spacy_tcm.models.graphs import GraphShim, get_graph, set_graph

LEAST = 256  # rows of inputs (windows of texts, photos) that a graph should be calibrated on
_MEASURES = ("ents_f", "tongue_acc")
_THRESHOLD = 0.5  # of the probability that a pixel is of the tongue

Measures = dict[str, float]


@dataclass(frozen=True)
class PipelineReport:
    """graphs: component and layer -> what was done. before, after: ``ents_f`` and ``tongue_acc``
    on the annotation (only where there is some); ``same_ents_f``, ``same_tongue_acc`` and
    ``same_masks`` (mean intersection over union) on what the fp32 pipeline says. records, photos:
    calibrated on."""

    graphs: dict[str, Report]
    before: Measures
    after: Measures
    records: int
    photos: int

    to_dict = asdict


def quantise_pipeline(
    nlp: Language,
    records: Sequence[str],
    photos: Sequence[Any],
    *,
    validation: Sequence[Example],
    most_lost: float = 0.003,
    most_changed: float = 0.02,
    skip: Sequence[str] = (),
    verbose: bool = False,
) -> PipelineReport:
    """Quantise the graphs of a deployed pipeline in place, the slowest first.

    records, photos: what the graphs are calibrated on, real texts and tongue photos as in
        ``doc._.tongue_image``.
    validation: references with entities, photos and ``tongue_labels`` as far as they are known.
    most_lost: of each measure on the annotation. most_changed: of each on what the fp32 pipeline
        says. All graphs together stay within both; layers that would break it stay in fp32.
    skip: names of graphs to leave as they are.
    RAISES ModelError: there are no graphs, no validation records, or a graph is never called.
    """
    layers = find_graphs(nlp)
    if not layers:
        raise ModelError(Errors.E486)
    if not validation:
        raise ModelError(Errors.E487)
    with _recorded(layers) as calls:
        for _ in nlp.pipe(_pair(nlp, records, photos)):
            pass
    for name in layers.keys() - set(skip):
        rows = sum(len(sample[0]) for sample in calls[name].inputs)
        if not rows:
            raise ModelError(Errors.E485.format(name=name))
        if rows < LEAST:
            message = Warnings.W478.format(name=name, count=rows, least=LEAST)
            warnings.warn(message, stacklevel=2)
    judge = _Judge(nlp, validation)
    before = judge.measure()
    bounds = {name: most_changed if name.startswith("same_") else most_lost for name in before}

    def excess(found: Measures) -> float:
        """By how much the most is lost too much; 0 within the bounds."""
        return max(0.0, *(before[name] - found[name] - bounds[name] for name in before))

    reports = {}
    for name in sorted(layers, key=lambda name: -calls[name].seconds):
        if name in skip:
            continue
        layer = layers[name]
        graph = get_graph(layer)

        def score(candidate: openvino.Model, layer: Model = layer) -> float:
            set_graph(layer, candidate)
            return -excess(judge.measure())

        made, reports[name] = quantise(
            graph,
            calls[name].inputs,
            score=score,
            most_lost=0.0,
            transformer=_attends(graph),
            verbose=verbose,
        )
        set_graph(layer, made)
    return PipelineReport(reports, before, judge.measure(), len(records), len(photos))


def find_graphs(nlp: Language) -> dict[str, Model]:
    """``component.layer`` -> the layer, for every graph of a deployed pipeline, once each."""
    found: dict[int, tuple[str, Model]] = {}
    for component, pipe in nlp.pipeline:
        model = getattr(pipe, "model", None)
        if isinstance(model, Model):
            for node in model.walk():
                if any(isinstance(shim, GraphShim) and shim.xml for shim in node.shims):
                    found.setdefault(node.id, (f"{component}.{node.name}", node))
    return dict(found.values())


class _Calls:
    """What a graph was called with, what it answered, and how long it took."""

    def __init__(self) -> None:
        self.inputs: list[list[NDArray]] = []
        self.outputs: list[list[NDArray]] = []
        self.seconds = 0.0


@contextlib.contextmanager
def _recorded(layers: dict[str, Model]) -> Iterator[dict[str, _Calls]]:
    """Meanwhile, notes the calls of each graph."""
    calls = {name: _Calls() for name in layers}

    def recording(predict: Any, noted: _Calls) -> Any:
        def record(inputs: Sequence[NDArray]) -> list[NDArray]:
            start = time.perf_counter()
            outputs = predict(inputs)
            noted.seconds += time.perf_counter() - start
            noted.inputs.append([numpy.array(array) for array in inputs])
            noted.outputs.append(outputs)
            return outputs

        return record

    shims: list[Any] = [layer.shims[0] for layer in layers.values()]
    try:
        for shim, noted in zip(shims, calls.values(), strict=True):
            shim.predict = recording(shim.predict, noted)
        yield calls
    finally:
        for shim in shims:
            shim.__dict__.pop("predict", None)


def _pair(nlp: Language, records: Sequence[str], photos: Sequence[Any]) -> Iterator[Doc]:
    """Docs until every text and every photo has come."""
    for i in range(max(len(records), len(photos))):
        doc = nlp.make_doc(records[i % len(records)] if records else "")
        if i < len(photos):
            doc._.tongue_image = photos[i]
        yield doc


class _Judge:
    """Scores a pipeline on annotation and on what it said when the judge was made."""

    def __init__(self, nlp: Language, validation: Sequence[Example]):
        self.nlp, self.validation = nlp, validation
        self.segmenter = _segmenter(nlp)
        layers = {} if self.segmenter is None else {"segmenter": self.segmenter}
        with _recorded(layers) as calls:
            self.said = self._predict()
        for doc in self.said:
            attributes = (doc._.tongue or {}).get("attributes", {})
            doc._.tongue_labels = {name: one["value"] for name, one in attributes.items()}
        self.seen = calls["segmenter"] if layers else _Calls()

    def _predict(self) -> list[Doc]:
        docs = []
        for example in self.validation:
            doc = self.nlp.make_doc(example.reference.text)
            doc._.tongue_image = example.reference._.tongue_image
            docs.append(doc)
        return list(self.nlp.pipe(docs))

    def measure(self) -> Measures:
        docs = self._predict()
        found = self._score(docs, [example.reference for example in self.validation])
        same = self._score(docs, self.said)
        found |= {f"same_{name}": value for name, value in same.items()}
        if self.seen.inputs:
            found["same_masks"] = self._same_masks()
        return found

    def _score(self, docs: list[Doc], references: list[Doc]) -> Measures:
        examples = [
            Example(doc, reference) for doc, reference in zip(docs, references, strict=True)
        ]
        scores = Scorer(self.nlp).score(examples)
        return {name: scores[name] for name in _MEASURES if scores.get(name) is not None}

    def _same_masks(self) -> float:
        """Of the photos that the segmenter was given at first."""
        assert self.segmenter is not None
        found = run_graph(get_graph(self.segmenter), self.seen.inputs)
        shares = []
        for now, then in zip(found, self.seen.outputs, strict=True):
            for a, b in zip(now[0] > _THRESHOLD, then[0] > _THRESHOLD, strict=True):
                union = (a | b).sum()
                shares.append((a & b).sum() / union if union else 1.0)
        return float(numpy.mean(shares))


def _segmenter(nlp: Language) -> Model | None:
    """The layer of the graph that finds the tongue."""
    for _, pipe in nlp.pipeline:
        model = getattr(pipe, "model", None)
        if isinstance(model, Model):
            segmenter = model.maybe_get_ref("segmenter")
            if segmenter is not None:
                return segmenter.maybe_get_ref("net")
    return None


def _attends(graph: openvino.Model) -> bool:
    kinds = {node.get_type_name() for node in graph.get_ops()}
    return bool(kinds & {"ScaledDotProductAttention", "Softmax"})
