import random

import numpy
import pytest
import spacy
import srsly
import torch
from spacy.tokens import Doc, Span
from spacy.training import Example
from spacy.util import fix_random_seed, minibatch

from spacy_tcm.batching import MAX_PADDED
from spacy_tcm.errors import ModelError
from spacy_tcm.models.weights import get_module
from spacy_tcm.pipeline import multimodal_ner
from spacy_tcm.tags import tag_names

from .conftest import (
    NER,
    RECORDS,
    entities,
    gold,
    make_blank,
    make_docs,
    make_examples,
    photo,
    train,
)


def annotate(nlp, docs, **kwargs):
    return list(nlp.pipe(docs, **kwargs))


def test_learns_by_heart(trained):
    assert trained.losses["multimodal_ner"] < 0.1
    docs = annotate(trained, make_docs(trained))
    assert [entities(doc) for doc in docs] == gold()
    assert all(0.9 < ent._.score <= 1 for doc in docs for ent in doc.ents)
    scores = trained.evaluate(make_examples(trained))
    assert scores["ents_f"] == 1.0
    assert scores["tongue_acc"] == 1.0


@pytest.mark.parametrize("how", ["disk", "bytes"])
def test_reloads_the_same(trained, tmp_path, how):
    if how == "disk":
        trained.to_disk(tmp_path)
        again = spacy.load(tmp_path)
        weights = tmp_path / "multimodal_ner" / "model"
        assert b"safetensors" in weights.read_bytes() or b"__metadata__" in weights.read_bytes()
    else:
        again = make_blank().from_bytes(trained.to_bytes())
    for one, two in zip(
        annotate(trained, make_docs(trained)), annotate(again, make_docs(again)), strict=True
    ):
        assert entities(one) == entities(two)
        assert [e._.score for e in one.ents] == pytest.approx([e._.score for e in two.ents])
        assert one._.tongue == two._.tongue
    assert again.get_pipe("multimodal_ner").labels == trained.get_pipe("multimodal_ner").labels
    assert again.tokenizer.lexicon.to_bytes() == trained.tokenizer.lexicon.to_bytes()


def test_component_bytes_round_trip(trained):
    for name in ("multimodal_ner", "tongue_encoder"):
        data = trained.get_pipe(name).to_bytes()
        again = make_blank().get_pipe(name).from_bytes(data)
        assert again.to_bytes() == data


def test_call_is_pipe_is_two_processes(trained):
    one = [trained(doc) for doc in make_docs(trained)]
    piped = annotate(trained, make_docs(trained), batch_size=3)
    torch.set_num_threads(1)
    parallel = annotate(trained, make_docs(trained), n_process=2, batch_size=2)
    for a, b, c in zip(one, piped, parallel, strict=True):
        assert entities(a) == entities(b) == entities(c)
        scores = [e._.score for e in a.ents]
        assert scores == pytest.approx([e._.score for e in b.ents], abs=1e-5)
        assert scores == pytest.approx([e._.score for e in c.ents], abs=1e-5)
        assert a._.tongue["status"] == b._.tongue["status"] == c._.tongue["status"]


def test_as_tuples(trained):
    pairs = [(doc, i) for i, doc in enumerate(make_docs(trained))]
    out = list(trained.pipe(pairs, as_tuples=True))
    assert [i for _, i in out] == [0, 1, 2, 3]
    assert [entities(doc) for doc, _ in out] == gold()


@pytest.mark.parametrize("text", ["", " ", "\n\r\n", "\u3000", "🙂", "A"])
def test_odd_texts(trained, text):
    doc = trained(text)
    assert doc.text == text
    assert doc.has_annotation("ENT_IOB") or not len(doc)


def test_only_empty_docs(trained):
    assert [list(doc.ents) for doc in trained.pipe(["", ""])] == [[], []]


def test_missing_photo_equals_text_only(trained):
    """No photo, a broken one, and a pipeline without encoder: one and the same path."""
    texts = [text for text, _, _ in RECORDS]
    without = annotate(trained, texts)
    broken = make_docs(trained, photos=False)
    for doc in broken:
        doc._.tongue_image = b"not a photo"
    broken = annotate(trained, broken)
    assert {doc._.tongue["status"] for doc in broken} == {"rejected"}
    # Only the first record has a photo: the others' results must not change.
    mixed = make_docs(trained, photos=False)
    mixed[0]._.tongue_image = photo("dark")
    mixed = annotate(trained, mixed)
    with trained.select_pipes(disable="tongue_encoder"):
        text_only = annotate(trained, texts)
    for i, doc in enumerate(without):
        for other in (broken[i], text_only[i], *([mixed[i]] if i else [])):
            assert entities(doc) == entities(other)
            scores = [e._.score for e in other.ents]
            assert [e._.score for e in doc.ents] == pytest.approx(scores, abs=1e-6)


