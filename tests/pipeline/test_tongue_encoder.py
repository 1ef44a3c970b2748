import pytest
import spacy
import torch
from spacy.training import Example
from spacy.util import fix_random_seed

from spacy_tcm.errors import ModelError
from spacy_tcm.models.weights import get_module

from .conftest import ENCODER, entities, gold, make_blank, make_docs, make_examples, photo, train


def test_describes_what_it_learnt(trained):
    docs = list(trained.pipe(make_docs(trained)))
    first = docs[0]._.tongue
    assert first["status"] == "ok"
    assert first["reasons"] == []
    assert first["quality"]
    colour = first["attributes"]["body_color"]
    assert colour["value"] == "regular"
    assert sum(colour["probabilities"].values()) == pytest.approx(1)
    assert list(colour["probabilities"]) == ["light", "regular", "dark"]
    assert colour["abstained"] is False
    assert docs[1]._.tongue["attributes"]["body_color"]["value"] == "dark"
    assert docs[3]._.tongue == {"status": "none", "reasons": [], "quality": {}, "attributes": {}}
    assert docs[0]._.tongue_data.shape == (16, 8)
    assert docs[3]._.tongue_data is None


def test_abstains_below_its_threshold(trained):
    pipe = trained.get_pipe("tongue_encoder")
    before = pipe.cfg["abstain_below"]
    pipe.cfg["abstain_below"] = 1.1
    try:
        doc = pipe(make_docs(trained)[0])
    finally:
        pipe.cfg["abstain_below"] = before
    assert all(a["abstained"] for a in doc._.tongue["attributes"].values())


def test_alone_in_a_pipeline():
    fix_random_seed(0)
    nlp = spacy.blank("tcm")
    nlp.add_pipe("tongue_encoder", config={"model": ENCODER})
    losses = train(nlp, make_examples(nlp), steps=40)
    assert losses["tongue_encoder"] < 0.2
    doc = nlp(make_docs(nlp)[1])
    assert doc._.tongue["attributes"]["body_color"]["value"] == "dark"


def test_same_photo_in_a_batch_is_encoded_once(trained):
    pipe = trained.get_pipe("tongue_encoder")
    seen = []
    net = get_module(pipe.model.layers[0])
    hook = net.register_forward_hook(lambda module, inputs, output: seen.append(len(inputs[0])))
    docs = [trained.make_doc("舌红") for _ in range(5)]
    image = photo("dark")
    for doc in docs[:4]:
        doc._.tongue_image = image
    try:
        features = pipe.predict(docs)
    finally:
        hook.remove()
    assert seen == [1]
    assert features.present.tolist() == [True] * 4 + [False]
    assert (features.regions[0] == features.regions[3]).all()


def test_unknown_attributes_do_not_train():
    """Labels are sparse: what is not said of a photo has no gradient."""
    nlp = make_blank()
    examples = make_examples(nlp)
    nlp.initialize(lambda: examples)
    pipe = nlp.get_pipe("tongue_encoder")
    features = pipe.predict([eg.predicted for eg in examples])
    _, gradient = pipe.get_loss(examples, features)
    assert list(pipe.attributes) == ["body_color", "fissure"]
    assert gradient[0].any()
    assert gradient[1, :3].any()
    assert not gradient[1, 3:].any(), "record 1 says nothing of fissures"
    assert not gradient[2:].any()


def test_frozen_but_annotating():
    fix_random_seed(0)
    nlp = make_blank()
    examples = make_examples(nlp)
    nlp.initialize(lambda: examples)
    net = get_module(nlp.get_pipe("tongue_encoder").model.layers[0])
    before = {k: v.clone() for k, v in net.state_dict().items()}
    kwargs = {"exclude": ["tongue_encoder"], "annotates": ["tongue_encoder"]}
    optimizer = nlp.resume_training()
    optimizer.learn_rate = 0.01
    for _ in range(80):
        nlp.update(examples, sgd=False, **kwargs)
        nlp.get_pipe("multimodal_ner").finish_update(optimizer)
    assert all(torch.equal(before[k], v) for k, v in net.state_dict().items())
    assert [entities(d) for d in nlp.pipe(make_docs(nlp))] == gold()


def test_frozen_and_not_annotating_is_an_error_not_text_only():
    nlp = make_blank()
    examples = make_examples(nlp)
    nlp.initialize(lambda: examples)
    with pytest.raises(ModelError, match=r"E406.*r0"):
        nlp.update(examples, exclude=["tongue_encoder"], sgd=False)


def test_learns_when_its_listener_is_frozen():
    fix_random_seed(0)
    nlp = make_blank()
    losses = train(nlp, make_examples(nlp), steps=60, exclude=["multimodal_ner"])
    assert losses["tongue_encoder"] < 0.2


def test_pending_gradients_take_the_listeners_part(trained):
    """Two updates before one optimiser step (accumulate_gradient) add up."""
    nlp = make_blank()
    examples = make_examples(nlp)
    nlp.initialize(lambda: examples)
    net = get_module(nlp.get_pipe("tongue_encoder").model.layers[0])
    nlp.update(examples, sgd=False)
    once = net.project.weight.grad.clone()
    nlp.update(examples, sgd=False)
    assert torch.allclose(net.project.weight.grad, 2 * once, rtol=1e-3, atol=1e-5)


def test_value_outside_the_vocabulary_names_the_record():
    nlp = make_blank()
    examples = make_examples(nlp)
    nlp.initialize(lambda: examples)
    examples[1].reference._.tongue_labels = {"body_color": "green"}
    with pytest.raises(ModelError, match=r"E411.*'r1'.*body_color.*green"):
        nlp.update(examples, sgd=False)


def test_given_attributes_win():
    nlp = spacy.blank("tcm")
    pipe = nlp.add_pipe("tongue_encoder", config={"model": ENCODER})
    pipe.initialize(
        lambda: make_examples(nlp), nlp=nlp, attributes={"body_color": ["dark", "regular"]}
    )
    assert pipe.attributes == {"body_color": ["dark", "regular"]}
    assert pipe.predict(make_docs(nlp)).scores.shape == (4, 2)


def test_score_counts_only_known_attributes(trained):
    reference = trained.make_doc("舌红")
    predicted = trained.get_pipe("tongue_encoder")(make_docs(trained)[1])
    reference._.tongue_labels = {"body_color": "dark", "not_an_attribute": "x"}
    pipe = trained.get_pipe("tongue_encoder")
    example = Example(predicted, trained.make_doc(predicted.text))
    example.reference._.tongue_labels = reference._.tongue_labels
    assert pipe.score([example])["tongue_acc"] == 1.0
    example.reference._.tongue_labels = None
    assert pipe.score([example])["tongue_acc"] is None


def test_wrong_image_size_is_an_error():
    nlp = spacy.blank("tcm")
    with pytest.raises(ModelError, match="E404"):
        nlp.add_pipe("tongue_encoder", config={"model": {**ENCODER, "image_size": 33}})
