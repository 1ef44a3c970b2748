"""A memory budget changes no result, whatever the lengths, and loses no record."""

import numpy
import pytest
import spacy
from hypothesis import given, settings
from hypothesis import strategies as st
from thinc.api import Config

from spacy_tcm.batching import LEAST_AT_ONCE, Batcher, CostModel, Shape
from spacy_tcm.errors import ModelError
from spacy_tcm.language import set_memory_budget
from spacy_tcm.models.weights import get_module

from .conftest import COLOURS, NER, make_blank, make_examples, photo

TEXT = "患者便血3天，色鲜红，舌淡红，苔薄白。脉弦细数，口干。\n" * 300


COST = CostModel(linear=1e4, kept=1e4)  # a character


class StillMeter:
    def now(self):
        return 0

    peak = now

    def restart(self):
        pass

    settle = restart


def make_batcher(characters, lookahead):
    batcher = Batcher(int(characters * 1e4 / 0.9) + 1, lookahead, StillMeter())
    batcher.cost = COST
    return batcher


@pytest.fixture
def bounded(trained):
    """The trained pipeline with room for so many characters at once."""

    def bound(characters, lookahead=1000):
        batcher = make_batcher(characters, lookahead)
        trained._batcher = batcher
        return trained

    yield bound
    trained._batcher = None


def results(docs):
    return [
        (
            doc.text,
            [(e.start, e.end, e.label_) for e in doc.ents],
            [e._.score for e in doc.ents],
            doc._.tongue["attributes"],
        )
        for doc in docs
    ]


def make_docs(nlp, shapes):
    photos = {colour: photo(colour) for colour in COLOURS}
    docs = []
    for start, length, colour in shapes:
        docs.append(nlp.make_doc(TEXT[start : start + length]))
        docs[-1]._.tongue_image = photos.get(colour)
    return docs


def assert_same(found, wanted):
    assert len(found) == len(wanted)
    for one, two in zip(found, wanted, strict=True):
        assert one[:2] == two[:2]
        assert one[2] == pytest.approx(two[2], abs=1e-5)
        assert one[3].keys() == two[3].keys()
        for name, told in one[3].items():
            for value, p in told["probabilities"].items():
                assert p == pytest.approx(two[3][name]["probabilities"][value], abs=1e-5)


shape = st.tuples(
    st.integers(0, 30),
    st.one_of(st.integers(0, 60), st.sampled_from([500, 2300])),
    st.sampled_from([None, *COLOURS]),
)


@settings(max_examples=6)
@given(st.lists(shape, max_size=6), st.integers(100, 3000), st.integers(1, 12))
def test_results_are_the_same_for_any_lengths(trained, shapes, room, lookahead):
    wanted = results(trained.pipe(make_docs(trained, shapes), batch_size=1))
    batcher = make_batcher(room, lookahead)
    try:
        trained._batcher = batcher
        found = results(trained.pipe(make_docs(trained, shapes)))
    finally:
        trained._batcher = None
    assert_same(found, wanted)
    assert batcher.counters.records == len(shapes)
    assert batcher.counters.longest == max([len(doc[0]) for doc in found], default=0)


def test_memory_that_runs_out_loses_nothing(trained, bounded, monkeypatch):
    shapes = [(0, 30, "dark"), (3, 40, None), (5, 2500, "dark"), (0, 35, "regular")]
    wanted = results(trained.pipe(make_docs(trained, shapes)))
    nlp = bounded(10_000)
    ner = nlp.get_pipe("multimodal_ner")
    predict = type(ner).predict

    def overflow(self, docs):
        docs = list(docs)
        if len(docs) > 1:
            raise MemoryError
        return predict(self, docs)

    monkeypatch.setattr(type(ner), "predict", overflow)
    swallowed = []
    nlp.set_error_handler(lambda *args: swallowed.append(args))
    try:
        assert_same(results(nlp.pipe(make_docs(nlp, shapes))), wanted)
    finally:
        nlp.set_error_handler(spacy.util.raise_error)
    assert not swallowed
    assert nlp._batcher.counters.splits > 0


def test_tuples_single_records_and_order(trained, bounded):
    shapes = [(i % 7, 10 + 90 * (i % 4), None) for i in range(12)]
    wanted = results(trained.pipe(make_docs(trained, shapes)))
    nlp = bounded(400, lookahead=5)
    pairs = list(nlp.pipe(zip(make_docs(nlp, shapes), range(12), strict=True), as_tuples=True))
    assert [i for _, i in pairs] == list(range(12))
    assert_same(results(doc for doc, _ in pairs), wanted)
    assert_same(results([nlp(doc) for doc in make_docs(nlp, shapes)]), wanted)
    assert nlp._batcher.counters.records == 24


