"""A deployed pipeline finds what the trained one finds, without torch and transformers."""

import json

import numpy
import pytest
import spacy
from PIL import Image
from spacy.training import Example
from spacy.util import fix_random_seed

from spacy_tcm.compress.deploy import deploy
from spacy_tcm.errors import ModelError
from spacy_tcm.images.render import random_attributes, render_tongue
from spacy_tcm.models import text_graph
from spacy_tcm.training.pretraining.encoder import EncoderShape, build_encoder

from ..conftest import LIGHT, run_alone
from ..tongues import RESNET

RECORDS = [
    (
        "患者便血3天，色鲜红，舌淡红，苔薄白。",
        [(2, 4, "SYMPTOM"), (4, 6, "TIME"), (11, 14, "TONGUE")],
    ),
    ("脉弦细数，口干\n复诊", [(0, 4, "PULSE"), (5, 7, "SYMPTOM")]),
    ("", []),
    ("舌红，COVID19阳性，T38.5℃ VAS６分", [(0, 2, "TONGUE")]),
]
# Longer than a window, and than what the encoder reads; and a token longer than either.
LONG = "".join(text for text, _ in RECORDS) * 9 + "1" * 150
TEXTS = [*(text for text, _ in RECORDS), LONG, " ", "\u200b\u3000", LONG[40:300]]
LISTENER = {
    "@architectures": "spacy-transformers.TransformerListener.v1",
    "grad_factor": 1.0,
    "pooling": {"@layers": "reduce_mean.v1"},
}
CHARACTERS = {
    "@architectures": "spacy.Tok2Vec.v2",
    "embed": {
        "@architectures": "spacy.MultiHashEmbed.v2",
        "width": 8,
        "attrs": ["NORM", "SHAPE"],
        "rows": [200, 50],
        "include_static_vectors": False,
    },
    "encode": {
        "@architectures": "spacy.MaxoutWindowEncoder.v2",
        "width": 8,
        "depth": 2,
        "window_size": 1,
        "maxout_pieces": 2,
    },
}
BOTH = {"@layers": "concatenate.v1", "*": {"transformer": LISTENER, "characters": CHARACTERS}}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    out = tmp_path_factory.mktemp("encoder") / "tiny"
    shape = EncoderShape(hidden=16, layers=2, heads=2, feed_forward=24, positions=64)
    build_encoder([text for text, _ in RECORDS], out, shape=shape)
    return out


def train(encoder, tok2vec, tongue=True, **settings):
    fix_random_seed(0)
    nlp = spacy.blank("tcm")
    nlp.tokenizer.add_terms([("便血", "SYMPTOM"), ("口干", "SYMPTOM")])
    if tok2vec is not CHARACTERS:
        model = {
            "@architectures": "spacy_tcm.WindowedTransformer.v1",
            "name": str(encoder),
            "get_spans": {
                "@span_getters": "spacy_tcm.subword_windows.v1",
                "max_subwords": 40,
                "overlap": 6,
            },
        }
        nlp.add_pipe("transformer", config={"model": model})
    ner = {"@architectures": "spacy_tcm.MultimodalCRF.v1", "tok2vec": tok2vec, "hidden": 12}
    ner["tongue"] = None
    if tongue:
        nlp.add_pipe("tongue_encoder", config={"model": RESNET})
        ner["tongue"] = {"@architectures": "spacy_tcm.TongueListener.v1", "width": 8}
    nlp.add_pipe("multimodal_ner", config={"model": {**ner, **settings}})
    nlp.add_pipe("tcm_fields", config={"conflict_below": 0.1})
    examples = []
    for i, (text, entities) in enumerate((text, found) for text, found in RECORDS if text):
        reference = nlp.make_doc(text)
        reference.set_ents([reference.char_span(s, e, label=k) for s, e, k in entities])
        reference._.tongue_labels = {"body_color": "dark" if i % 2 else "light"}
        examples.append(Example(nlp.make_doc(text), reference))
    optimizer = nlp.initialize(lambda: examples)
    optimizer.learn_rate = 0.01
    for _ in range(40):
        nlp.update(examples, sgd=optimizer)
    nlp.get_pipe("multimodal_ner").cfg["temperature"] = 1.5
    return nlp


@pytest.fixture(scope="module")
def trained(encoder):
    return train(encoder, BOTH)


@pytest.fixture(scope="module")
def deployed(trained):
    return deploy(trained)


@pytest.fixture(scope="module")
def saved(deployed, tmp_path_factory):
    path = tmp_path_factory.mktemp("deployed")
    deployed.to_disk(path)
    return path


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    found = []
    for seed in range(2):
        attributes = random_attributes(numpy.random.default_rng(seed))
        path = folder / f"{seed}.png"
        Image.fromarray(render_tongue(attributes, size=96, seed=seed)).save(path)
        found.append(str(path))
    return found


def make_docs(nlp, photos=()):
    docs = [nlp.make_doc(text) for text in TEXTS]
    for doc, path in zip(docs, photos, strict=False):
        doc._.tongue_image = path
    return docs


