"""All graphs of a pipeline in INT8, within bounds on what the pipeline loses."""

import warnings

import numpy
import openvino
import pytest
import spacy
from openvino import opset13 as ops
from spacy.pipeline import Pipe
from spacy.scorer import get_ner_prf
from spacy.tokens import Doc, Span
from spacy.training import Example
from thinc.api import Model

from spacy_tcm.compress.quantise_pipeline import PipelineReport, find_graphs, quantise_pipeline
from spacy_tcm.errors import ModelError
from spacy_tcm.extensions import install_extensions
from spacy_tcm.models.graphs import get_graph, set_graph, wrap_graph

WIDTH = 64
TEXTS = [chr(0x4E00 + i) * 3 + chr(0x5E00 + 7 * i) * 2 for i in range(12)]


class Finder(Pipe):
    """An entity wherever the graph says more than 0 of a character's digits."""

    def __init__(self, nlp, name="finder"):
        install_extensions()
        self.name = name
        layer, empty = wrap_graph("finder"), wrap_graph("unused")
        self.model = Model("finder", _forward, layers=[layer, empty], refs={"segmenter": None})

    def __call__(self, doc: Doc) -> Doc:
        found = self.model.predict([digits(doc)])[0]
        doc.set_ents([Span(doc, i, i + 1, "X") for i in range(len(doc)) if found[i, 0] > 0])
        return doc

    def score(self, examples, **kwargs):
        return get_ner_prf(examples)


def _forward(model, inputs, is_train):
    return model.layers[0].predict(inputs), lambda d: inputs


def digits(doc):
    """(tokens, WIDTH): something of each character that a net can multiply."""
    codes = numpy.asarray([ord(token.text[0]) for token in doc])
    return numpy.sin(codes[:, None] * (1 + numpy.arange(WIDTH)) * 0.7).astype("f")


def make_graph(spread):
    """spread: how much wider one row of inputs is than the others; it then counts for nothing."""
    rng = numpy.random.default_rng(0)
    first = rng.normal(size=(WIDTH, WIDTH)).astype("f")
    second = rng.normal(size=(WIDTH, 8)).astype("f")
    first[:, 0] *= spread
    second[0] = 0
    x = ops.parameter([-1, WIDTH], numpy.float32)
    inner = ops.relu(ops.matmul(x, ops.constant(first), False, False))
    return openvino.Model([ops.matmul(inner, ops.constant(second), False, False)], [x])


def make_pipeline(spread):
    nlp = spacy.blank("tcm")
    spacy.Language.factory("finder_for_test", func=lambda nlp, name: Finder(nlp, name))
    nlp.add_pipe("finder_for_test", name="finder")
    set_graph(nlp.get_pipe("finder").model.layers[0], make_graph(spread))
    return nlp


def quantise_quietly(nlp, **settings):
    examples = [Example(nlp.make_doc(text), nlp(text)) for text in TEXTS]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return quantise_pipeline(nlp, TEXTS, [], validation=examples, **settings)


def test_within_bounds():
    nlp = make_pipeline(1)
    report = quantise_quietly(nlp, most_lost=0.2, most_changed=0.2)
    assert list(report.graphs) == ["finder.finder"]
    done = report.graphs["finder.finder"]
    assert done.samples == len(TEXTS)
    assert done.quantised
    assert report.before["ents_f"] == report.before["same_ents_f"] == 1
    assert report.after["ents_f"] >= 0.8
    graph = get_graph(find_graphs(nlp)["finder.finder"])
    kinds = {node.get_element_type() for node in graph.get_ops()}
    assert openvino.Type.i8 in kinds
    assert report.to_dict()["graphs"]["finder.finder"]["samples"] == len(TEXTS)


def test_what_would_break_the_bounds_stays():
    nlp = make_pipeline(1000)
    bare = quantise_quietly(make_pipeline(1000), most_lost=1.0, most_changed=1.0)
    assert bare.after["ents_f"] < 0.9, bare
    report = quantise_quietly(nlp, most_lost=0.05, most_changed=0.05)
    assert report.graphs["finder.finder"].kept
    assert report.after["ents_f"] >= 0.95


def test_skipped_graphs_stay():
    nlp = make_pipeline(1)
    before = nlp.get_pipe("finder").model.to_bytes()
    report = quantise_quietly(nlp, skip=["finder.finder"])
    assert isinstance(report, PipelineReport)
    assert report.graphs == {}
    assert nlp.get_pipe("finder").model.to_bytes() == before


def test_refused():
    nlp = make_pipeline(1)
    with pytest.raises(ModelError, match="E487"):
        quantise_pipeline(nlp, TEXTS, [], validation=[])
    with pytest.raises(ModelError, match="E486"):
        quantise_pipeline(spacy.blank("tcm"), TEXTS, [], validation=[None])
    examples = [Example(nlp.make_doc(TEXTS[0]), nlp(TEXTS[0]))]
    with pytest.raises(ModelError, match="E485"):
        quantise_pipeline(nlp, [], [], validation=examples)