def test_a_failing_component_fails_its_own_records_only(bounded):
    nlp = bounded(100)
    ner = nlp.get_pipe("multimodal_ner")
    texts = ["口干" * 5, "坏" * 40, "便血3天"]
    failed = []

    def predict(docs):
        if any("坏" in doc.text for doc in docs):
            raise ValueError("no good")
        return [[] for _ in docs]

    ner.predict = predict
    nlp.set_error_handler(lambda name, proc, docs, error: failed.append(name))
    try:
        assert [doc.text for doc in nlp.pipe(texts, batch_size=1)][-1] == texts[2]
    finally:
        del ner.predict
        nlp.set_error_handler(spacy.util.raise_error)
    assert failed == ["multimodal_ner"]


def test_measures_itself(trained):
    try:
        set_memory_budget(trained, "64GB")
        counters = trained.fit_memory_budget()
        assert counters.batches == 0
        docs = list(trained.pipe(make_docs(trained, [(0, 20, "dark"), (2, 20, None)])))
        assert [len(doc.text) for doc in docs] == [20, 20]
        assert (counters.records, counters.budget_bytes) == (2, 64 * 10**9)
        set_memory_budget(trained, "1MB")
        with pytest.raises(ModelError, match="E525"):
            list(trained.pipe(["口干"]))
    finally:
        set_memory_budget(trained, None)
    assert trained.fit_memory_budget() is None


def test_one_process_only(bounded):
    with pytest.raises(ModelError, match="E526"):
        list(bounded(100).pipe(["口干"], n_process=2))


def test_other_languages_have_no_budget():
    with pytest.raises(ModelError, match="E529"):
        set_memory_budget(spacy.blank("zh"), "1GB")
    with pytest.raises(ModelError, match="E529"):
        spacy.blank("zh").add_pipe("multimodal_ner", config={"memory_budget": "1GB"})


def test_a_budget_in_the_config_is_kept(tmp_path):
    nlp = spacy.blank("tcm")
    with pytest.raises(ModelError, match="E527"):
        nlp.add_pipe("multimodal_ner", config={"memory_budget": "much"})
    config = {"memory_budget": "64GB", "model": {**NER, "tongue": None}}
    nlp.add_pipe("multimodal_ner", config=config)
    nlp.initialize(lambda: make_examples(nlp))
    nlp.to_disk(tmp_path)
    again = spacy.load(tmp_path)
    saved = Config().from_disk(tmp_path / "config.cfg")
    assert saved["components"]["multimodal_ner"]["memory_budget"] == "64GB"
    assert again.get_pipe("multimodal_ner").cfg["memory_budget"] == "64GB"
    assert again.fit_memory_budget().budget_bytes == 64 * 10**9


def gradients(nlp, examples):
    """All gradients of one update, by component and parameter."""
    losses = {}
    nlp.update(examples, sgd=False, drop=0.0, losses=losses)
    found = {}
    for name, pipe in nlp.pipeline:
        for number, node in enumerate(pipe.model.walk()):
            for key in node.grad_names:
                found[name, number, key] = node.get_grad(key).copy()
            if node.shims:
                for key, parameter in get_module(node).named_parameters():
                    if parameter.grad is not None:
                        found[name, number, key] = parameter.grad.numpy().copy()
                get_module(node).zero_grad()
            if node.grad_names:
                for key in node.grad_names:
                    node.set_grad(key, numpy.zeros_like(node.get_grad(key)))
    return found, losses


def one_at_a_time():
    batcher = Batcher(1000, meter=StillMeter())
    batcher._updates = [(Shape(1, 1, at_once=10**9), 10.0**9)]
    return batcher


def test_parts_have_the_gradient_of_the_whole(monkeypatch):
    nlp = make_blank()
    nlp.get_pipe("tongue_encoder").model.attrs["trunk"]["freeze_norm"] = True
    examples = make_examples(nlp)
    nlp.initialize(lambda: examples)
    # What a batch norm makes of a part depends on the part.
    for head in get_module(nlp.get_pipe("tongue_encoder").model.layers[0]).heads.children():
        monkeypatch.setattr(head, "forward", lambda x, head=head: head.score(x))
    whole, loss = gradients(nlp, examples)
    again, _ = gradients(nlp, examples)
    nlp._batcher = batcher = one_at_a_time()
    parts, sum_of_losses = gradients(nlp, examples)
    assert batcher.counters.batches == len(examples)
    assert parts.keys() == whole.keys()
    assert any(name == "tongue_encoder" for name, *_ in whole)
    for key, gradient in whole.items():
        assert numpy.abs(parts[key] - gradient).max() < 1e-6 * max(1, numpy.abs(gradient).max()), (
            key
        )
        assert numpy.abs(again[key] - gradient).max() < 1e-6 * max(1, numpy.abs(gradient).max())
    assert sum_of_losses == pytest.approx(loss, rel=1e-5)


def test_an_update_in_parts_steps_once_and_learns():
    nlp = make_blank(tongue=False)
    examples = make_examples(nlp)
    optimizer = nlp.initialize(lambda: examples)
    optimizer.learn_rate = 0.01
    nlp._batcher = batcher = one_at_a_time()
    losses = [nlp.update(examples, sgd=optimizer)["multimodal_ner"] for _ in range(10)]
    assert losses[-1] < losses[0]
    assert batcher.counters.batches == 10 * len(examples)
    assert LEAST_AT_ONCE > batcher.counters.longest > 0
