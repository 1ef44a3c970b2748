"""Deployed, a tongue encoder does what it did with torch."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy
import pytest
import spacy
import torch
from PIL import Image
from spacy.training import Example
from spacy.util import fix_random_seed, raise_error

from spacy_tcm.compress.deploy_tongue import deploy_tongue
from spacy_tcm.errors import ModelError
from spacy_tcm.images.render import random_attributes, render_tongue
from spacy_tcm.models.tongue import colour_distance
from spacy_tcm.models.weights import get_module
from spacy_tcm.nets.tongue import TongueNet
from spacy_tcm.pipeline import tongue_encoder

from ..conftest import LIGHT, run_alone
from ..tongues import ATTRIBUTES, EFFICIENTNET, RESNET

DEPLOYED = {
    "resnet": {"@architectures": "spacy_tcm.TongueGraph.v1", "image_size": 32, "width": 8},
    "efficientnet": {
        "@architectures": "spacy_tcm.TongueGraph.v1",
        "image_size": 64,
        "width": 8,
        "segmenter": {"@architectures": "spacy_tcm.SegmenterGraph.v1", "image_size": 96},
    },
}


def make_trained(config):
    """As good as trained: weights, and the statistics of what was learned from, are random."""
    fix_random_seed(0)
    nlp = spacy.blank("tcm")
    encoder = nlp.add_pipe("tongue_encoder", config={"model": config})
    example = Example(nlp.make_doc(""), nlp.make_doc(""))
    encoder.initialize(lambda: [example], nlp=nlp, attributes=ATTRIBUTES)
    for head in (net := get_module(encoder.model.layers[0])).heads.children():
        head.norm.running_mean.normal_(0, 0.3)
        head.norm.running_var.uniform_(0.5, 2)
    net.eval()
    encoder.cfg["temperatures"] = {"fissure": 0.7}
    encoder.cfg["most_distant"] = 1.5
    return nlp


def deploy(nlp, kind):
    """What `compress.deploy` does with the photo's side."""
    trained = nlp.get_pipe("tongue_encoder")
    deployed = spacy.blank("tcm")
    encoder = deployed.add_pipe("tongue_encoder", config={"model": DEPLOYED[kind]})
    encoder.model = deploy_tongue(trained)
    encoder.cfg = dict(trained.cfg)
    return deployed


@pytest.fixture(scope="module", params=["resnet", "efficientnet"])
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def pair(kind):
    trained = make_trained(RESNET if kind == "resnet" else EFFICIENTNET)
    return trained, deploy(trained, kind)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """All that may come: files, arrays, no photo, one that is damaged, one without a tongue."""
    path = tmp_path_factory.mktemp("photos") / "tongue.png"
    drawn = [render_tongue(random_attributes(seed), size=160, seed=seed) for seed in range(3)]
    Image.fromarray(drawn[0]).save(path)
    noise = numpy.random.default_rng(0).integers(60, 200, (90, 120, 3)).astype("uint8")
    return [None, str(path), drawn[1], b"\xff\xd8\xff", noise, str(path), drawn[2], "nowhere.jpg"]


def make_docs(nlp, images):
    docs = [nlp.make_doc("舌红") for _ in images]
    for doc, image in zip(docs, images, strict=True):
        doc._.tongue_image = image
    return docs


def assert_equal(found, expected):
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        a, b = ours._.tongue, theirs._.tongue
        assert (a["status"], a["reasons"]) == (b["status"], b["reasons"])
        assert a["quality"] == pytest.approx(b["quality"], abs=1e-3)
        assert list(a["attributes"]) == list(b["attributes"])
        for name, told in a["attributes"].items():
            assert told["probabilities"] == pytest.approx(
                b["attributes"][name]["probabilities"], abs=1e-4
            )
            for key in ("value", "term", "abstained", "unfamiliar"):
                assert told[key] == b["attributes"][name][key]
        if theirs._.tongue_data is None:
            assert ours._.tongue_data is None
        else:
            numpy.testing.assert_allclose(ours._.tongue_data, theirs._.tongue_data, atol=1e-4)


