"""A local encoder, and the full shape of the pipeline on it."""

import json
from pathlib import Path

import numpy
import pytest
import spacy
from spacy.training.initialize import init_nlp
from spacy.util import fix_random_seed, load_config

from spacy_tcm.errors import ModelError
from spacy_tcm.models.weights import get_module
from spacy_tcm.training.pretraining.encoder import (
    RARE,
    SPECIAL,
    EncoderShape,
    build_encoder,
    make_vocabulary,
    trim_vocabulary,
    write_tokenizer,
)

CONFIG = Path(__file__).parents[3] / "configs" / "multimodal.cfg"
TEXT = "患者便血３天，VAS 6分。\n舌淡红，苔薄白。"
SHAPE = EncoderShape(hidden=24, layers=2, heads=4, feed_forward=32, positions=64)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    out = tmp_path_factory.mktemp("encoder") / "tiny"
    build_encoder([TEXT], out, shape=SHAPE)
    return out


def test_vocabulary():
    vocabulary = make_vocabulary(["ＡＢ舌舌"])
    assert vocabulary[5:8] == ["舌", "a", "b"]
    assert len(set(vocabulary)) == len(vocabulary)
    assert "##9" in vocabulary


def test_reads_full_width_and_leaves_no_token_unknown(encoder):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(encoder)
    pieces = tokenizer.tokenize(TEXT)
    assert "[UNK]" not in pieces
    assert "3" in pieces


def test_same_seed_same_weights(tmp_path):
    for name in ("a", "b"):
        build_encoder([TEXT], tmp_path / name, shape=SHAPE, seed=3)
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("a", "b")]
    assert weights[0] == weights[1]


def test_refuses_to_overwrite_and_to_know_nothing(tmp_path, encoder):
    with pytest.raises(ModelError, match="E412"):
        build_encoder([TEXT], encoder)
    with pytest.raises(ModelError, match="E414"):
        build_encoder(["  "], tmp_path / "x")


def test_trimmed_to_what_occurs_often():
    full = ["[PAD]", "[unused1]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    full += ["舌", "口", "干", "股", "##舌", "vas", "v", "##as", "."]
    often, seldom = ["舌ＶＡＳ䗪。"] * RARE, ["口"] * (RARE - 1)
    trimmed = trim_vocabulary(full, [*often, *seldom])
    assert trimmed[:8] == [*SPECIAL, "舌", "vas", "v"], "in the order of the full vocabulary"
    assert set("䗪。") < set(trimmed), "often enough, and not in the full vocabulary"
    assert not {"口", "干", "股", "##舌", "##as", "[unused1]"} & set(trimmed)
    assert {"a", "z", "0", "##a", "##9", "(", "."} < set(trimmed), "always"
    assert len(set(trimmed)) == len(trimmed)


def test_what_is_kept_is_read_the_same(tmp_path):
    full = make_vocabulary(["舌淡红股票，VAS3分"])
    text = "舌淡红，VAS3分"
    trimmed = trim_vocabulary(full, [text] * RARE)
    assert len(trimmed) == len(full) - 2
    readings = [
        write_tokenizer(tokens, tmp_path / str(len(tokens)), 512).tokenize(text)
        for tokens in (full, trimmed)
    ]
    assert readings[0] == readings[1] == ["舌", "淡", "红", ",", "v", "##a", "##s", "##3", "分"]


@pytest.fixture(scope="module")
def pipeline(encoder, narrow, tmp_path_factory):
    """configs/multimodal.cfg, narrow, trained on two records."""
    folder = tmp_path_factory.mktemp("corpus")
    long = "口干，" * 60 + "便血３天。"
    records = [
        {"id": "a", "text": TEXT, "entities": [[2, 4, "SYMPTOM"], [4, 6, "TIME"]]},
        {"id": "b", "text": long, "entities": [[180, 182, "SYMPTOM"], [182, 184, "TIME"]]},
    ]
    corpus = folder / "train.jsonl"
    corpus.write_text("".join(json.dumps(r) + "\n" for r in records), encoding="utf8")
    overrides = {
        "paths.train": str(corpus),
        "paths.tune": str(corpus),
        "paths.images": str(folder),
        "paths.lexicon": None,
        "paths.encoder": str(encoder),
        **narrow,
        "components.multimodal_ner.model.dropout": 0.0,
        "components.multimodal_ner.model.token_dropout": 0.0,
    }
    fix_random_seed(0)
    nlp = init_nlp(load_config(CONFIG, overrides=overrides))
    examples = list(make_examples(nlp, records))
    optimizer = nlp.resume_training()
    optimizer.learn_rate = 0.005
    first = embedding(nlp)
    for _ in range(60):
        losses = {}
        nlp.update(examples, sgd=False, losses=losses)
        for name in ("transformer", "tongue_encoder", "multimodal_ner"):
            nlp.get_pipe(name).finish_update(optimizer)
    assert not numpy.array_equal(first, embedding(nlp)), "the transformer learns too"
    return nlp


def make_examples(nlp, records):
    from spacy.training import Example

    for record in records:
        reference = nlp.make_doc(record["text"])
        spans = [reference.char_span(s, e, label=k) for s, e, k in record["entities"]]
        reference.set_ents(spans)
        yield Example(nlp.make_doc(record["text"]), reference)


def embedding(nlp):
    model = nlp.get_pipe("transformer").model.transformer
    return model.embeddings.word_embeddings.weight.detach().numpy().copy()


def test_no_token_is_without_a_vector(pipeline):
    """A record longer than the encoder's positions is cut, never truncated."""
    doc = pipeline.make_doc(TEXT + "口干，" * 100 + "1" * 90)
    model = pipeline.get_pipe("transformer").model
    batch = model.predict([doc])
    lengths = batch.align.lengths
    assert len(lengths) == len(doc)
    assert [t.text for t, n in zip(doc, lengths, strict=True) if not n and not t.is_space] == []
    assert all(len(w) <= SHAPE.positions for w in batch.wordpieces.input_ids)


def test_learns_and_reloads(pipeline, tmp_path):
    pipeline.to_disk(tmp_path)
    again = spacy.load(tmp_path)
    for nlp in (pipeline, again):
        doc = nlp("口干，" * 60 + "便血３天。")
        assert [(e.start_char, e.label_) for e in doc.ents] == [(180, "SYMPTOM"), (182, "TIME")]
    tagger = get_module(again.get_pipe("multimodal_ner").model.get_ref("tagger"))
    assert tagger.arch.width == SHAPE.hidden
