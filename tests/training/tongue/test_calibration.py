import numpy
import pytest
import spacy
from spacy.training import Example

from spacy_tcm.errors import ModelError
from spacy_tcm.images.colour import N_COLOURS
from spacy_tcm.models.photos import Photo
from spacy_tcm.training.tongue.calibration import LEAST, NEVER, calibrate_tongue, find_bound
from spacy_tcm.types import PhotoInfo, TongueFeatures

from ...tongues import RESNET

VALUES = ["light", "regular", "dark"]


def make(scores, monkeypatch):
    """A pipeline whose photos get these scores, one row each."""
    nlp = spacy.blank("tcm")
    model = {**RESNET, "inner": [4], "depths": [1]}
    pipe = nlp.add_pipe("tongue_encoder", config={"model": model})
    pipe.cfg["attributes"] = {"body_color": VALUES}
    pipe.model.attrs["n_values"], pipe.model.attrs["by_colour"] = [3], [True]
    pipe.model.initialize()
    at = iter(range(len(scores)))

    def predict(docs):
        rows = numpy.array([scores[next(at)] for _ in docs], dtype="float32")
        regions = numpy.zeros((len(docs), 1, 8), dtype="float32")
        present = numpy.ones(len(docs), dtype=bool)
        colours = numpy.full(N_COLOURS, 2.0, dtype="float32")
        photos = [Photo(PhotoInfo("ok"), colours=colours)] * len(docs)
        return TongueFeatures(regions, present, rows, [PhotoInfo("ok")] * len(docs), photos)

    monkeypatch.setattr(pipe, "predict", predict)
    return nlp


def labelled(nlp, labels):
    examples = []
    for label in labels:
        example = Example(nlp.make_doc(""), nlp.make_doc(""))
        example.reference._.tongue_labels = {} if label is None else {"body_color": label}
        examples.append(example)
    return examples


def draw(n, sharpness):
    """Labels drawn from the probabilities of scores that are then made too sharp."""
    generator = numpy.random.default_rng(0)
    scores = generator.normal(0, 1.5, (n, 3))
    p = numpy.exp(scores) / numpy.exp(scores).sum(1, keepdims=True)
    labels = [VALUES[generator.choice(3, p=row)] for row in p]
    return scores * sharpness, labels


@pytest.mark.parametrize("sharpness", [0.5, 1.0, 3.0])
def test_finds_the_temperature_that_the_labels_were_drawn_at(sharpness, monkeypatch):
    scores, labels = draw(1500, sharpness)
    nlp = make(scores, monkeypatch)
    found = calibrate_tongue(nlp, labelled(nlp, labels))["body_color"]
    assert found["temperature"] == pytest.approx(sharpness, rel=0.15)
    assert found["photos"] == 1500
    assert found["calibration_error"]["after"] < 0.04
    pipe = nlp.get_pipe("tongue_encoder")
    assert pipe.temperatures == {"body_color": found["temperature"]}
    assert pipe.bounds == {"body_color": found["bound"]}
    # New statistics are mean 0 and variance 1: all photos are two deviations away.
    assert pipe.cfg["most_distant"] == pytest.approx(2.0, rel=1e-3)


def test_what_it_tells_above_the_bound_is_right_as_often_as_wanted(monkeypatch):
    scores, labels = draw(3000, 1.0)
    nlp = make(scores, monkeypatch)
    found = calibrate_tongue(nlp, labelled(nlp, labels), target=0.85)["body_color"]
    p = numpy.exp(scores / found["temperature"])
    p /= p.sum(1, keepdims=True)
    told = p.max(1) >= found["bound"]
    right = numpy.array([VALUES[k] for k in p.argmax(1)]) == labels
    assert right[told].mean() == pytest.approx(0.85, abs=0.03)
    assert found["coverage"] == pytest.approx(told.mean(), abs=0.001)


def test_bounds_by_hand():
    best = numpy.array([0.5, 0.99, 0.9, 0.7])
    assert find_bound(best, 0.9) == 0.9  # of three the mean is 0.863
    assert find_bound(best, 0.6) == 0.5
    assert find_bound(best, 0.995) == NEVER
    assert find_bound(numpy.array([]), 0.5) == NEVER


def test_clear_errors(monkeypatch):
    nlp = make([[0, 0, 1.0]] * (LEAST + 20), monkeypatch)
    with pytest.raises(ModelError, match=r"E447.*body_color: light, regular, dark"):
        calibrate_tongue(nlp, labelled(nlp, ["dark"] * (LEAST - 1)))
    with pytest.raises(ModelError, match="E448"):
        calibrate_tongue(nlp, [], target=1.0)
    with pytest.raises(ModelError, match="E446"):
        calibrate_tongue(spacy.blank("tcm"), [])
