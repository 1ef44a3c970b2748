"""A tiny corpus, lexicon, shape and teacher."""

from itertools import product

import pytest
import torch

from spacy_tcm.lexicon import Entry, Lexicon
from spacy_tcm.training.pretraining.encoder import EncoderShape, make_vocabulary, write_tokenizer
from spacy_tcm.training.pretraining.settings import PretrainingSettings
from spacy_tcm.training.pretraining.texts import Texts

SENTENCES = [
    f"患者{symptom}{number}天，舌{tongue}，脉{pulse}。"
    for symptom, number, tongue, pulse in product(
        ("口干", "便血", "头晕目眩"), "二三七", ("淡红", "暗"), ("弦", "细数")
    )
]
VOCABULARY = make_vocabulary(SENTENCES)
LEXICON = Lexicon([Entry("头晕目眩", "SYMPTOM"), Entry("口干", "SYMPTOM"), Entry("淡红", "TONGUE")])
SHAPE = EncoderShape(hidden=24, layers=2, heads=4, feed_forward=32, positions=64)


@pytest.fixture
def texts():
    return Texts(SENTENCES[:12], SENTENCES[12:32], SENTENCES[32:34], SENTENCES[34:])


@pytest.fixture
def vocabulary():
    return VOCABULARY


@pytest.fixture
def lexicon():
    return LEXICON


@pytest.fixture
def small():
    """Settings of a small run, to change by keyword."""
    values = {"steps": 12, "length": 32, "batch_tokens": 32 * 8, "rate": 5e-3, "warmup": 2}

    def make(kind=PretrainingSettings, **changes):
        return kind(**({"shape": SHAPE} | values | changes))

    return make


@pytest.fixture(scope="session")
def make_teacher(tmp_path_factory):
    """A Hugging Face folder of a random encoder that knows the texts."""

    def make(model, tokens=VOCABULARY):
        folder = tmp_path_factory.mktemp("teacher")
        write_tokenizer(tokens, folder, 64)
        model.save_pretrained(folder)
        return str(folder)

    return make


@pytest.fixture(scope="session")
def teacher(make_teacher):
    """A BERT of 4 layers, as wide as `SHAPE`."""
    from transformers import BertForMaskedLM

    torch.manual_seed(5)
    shape = EncoderShape(hidden=24, layers=4, heads=4, feed_forward=32, positions=64)
    config = shape.config(len(VOCABULARY))
    config.initializer_range = 0.2  # so that its attention is not flat
    return make_teacher(BertForMaskedLM(config))