def test_photo_reaches_the_emissions(trained):
    model = trained.get_pipe("multimodal_ner").model
    emissions = []
    for image in (None, photo("dark"), photo("regular")):
        doc = trained.make_doc(RECORDS[0][0])
        doc._.tongue_image = image
        doc = trained.get_pipe("tongue_encoder")(doc)
        emissions.append(model.predict([doc])[0])
    for a, b in ((0, 1), (1, 2), (0, 2)):
        assert numpy.abs(emissions[a] - emissions[b]).max() > 1e-4


def test_photo_not_run_is_said(trained):
    doc = make_docs(trained)[0]
    with trained.select_pipes(disable="tongue_encoder"), pytest.warns(UserWarning, match="W402"):
        doc = trained(doc)
    assert doc._.tongue["status"] == "not_run"
    assert entities(doc)


def test_doc_without_lexicon_matches_warns(trained):
    doc = Doc(trained.vocab, words=list("口干"), spaces=[False, False])
    with pytest.warns(UserWarning, match="W401"):
        trained.get_pipe("multimodal_ner")(doc)


def test_gradients_reach_transformer_photo_net_and_lexicon():
    fix_random_seed(1)
    nlp = make_blank()
    examples = make_examples(nlp)
    nlp.initialize(lambda: examples)
    nlp.update(examples, sgd=False)
    ner, encoder = nlp.get_pipe("multimodal_ner").model, nlp.get_pipe("tongue_encoder").model
    tagger, net = get_module(ner.get_ref("tagger")), get_module(encoder.layers[0])
    assert tagger.lexicon.weight.grad.abs().sum() > 0
    assert net.trunk.conv1.weight.grad.abs().sum() > 0
    assert net.project.weight.grad.abs().sum() > 0, "reached only by the listener"
    embed = [node for node in ner.get_ref("tok2vec").walk() if node.has_grad("E")]
    assert embed
    assert all(numpy.abs(node.get_grad("E")).sum() > 0 for node in embed)


def test_partial_labels():
    """A corpus that annotates one label says nothing about the others."""
    nlp = make_blank(tongue=False)
    examples = make_examples(nlp)
    nlp.initialize(lambda: examples)
    ner = nlp.get_pipe("multimodal_ner")
    reference = examples[1].reference
    reference._.annotated_labels = ["SYMPTOM"]
    reference.set_ents([Span(reference, 5, 7, label="SYMPTOM")])
    allowed = ner._allowed_tags(examples[1])
    tags = dict(
        zip(["O", *(f"{p}-{k}" for k in ner.labels for p in "BIES")], range(99), strict=False)
    )
    assert allowed[0, tags["O"]]
    assert allowed[0, tags["B-PULSE"]]
    assert not allowed[0, tags["B-SYMPTOM"]]
    assert allowed[5].nonzero()[0].tolist() == [tags["B-SYMPTOM"]]
    reference._.annotated_labels = None
    assert ner._allowed_tags(examples[1])[0].nonzero()[0].tolist() == [tags["O"]]
    # What is not annotated has no gradient against it: pulse stays learnable from others.
    reference._.annotated_labels = ["SYMPTOM"]
    emissions = ner.model.predict([eg.predicted for eg in examples])
    _, gradients = ner.get_loss(examples, emissions)
    free = [tags["O"], *(tags[t] for t in tags if not t.endswith("SYMPTOM") and t != "O")]
    assert gradients[1][0, free].sum() == pytest.approx(
        -gradients[1][0, [tags[t] for t in tags if t.endswith("-SYMPTOM")]].sum(), abs=1e-5
    )


def test_missing_tokens_allow_everything():
    nlp = make_blank(tongue=False)
    examples = make_examples(nlp)
    nlp.initialize(lambda: examples)
    reference = examples[1].reference
    reference.set_ents([], missing=[reference[0:2]], default="outside")
    allowed = nlp.get_pipe("multimodal_ner")._allowed_tags(examples[1])
    assert allowed[:2].all()
    assert allowed[2:].sum() == len(allowed) - 2