def test_it_tells_the_same(pair, images):
    trained, deployed = pair
    found = list(deployed.pipe(make_docs(deployed, images), batch_size=3))
    assert_equal(found, list(trained.pipe(make_docs(trained, images))))
    statuses = [doc._.tongue["status"] for doc in found]
    assert statuses.count("ok") >= 4
    assert statuses[0] == "none"
    assert {statuses[3], statuses[7]} == {"rejected"}
    old, new = (nlp.get_pipe("tongue_encoder") for nlp in pair)
    features = [pipe.predict(make_docs(trained, images)) for pipe in (old, new)]
    numpy.testing.assert_array_equal(features[0].present, features[1].present)
    numpy.testing.assert_allclose(features[1].regions, features[0].regions, atol=1e-4)
    numpy.testing.assert_allclose(features[1].scores, features[0].scores, atol=1e-4)
    assert features[1].scores.any()
    photo = features[0].photos[1]
    assert colour_distance(new.model, photo) == pytest.approx(colour_distance(old.model, photo))


def test_company_changes_nothing_at_all(pair, images):
    encoder = pair[1].get_pipe("tongue_encoder")
    docs = make_docs(pair[1], images)
    together = encoder.predict(docs)
    for i, doc in enumerate(docs):
        alone = encoder.predict([doc])
        numpy.testing.assert_array_equal(alone.regions[0], together.regions[i])
        numpy.testing.assert_array_equal(alone.scores[0], together.scores[i])
    assert encoder.predict(docs[:1]).regions.shape == (1, *together.regions.shape[1:])


def test_it_is_saved_and_loaded(pair, kind, images, tmp_path):
    deployed = pair[1]
    expected = list(deployed.pipe(make_docs(deployed, images)))
    deployed.to_disk(tmp_path / "model")
    assert_equal(list(spacy.load(tmp_path / "model").pipe(make_docs(deployed, images))), expected)
    again = spacy.blank("tcm")
    again.add_pipe("tongue_encoder", config={"model": DEPLOYED[kind]})
    again.from_bytes(deployed.to_bytes())
    assert_equal(list(again.pipe(make_docs(again, images))), expected)


@pytest.fixture(params=[True, False], ids=["beside", "in turn"])
def beside(request, monkeypatch):
    """Whether photos are looked at in a second thread."""
    monkeypatch.setattr(tongue_encoder, "has_core_to_spare", lambda: request.param)
    return request.param


def test_a_stream_is_as_single_calls(pair, images, beside, monkeypatch):
    deployed = pair[1]
    expected = [deployed(doc) for doc in make_docs(deployed, images)]
    threads = set()
    predict = tongue_encoder.TongueEncoder.predict

    def spy(self, docs):
        threads.add(threading.get_ident())
        return predict(self, docs)

    monkeypatch.setattr(tongue_encoder.TongueEncoder, "predict", spy)
    docs = make_docs(deployed, images)
    found = list(deployed.pipe(docs, batch_size=2))
    assert all(ours is doc for ours, doc in zip(found, docs, strict=True))
    for ours, theirs in zip(found, expected, strict=True):
        assert ours._.tongue == theirs._.tongue
    assert (threads == {threading.get_ident()}) is not beside


def test_a_batch_that_fails_goes_to_the_error_handler(pair, images, beside, monkeypatch):
    deployed = pair[1]
    predict = tongue_encoder.TongueEncoder.predict

    def fail_at_times(self, docs):
        if any(doc.text == "坏" for doc in docs):
            raise OSError("no luck")
        return predict(self, docs)

    monkeypatch.setattr(tongue_encoder.TongueEncoder, "predict", fail_at_times)
    encoder = deployed.get_pipe("tongue_encoder")
    docs = [*make_docs(deployed, images[:3]), deployed.make_doc("坏"), deployed.make_doc("好")]
    with pytest.raises(OSError, match="no luck"):
        list(deployed.pipe(docs, batch_size=2))
    failed = []
    encoder.set_error_handler(lambda name, pipe, docs, error: failed.append((name, docs, error)))
    try:
        found = list(deployed.pipe(docs, batch_size=2))
    finally:
        encoder.set_error_handler(raise_error)
    assert [id(doc) for doc in found] == [id(docs[i]) for i in (0, 1, 4)]
    ((name, lost, error),) = failed
    assert name == "tongue_encoder"
    assert lost == docs[2:4]
    assert isinstance(error, OSError)


