"""A pipeline small enough to train in a second, and records it can learn by heart."""

import numpy
import pytest
import spacy
from spacy.training import Example
from spacy.util import fix_random_seed

from ..tongues import RESNET

RECORDS = [
    (
        "患者便血3天，色鲜红，舌淡红，苔薄白。",
        [(2, 4, "SYMPTOM"), (4, 6, "TIME"), (7, 10, "QUALITY"), (11, 14, "TONGUE")],
        {"body_color": "regular", "fissure": "none"},
    ),
    ("脉弦细数，口干", [(0, 4, "PULSE"), (5, 7, "SYMPTOM")], {"body_color": "dark"}),
    ("", [], None),
    ("舌红，无发热", [(0, 2, "TONGUE"), (4, 6, "SYMPTOM")], None),
]
COLOURS = {"regular": (200, 130, 130), "dark": (120, 30, 50)}

NER = {
    "@architectures": "spacy_tcm.MultimodalCRF.v1",
    "tok2vec": {
        "@architectures": "spacy.HashEmbedCNN.v2",
        "pretrained_vectors": None,
        "width": 24,
        "depth": 1,
        "embed_size": 300,
        "window_size": 1,
        "maxout_pieces": 2,
        "subword_features": False,
    },
    "tongue": {"@architectures": "spacy_tcm.TongueListener.v1", "width": 8},
    "hidden": 12,
    "dropout": 0.0,
    "token_dropout": 0.0,
    "image_dropout": 0.0,
    "lexicon_dropout": 0.0,
}


def photo(colour, seed=0):
    noise = numpy.random.default_rng(seed).integers(-20, 20, (48, 48, 3))
    return (numpy.array(COLOURS[colour]) + noise).clip(0, 255).astype("uint8")


def make_blank(tongue=True):
    nlp = spacy.blank("tcm")
    nlp.tokenizer.add_terms([("便血", "SYMPTOM"), ("口干", "SYMPTOM"), ("弦", "PULSE")])
    if tongue:
        nlp.add_pipe("tongue_encoder", config={"model": RESNET})
    nlp.add_pipe("multimodal_ner", config={"model": NER if tongue else {**NER, "tongue": None}})
    return nlp


def make_examples(nlp):
    examples = []
    for i, (text, entities, labels) in enumerate(RECORDS):
        predicted, reference = nlp.make_doc(text), nlp.make_doc(text)
        reference.set_ents([reference.char_span(s, e, label=k) for s, e, k in entities])
        for doc in (predicted, reference):
            doc._.record_id = f"r{i}"
            if labels:
                doc._.tongue_image = photo(labels["body_color"], i)
        reference._.tongue_labels = labels
        examples.append(Example(predicted, reference))
    return examples


def make_docs(nlp, photos=True):
    docs = []
    for i, (text, _, labels) in enumerate(RECORDS):
        doc = nlp.make_doc(text)
        if labels and photos:
            doc._.tongue_image = photo(labels["body_color"], i)
        docs.append(doc)
    return docs


def entities(doc):
    return [(e.start_char, e.end_char, e.label_) for e in doc.ents]


def gold():
    return [[tuple(e) for e in entities] for _, entities, _ in RECORDS]


def train(nlp, examples, steps=80, **kwargs):
    """As ``spacy train`` does it: all updates of a step first, then all optimiser steps."""
    optimizer = nlp.initialize(lambda: examples)
    optimizer.learn_rate = 0.01
    losses = {}
    for _ in range(steps):
        losses = {}
        nlp.update(examples, sgd=False, losses=losses, **kwargs)
        for name, pipe in nlp.pipeline:
            if name not in kwargs.get("exclude", ()):
                pipe.finish_update(optimizer)
    return losses


@pytest.fixture(scope="session")
def trained():
    """Do not change it: copy by ``nlp.to_bytes`` or train your own."""
    fix_random_seed(0)
    nlp = make_blank()
    nlp.losses = train(nlp, make_examples(nlp))
    return nlp