def test_other_tokenization_in_the_reference_is_aligned():
    nlp = make_blank(tongue=False)
    examples = make_examples(nlp)
    nlp.initialize(lambda: examples)
    text = RECORDS[1][0]
    reference = Doc(nlp.vocab, words=["脉弦", "细数", "，", "口干"], spaces=[False] * 4)
    reference.set_ents([reference.char_span(0, 4, label="PULSE")])
    here = Example(nlp.make_doc(text), reference)
    same = Example(nlp.make_doc(text), nlp.make_doc(text))
    same.reference.set_ents([same.reference.char_span(0, 4, label="PULSE")])
    ner = nlp.get_pipe("multimodal_ner")
    assert (ner._allowed_tags(here) == ner._allowed_tags(same)).all()


def test_resume_and_source(trained):
    """Training goes on from the weights, also in another pipeline."""
    # A sourced component is the same object: source from a copy.
    copy = make_blank().from_bytes(trained.to_bytes())
    nlp = spacy.blank("tcm")
    nlp.add_pipe("tongue_encoder", source=copy)
    nlp.add_pipe("multimodal_ner", source=copy)
    nlp.tokenizer.from_bytes(trained.tokenizer.to_bytes())
    assert [entities(d) for d in annotate(nlp, make_docs(nlp))] == gold()
    optimizer = nlp.resume_training()
    losses = {}
    nlp.update(make_examples(nlp), sgd=optimizer, losses=losses)
    assert losses["multimodal_ner"] < 0.5
    assert [entities(d) for d in annotate(nlp, make_docs(nlp))] == gold()


def test_replace_listeners(trained, tmp_path):
    trained.to_disk(tmp_path / "a")
    nlp = spacy.load(tmp_path / "a")
    nlp.replace_listeners("tongue_encoder", "multimodal_ner", ["model.tongue"])
    assert nlp.get_pipe("tongue_encoder").listeners == []
    nlp.remove_pipe("tongue_encoder")
    nlp.to_disk(tmp_path / "b")
    again = spacy.load(tmp_path / "b")
    expected = annotate(trained, make_docs(trained))
    for pipeline in (nlp, again):
        for one, two in zip(expected, annotate(pipeline, make_docs(pipeline)), strict=True):
            assert entities(one) == entities(two)
            scores = [e._.score for e in two.ents]
            assert [e._.score for e in one.ents] == pytest.approx(scores, abs=1e-5)
    losses = {}
    nlp.update(make_examples(nlp), sgd=nlp.resume_training(), losses=losses)
    assert losses["multimodal_ner"] < 0.5


def test_minibatch_and_whole_batch_agree(trained):
    docs = make_docs(trained)
    whole = trained.get_pipe("multimodal_ner").predict(
        trained.get_pipe("tongue_encoder").pipe(docs)
    )
    parts = []
    for some in minibatch(docs, 1):
        parts += trained.get_pipe("multimodal_ner").predict(some)
    for a, b in zip(whole, parts, strict=True):
        assert [x[:3] for x in a] == [x[:3] for x in b]
        assert [x[3] for x in a] == pytest.approx([x[3] for x in b], abs=1e-5)


def test_records_are_decoded_in_groups_of_bounded_size(trained, monkeypatch):
    texts = ["口干，" * 400, "便血3天", "", "舌红，" * 3, "脉弦细数"]
    ner, sizes = trained.get_pipe("multimodal_ner"), []
    whole = [entities(doc) for doc in trained.pipe(texts)]
    to_numpy = ner._to_numpy
    monkeypatch.setattr("spacy_tcm.pipeline.multimodal_ner.MAX_TOKENS", 10)
    monkeypatch.setattr(
        ner, "_to_numpy", lambda e: sizes.append([len(x) for x in e]) or to_numpy(e)
    )
    assert [entities(doc) for doc in trained.pipe(texts)] == whole
    assert sorted(n for group in sizes for n in group) == [4, 4, 9, 1200]
    assert all(sum(group) <= 10 or len(group) == 1 for group in sizes)
    assert len(sizes) == 3