def test_two_threads_may_use_one_pipeline(pair, images):
    deployed = pair[1]
    docs = make_docs(deployed, images)
    expected = [deployed(doc)._.tongue for doc in docs]
    with ThreadPoolExecutor(3) as pool:
        for _ in range(3):
            found = list(pool.map(deployed, make_docs(deployed, images)))
            assert [doc._.tongue for doc in found] == expected


def test_workers_do_not_hang(pair, images):
    """They are forked after the graphs were compiled and run here."""
    deployed = pair[1]
    expected = [doc._.tongue for doc in deployed.pipe(make_docs(deployed, images), batch_size=2)]
    docs = deployed.pipe(make_docs(deployed, images), batch_size=2, n_process=2)
    assert [doc._.tongue for doc in docs] == expected


ALONE = """
import json
import spacy
nlp = spacy.load(sys.argv[1])
docs = []
for path in sys.argv[2:]:
    doc = nlp.make_doc("舌红")
    doc._.tongue_image = path
    docs.append(doc)
found = [doc._.tongue for doc in nlp.pipe(docs, batch_size=1)]
print(json.dumps(found))
"""


def test_it_needs_no_torch(pair, images, tmp_path):
    deployed = pair[1]
    deployed.to_disk(tmp_path / "model")
    paths = [images[1], images[7]]
    found = json.loads(run_alone(LIGHT + ALONE, str(tmp_path / "model"), *paths))
    expected = [doc._.tongue for doc in deployed.pipe(make_docs(deployed, paths))]
    assert [tongue["status"] for tongue in found] == ["ok", "rejected"]
    assert found == json.loads(json.dumps(expected))


def test_a_pruned_net_takes_the_place_of_the_encoders_own(images):
    trained = make_trained(RESNET)
    encoder = trained.get_pipe("tongue_encoder")
    own = get_module(encoder.model.layers[0])
    torch.manual_seed(1)
    other = TongueNet(own.arch).train()
    before = encoder.predict(make_docs(trained, images)).scores
    model = deploy_tongue(encoder, other)
    assert other.training, "as it was"
    found = model.predict(make_docs(trained, images)).scores
    assert abs(found - before).max() > 1e-3
    numpy.testing.assert_array_equal(encoder.predict(make_docs(trained, images)).scores, before)


def test_what_it_cannot_do_names_the_remedy(pair, images, tmp_path):
    deployed = pair[1]
    encoder = deployed.get_pipe("tongue_encoder")
    docs = make_docs(deployed, images[1:2])
    encoder.cfg["heat_maps"] = True
    try:
        with pytest.raises(ModelError, match=r"E480.*tongue_encoder.*made from"):
            encoder(docs[0])
    finally:
        encoder.cfg["heat_maps"] = False
    with pytest.raises(ModelError, match="E481"):
        encoder.heads_to_disk(tmp_path / "heads")
    with pytest.raises(ModelError, match="E481"):
        deploy_tongue(encoder)
    example = Example(docs[0], deployed.make_doc("舌红"))
    with pytest.raises(ModelError, match="E470"):
        encoder.initialize(lambda: [example])
    with pytest.raises(ModelError, match="E470"):
        encoder.model.initialize()
    with pytest.raises(ModelError, match="E470"):
        encoder.update([example])


def test_an_encoder_without_weights_cannot_be_deployed():
    encoder = spacy.blank("tcm").add_pipe("tongue_encoder", config={"model": RESNET})
    with pytest.raises(ModelError, match="E401"):
        deploy_tongue(encoder)
