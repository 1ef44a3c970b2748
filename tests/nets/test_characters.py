"""spaCy's Tok2Vec as a torch module against itself."""

import numpy
import pytest
import spacy
import torch
from spacy.ml.models.tok2vec import (
    CharacterEmbed,
    MaxoutWindowEncoder,
    MishWindowEncoder,
    MultiHashEmbed,
    build_Tok2Vec_model,
)
from spacy.util import fix_random_seed

from spacy_tcm.models.text_graph import hash_rows
from spacy_tcm.nets.characters import Characters

TEXTS = ["患者便血3天，色鲜红。", "脉弦", "A", "COVID19阳性\n复诊"]


@pytest.mark.parametrize(
    ("attributes", "window", "depth"),
    [(["NORM", "SHAPE"], 1, 2), (["NORM"], 2, 1), (["PREFIX", "NORM", "SHAPE"], 1, 3)],
)
def test_equals_thinc(attributes, window, depth):
    fix_random_seed(0)
    docs = list(spacy.blank("tcm").pipe(TEXTS))
    embed = MultiHashEmbed(8, attributes, [50 + k for k in range(len(attributes))], False)
    tok2vec = build_Tok2Vec_model(embed, MaxoutWindowEncoder(8, window, 2, depth))
    tok2vec.initialize(X=docs)
    for layer in tok2vec.walk():  # biases and norms too
        for name in layer.param_names:
            value = layer.get_param(name)
            layer.set_param(name, value + numpy.random.normal(0, 0.2, value.shape).astype("f"))
    net = Characters(tok2vec)
    longest = max(map(len, docs)) + 5
    rows = numpy.zeros((len(docs), longest, 4 * len(attributes)), dtype="i")
    inside = numpy.zeros((len(docs), longest, 1), dtype="f")
    for i, doc in enumerate(docs):
        rows[i, : len(doc)] = hash_rows(doc, net.attributes, net.seeds, net.rows)
        inside[i, : len(doc)] = 1
    with torch.no_grad():
        found = net(torch.from_numpy(rows), torch.from_numpy(inside)).numpy()
    for doc, ours, theirs in zip(docs, found, tok2vec.predict(docs), strict=True):
        numpy.testing.assert_allclose(ours[: len(doc)], theirs, atol=1e-5)


def test_other_layers_are_refused():
    hashed = MultiHashEmbed(8, ["NORM"], [50], False)
    others = [
        build_Tok2Vec_model(hashed, MishWindowEncoder(8, 1, 2)),
        build_Tok2Vec_model(CharacterEmbed(8, 50, 4, 4, False), MaxoutWindowEncoder(8, 1, 2, 1)),
        build_Tok2Vec_model(
            MultiHashEmbed(8, ["NORM"], [50], True), MaxoutWindowEncoder(8, 1, 2, 1)
        ),
        MaxoutWindowEncoder(8, 1, 2, 1),
    ]
    for tok2vec in others:
        with pytest.raises(ValueError, match=r"layer|Tok2Vec"):
            Characters(tok2vec)