def test_clear_errors(trained):
    nlp = spacy.blank("tcm")
    ner = nlp.add_pipe("multimodal_ner", config={"model": {**NER, "tongue": None}})
    with pytest.raises(ModelError, match="E409"):
        nlp.initialize(lambda: [Example(nlp.make_doc("口干"), nlp.make_doc("口干"))])
    with pytest.raises(ModelError, match="E410"):
        trained.get_pipe("multimodal_ner").add_label("NEW")
    with pytest.raises(ModelError, match="E407"):
        nlp.add_pipe("multimodal_ner", name="b", config={"model": {**NER, "dropout": 1.0}})
    bad = {**NER, "tongue": None, "heads": 5}
    other = spacy.blank("tcm")
    other.add_pipe("multimodal_ner", config={"model": bad})
    with pytest.raises(ModelError, match="E408"):
        other.initialize(lambda: make_examples(other))
    data = trained.get_pipe("multimodal_ner").model.get_ref("crf").shims[0].to_bytes()
    tagger = ner.model.get_ref("tagger").shims[0]
    with pytest.raises(ModelError, match="E403"):
        tagger.from_bytes(data)
    for damage in (lambda state: state[:-9], lambda state: b"", lambda state: b"x" * 99):
        message = srsly.msgpack_loads(data)
        message["state"] = damage(message["state"])
        with pytest.raises(ModelError, match="E402"):
            ner.model.get_ref("crf").shims[0].from_bytes(srsly.msgpack_dumps(message))


def test_config_round_trip():
    nlp = make_blank()
    again = spacy.blank("tcm").from_config(nlp.config)
    assert again.config.to_str() == nlp.config.to_str()


def test_text_only_pipeline_trains():
    fix_random_seed(0)
    nlp = make_blank(tongue=False)
    assert train(nlp, make_examples(nlp))["multimodal_ner"] < 0.1


def test_an_entity_that_is_one_of_several_labels():
    nlp = make_blank(tongue=False)
    examples = make_examples(nlp)
    reference = examples[1].reference
    reference.set_ents([Span(reference, 0, 4, label="PULSE|TONGUE")])
    nlp.initialize(lambda: examples)
    ner = nlp.get_pipe("multimodal_ner")
    assert "PULSE|TONGUE" not in ner.labels
    assert {"PULSE", "TONGUE"} <= set(ner.labels)
    allowed = ner._allowed_tags(examples[1])
    names = tag_names(ner.labels)
    possible = [{names[i] for i in row.nonzero()[0]} for row in allowed[:4]]
    assert possible[0] == {"B-PULSE", "B-TONGUE"}
    assert possible[3] == {"E-PULSE", "E-TONGUE"}
    # A label that the component does not know makes the tokens unknown, not wrong.
    reference.set_ents([Span(reference, 0, 4, label="PULSE|OTHER")])
    assert ner._allowed_tags(examples[1])[:4].all()


def test_line_ends_of_another_system_change_nothing(trained):
    lines = [text for text, _, _ in RECORDS]
    found = [
        [(ent.text, ent.label_, ent._.score) for ent in trained(end.join(lines) + end).ents]
        for end in ("\n", "\r\n")
    ]
    assert found[0]
    assert found[0] == found[1]


@pytest.mark.parametrize("blank", ["\r\n", "\n", "\t", "\u3000", "\x07", "\u200b"])
def test_nothing_but_white_space_or_control_characters_is_no_entity(trained, monkeypatch, blank):
    ner = trained.get_pipe("multimodal_ner")
    doc = trained.make_doc(f"口干{blank}便血")
    tag = tag_names(ner.labels).index("S-SYMPTOM")
    monkeypatch.setattr(multimodal_ner, "best_paths", lambda *_: [[tag] * len(doc)])
    ner.set_annotations([doc], ner.predict([doc]))
    assert [ent.text for ent in doc.ents] == list("口干便血")
    # Nor does one begin or end with that.
    inside, begin, end = (tag_names(ner.labels).index(f"{p}-SYMPTOM") for p in "IBE")
    doc = trained.make_doc(f"{blank}口干{blank}便{blank}")
    path = [begin, *[inside] * (len(doc) - 2), end]
    monkeypatch.setattr(multimodal_ner, "best_paths", lambda *_: [path])
    ner.set_annotations([doc], ner.predict([doc]))
    assert [ent.text for ent in doc.ents] == [f"口干{blank}便"]