def found(docs):
    return [
        ([(e.start, e.end, e.label_) for e in doc.ents], [e._.score for e in doc.ents])
        for doc in docs
    ]


def assert_same(some, others, atol=1e-4):
    for (entities, scores), (right, expected) in zip(found(some), found(others), strict=True):
        assert entities == right
        assert scores == pytest.approx(expected, abs=atol)


def test_finds_what_the_trained_pipeline_finds(trained, deployed, photos):
    ours, theirs = (list(n.pipe(make_docs(n, photos))) for n in (deployed, trained))
    assert sum(len(doc.ents) for doc in theirs) > 10
    assert_same(ours, theirs)
    gates = [[e._.photo_gate for e in doc.ents] for doc in ours]
    assert any(gate > 0 for gate in gates[0])
    assert gates[0] == pytest.approx([e._.photo_gate for e in theirs[0].ents], abs=1e-4)
    assert [doc._.fields for doc in ours[:1]] == [doc._.fields for doc in theirs[:1]]


@pytest.mark.parametrize(
    ("tok2vec", "tongue", "settings"),
    [
        (LISTENER, True, {"lexicon": False, "gate": False}),
        (CHARACTERS, False, {"layers": 2}),
    ],
)
def test_other_shapes(encoder, photos, tok2vec, tongue, settings):
    nlp = train(encoder, tok2vec, tongue, **settings)
    ours = deploy(nlp)
    assert_same(ours.pipe(make_docs(ours, photos)), nlp.pipe(make_docs(nlp, photos)))


def test_what_else_is_in_the_batch_changes_nothing(deployed, photos):
    alone = [deployed(doc) for doc in make_docs(deployed, photos)]
    assert_same(deployed.pipe(make_docs(deployed, photos), batch_size=3), alone, 1e-5)
    assert_same(deployed.pipe(make_docs(deployed, photos)), alone, 1e-5)


def test_worker_processes_do_not_wait_for_each_other(deployed, photos):
    """They are forked when this process has run the graphs already."""
    alone = list(deployed.pipe(make_docs(deployed, photos)))
    docs = make_docs(deployed, photos)
    assert_same(deployed.pipe(docs, n_process=2, batch_size=3), alone, 1e-5)


def test_reloads_the_same(deployed, saved, photos):
    again = spacy.load(saved)
    assert_same(again.pipe(make_docs(again, photos)), deployed.pipe(make_docs(deployed, photos)), 0)
    assert again.get_pipe("multimodal_ner").temperature == 1.5
    assert again.get_pipe("tcm_fields").conflict_below == 0.1
    assert again.tokenizer.lexicon.to_bytes() == deployed.tokenizer.lexicon.to_bytes()
    copy = spacy.load(saved, exclude=["multimodal_ner"])
    assert copy.pipe_names == ["tongue_encoder", "tcm_fields"]


def test_the_config_names_no_path_of_this_machine(saved, encoder):
    for path in (saved / "config.cfg", saved / "meta.json"):
        text = path.read_text("utf-8")
        assert str(encoder) not in text
        assert "/tmp" not in text


def test_each_window_is_encoded_once(deployed, monkeypatch):
    model = deployed.get_pipe("multimodal_ner").model
    seen = []
    run = text_graph._run_encoder
    monkeypatch.setattr(
        text_graph, "_run_encoder", lambda m, rows, width: seen.append(rows) or run(m, rows, width)
    )
    model.predict([deployed.make_doc("口干。")] * 5)
    assert [len(rows) for rows in seen] == [1]
    deployed.set_memory_budget("64GB")
    try:
        counters = deployed.fit_memory_budget()
        list(deployed.pipe([*["口干。"] * 5, "便血。", " "]))
    finally:
        deployed.set_memory_budget(None)
    assert (counters.windows, counters.identical_windows) == (6, 4)


def test_is_not_trained(deployed):
    doc = deployed.make_doc("口干")
    with pytest.raises(ModelError, match="E470"):
        deployed.get_pipe("multimodal_ner").update([Example(doc, doc)])


def test_what_cannot_be_deployed_is_said(trained):
    with pytest.raises(ModelError, match="E472"):
        deploy(spacy.blank("tcm"))
    nlp = spacy.blank("tcm")
    nlp.add_pipe("multimodal_ner")
    with pytest.raises(ModelError, match="E401"):
        deploy(nlp)


ALONE = """
import json
import spacy

path, photos, texts = json.loads(sys.argv[1])
nlp = spacy.load(path)
docs = [nlp.make_doc(text) for text in texts]
for doc, image in zip(docs, photos):
    doc._.tongue_image = image
docs = list(nlp.pipe(docs))
print(json.dumps([[[e.start, e.end, e.label_] for e in doc.ents] for doc in docs]))
"""


def test_needs_neither_torch_nor_transformers(deployed, saved, photos):
    alone = json.loads(run_alone(LIGHT + ALONE, json.dumps([str(saved), photos, TEXTS])))
    expected = [entities for entities, _ in found(deployed.pipe(make_docs(deployed, photos)))]
    assert alone == [[list(e) for e in some] for some in expected]