def test_posteriors(trained):
    docs = [trained.make_doc(text) for text in ("便血3天", "", "脉弦细数，口干")]
    ner = trained.get_pipe("multimodal_ner")
    found = ner.posteriors(docs)
    assert [len(array) for array in found] == [len(doc) for doc in docs]
    for array in found:
        assert array.sum(1) == pytest.approx(numpy.ones(len(array)), abs=1e-4)
    alone = ner.posteriors([docs[0]])[0]
    assert found[0] == pytest.approx(alone, abs=1e-4)


def test_a_long_record_has_the_entities_of_its_parts(trained):
    """50,000 characters: the same entities in the middle as when it is cut out."""
    sentences = [text for text, _, _ in RECORDS if text]
    piece = "。".join([*sentences, "今日来诊，诉如前，余无他苦"]) + "。\n"
    text = piece * (50_000 // len(piece) + 1)
    ner = trained.get_pipe("multimodal_ner")
    largest = 0

    def note(model, inputs, is_train):
        nonlocal largest
        largest = max(largest, inputs[0].shape[0] * inputs[0].shape[1])
        return forward(model, inputs, is_train)

    tagger = ner.model.get_ref("tagger")
    forward, tagger._func = tagger._func, note
    try:
        doc = trained(text)
    finally:
        tagger._func = forward
    assert len(doc) > 45_000
    assert 0 < largest <= MAX_PADDED
    begin = len(piece) * 400
    part = trained(text[begin : begin + 20 * len(piece)])
    margin = 2 * len(piece)
    expected = {
        (s + begin, e + begin, k)
        for s, e, k in entities(part)
        if margin <= s and e <= len(part.text) - margin
    }
    found = {
        (s, e, k)
        for s, e, k in entities(doc)
        if begin + margin <= s and e <= begin + len(part.text) - margin
    }
    assert expected
    assert found == expected
    assert all(0 < ent._.score <= 1 for ent in doc.ents)


def test_a_users_own_terms_are_found_without_training_again():
    """Invented names in natural sentences, where other words of the same make are no entities: only
    the lexicon can tell, and the net has learnt to heed it, not the names."""
    fix_random_seed(0)
    rng = random.Random(0)
    names = ["".join(rng.choices("苍耳莲翘荆芥牛膝桔梗茯芩芷蒡萸", k=3)) for _ in range(200)]
    terms, words, own, others = names[:80], names[80:160], names[160:180], names[180:]
    frames = ["方用{}五钱", "先取{}，后入诸药", "今晨服{}后汗出", "患者自述{}一事"]

    nlp = spacy.blank("tcm")
    nlp.add_pipe("multimodal_ner", config={"model": {**NER, "tongue": None}})
    nlp.tokenizer.add_terms([(name, "HERB") for name in terms])

    def example(name, is_herb):
        text = rng.choice(frames).format(name)
        predicted, reference = nlp.make_doc(text), nlp.make_doc(text)
        start = text.index(name)
        herb = reference.char_span(start, start + len(name), label="HERB")
        reference.set_ents([herb] if is_herb else [])
        return Example(predicted, reference)

    learnt = [example(name, True) for name in terms] + [example(name, False) for name in words]
    train(nlp, learnt, steps=60)
    tests = [example(name, True) for name in own]

    def recall():
        pairs = [(nlp(eg.text), eg.reference) for eg in tests]
        return sum(entities(doc) == entities(gold) for doc, gold in pairs) / len(pairs)

    before = recall()
    nlp.tokenizer.add_terms([(name, "HERB") for name in own])
    after = recall()
    assert before < 0.5
    assert after > 0.9
    assert not any(nlp(example(name, False).text).ents for name in others), "nothing else is found"


def test_numbers_that_tell_who_it_is_are_in_no_entity():
    nlp = spacy.blank("tcm")
    ner = nlp.add_pipe("multimodal_ner")
    doc = nlp.make_doc("住院号：ZY0012345 床号：12床 电话：13812345678 血糖12mmol/L，便血")
    words = "住院号|ZY|0012345|床号|12床 电话|13812345678|血糖|12mmol/L|便血".split("|")
    found = []
    for word in words:
        at = doc.text.rindex(word)
        span = doc.char_span(at, at + len(word), alignment_mode="expand")
        found.append((span.start, span.end, "TEST", 0.0, 0.9))
    ner.set_annotations([doc], [found])
    assert [ent.text for ent in doc.ents] == ["血糖", "12mmol/L", "便血"]
    assert all(ent._.score == 0.9 for ent in doc.ents)
