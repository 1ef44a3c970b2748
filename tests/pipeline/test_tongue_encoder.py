import sys

import numpy
import pytest
import spacy
import torch
from PIL import Image
from safetensors.torch import load_file
from spacy.tokens import Doc
from spacy.training import Example
from spacy.util import fix_random_seed

from spacy_tcm.errors import ModelError
from spacy_tcm.images.heat import share_by_zone
from spacy_tcm.images.render import random_attributes, render_tongue
from spacy_tcm.models.weights import get_module

from ..tongues import ASSETS, EFFICIENTNET, RESNET
from .conftest import entities, gold, make_blank, make_docs, make_examples, photo, train


def test_describes_what_it_learnt(trained):
    docs = list(trained.pipe(make_docs(trained)))
    first = docs[0]._.tongue
    assert first["status"] == "ok"
    assert first["reasons"] == []
    assert first["quality"]
    colour = first["attributes"]["body_color"]
    assert colour["value"] == "regular"
    assert sum(colour["probabilities"].values()) == pytest.approx(1)
    assert list(colour["probabilities"]) == ["regular", "dark"], "no photo is light"
    assert (colour["term"], docs[1]._.tongue["attributes"]["body_color"]["term"]) == ("淡红", "红")
    assert first["attributes"]["fissure"]["term"] is None
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
    nlp.add_pipe("tongue_encoder", config={"model": RESNET})
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
    pipe = nlp.add_pipe("tongue_encoder", config={"model": RESNET})
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
        nlp.add_pipe("tongue_encoder", config={"model": {**RESNET, "image_size": 33}})


EFFICIENT = {**EFFICIENTNET, "dropout": 0.0, "colour_dropout": 0.0}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Rendered tongues as files, with the labels that they were drawn from."""
    folder = tmp_path_factory.mktemp("photos")
    found = []
    for seed in range(6):
        labels = {
            **random_attributes(seed),
            "body_color": ("light", "dark")[seed % 2],
            "fissure": ("none", "severe")[seed // 3],
        }
        path = folder / f"{seed}.png"
        Image.fromarray(render_tongue(labels, size=200, seed=seed)).save(path)
        found.append((str(path), {name: labels[name] for name in ("body_color", "fissure")}))
    return found


def photo_examples(nlp, photos):
    examples = []
    for path, labels in photos:
        example = Example(nlp.make_doc(""), nlp.make_doc(""))
        example.predicted._.tongue_image = path
        example.reference._.tongue_labels = labels
        examples.append(example)
    return examples


def test_published_weights_and_segmenter_overfit_and_reload(photos, tmp_path):
    fix_random_seed(0)
    nlp = spacy.blank("tcm")
    nlp.add_pipe("tongue_encoder", config={"model": {**EFFICIENT, "lights": 1}})
    examples = photo_examples(nlp, photos)
    train(nlp, examples, steps=80)
    net = get_module(nlp.get_pipe("tongue_encoder").model.layers[0])
    published = load_file(ASSETS / "trunk.safetensors")
    for name, tensor in net.trunk.state_dict().items():
        assert torch.equal(tensor, published[name].to(tensor.dtype)), "frozen"

    def read(pipeline):
        docs = [example.predicted for example in photo_examples(pipeline, photos)]
        return [doc._.tongue for doc in pipeline.pipe(docs)]

    found = read(nlp)
    named = [{n: a["value"] for n, a in t["attributes"].items()} for t in found]
    assert named == [labels for _, labels in photos]
    assert all(0 < tongue["quality"]["tongue_share"] < 1 for tongue in found)
    nlp.to_disk(tmp_path / "model")
    assert read(spacy.load(tmp_path / "model")) == found
    again = spacy.blank("tcm")
    again.add_pipe("tongue_encoder", config={"model": EFFICIENT})
    again.from_bytes(nlp.to_bytes())
    assert read(again) == found
    one = nlp(photo_examples(nlp, photos)[2].predicted)._.tongue
    for name, attribute in one["attributes"].items():
        expected = found[2]["attributes"][name]["probabilities"]
        assert attribute["probabilities"] == pytest.approx(expected, abs=1e-5)


def test_colours_come_from_colours_alone(photos):
    """And the other attributes not from them: so they are learned apart."""
    nlp = spacy.blank("tcm")
    pipe = nlp.add_pipe("tongue_encoder", config={"model": EFFICIENT})
    examples = photo_examples(nlp, photos)
    nlp.initialize(lambda: examples)
    assert list(pipe.attributes) == ["body_color", "fissure"]
    net = get_module(pipe.model.layers[0])
    pixels = torch.randint(0, 255, (2, 64, 64, 3))
    masks, colours = torch.ones(2, 64, 64), torch.randn(2, 30)
    with torch.no_grad():
        net.eval()
        _, before = net(pixels, masks, colours)
        _, other_colours = net(pixels, masks, colours + 1)
        _, other_pixels = net(255 - pixels, masks, colours)
    n = len(pipe.attributes["body_color"])
    assert (before[:, n:] == other_colours[:, n:]).all()
    assert (before[:, :n] != other_colours[:, :n]).any()
    assert (before[:, :n] == other_pixels[:, :n]).all()
    assert (before[:, n:] != other_pixels[:, n:]).any()


def test_heads_are_taken_over_and_learn_no_further(photos, tmp_path):
    fix_random_seed(0)
    nlp = spacy.blank("tcm")
    first = nlp.add_pipe("tongue_encoder", config={"model": EFFICIENT})
    examples = photo_examples(nlp, photos)
    train(nlp, examples, steps=20)
    first.cfg.update(temperatures={"body_color": 2.0}, bounds={"fissure": 1.01})
    first.heads_to_disk(tmp_path / "heads.safetensors")
    expected = [nlp(eg.predicted)._.tongue for eg in photo_examples(nlp, photos)]

    again = spacy.blank("tcm")
    pipe = again.add_pipe("tongue_encoder", config={"model": EFFICIENT})
    settings = {"heads": str(tmp_path / "heads.safetensors")}
    again.config["initialize"]["components"]["tongue_encoder"] = settings
    examples = photo_examples(again, photos)
    again.initialize(lambda: examples)
    assert pipe.attributes == first.attributes
    optimizer = again.resume_training()
    losses = {}
    for _ in range(3):
        again.update(examples, sgd=optimizer, losses=losses)
    assert losses == {"tongue_encoder": 0.0}
    again.to_disk(tmp_path / "model")
    for pipeline in (again, spacy.load(tmp_path / "model")):
        found = [pipeline(eg.predicted)._.tongue for eg in photo_examples(pipeline, photos)]
        assert found == expected
    assert all(t["attributes"]["fissure"]["abstained"] for t in expected)


def test_heads_of_another_trunk_are_refused(photos, tmp_path):
    nlp = spacy.blank("tcm")
    pipe = nlp.add_pipe("tongue_encoder", config={"model": EFFICIENT})
    examples = photo_examples(nlp, photos)
    nlp.initialize(lambda: examples)
    pipe.heads_to_disk(tmp_path / "heads.safetensors")
    other = spacy.blank("tcm")
    other.add_pipe("tongue_encoder", config={"model": {**EFFICIENT, "weights": None}})
    settings = {"heads": str(tmp_path / "heads.safetensors")}
    other.config["initialize"]["components"]["tongue_encoder"] = settings
    with pytest.raises(ModelError, match="E454"):
        other.initialize(lambda: photo_examples(other, photos))


def switch(nlp, **settings):
    """A copy of the pipeline with other settings of its tongue encoder."""
    copy = spacy.blank("tcm").from_config(nlp.config).from_bytes(nlp.to_bytes())
    copy.get_pipe("tongue_encoder").cfg.update(settings)
    return copy


def test_heat_maps_survive_processes_and_bytes(trained):
    nlp = switch(trained, heat_maps=True)
    docs = list(nlp.pipe(make_docs(nlp), batch_size=2))
    for doc, other in zip(docs, trained.pipe(make_docs(trained)), strict=True):
        assert other._.tongue_heat is None
        if other._.tongue["status"] != "ok":
            assert doc._.tongue_heat is None
            continue
        heat, attributes = doc._.tongue_heat, doc._.tongue["attributes"]
        assert list(heat["maps"]) == list(attributes) == ["body_color", "fissure"]
        assert heat["photo"].shape == (32, 32, 3)
        assert heat["mask"].dtype == bool
        for name, found in attributes.items():
            assert heat["maps"][name].shape == (32, 32)
            assert heat["maps"][name].dtype == numpy.uint8
            regions = found.pop("regions")
            assert regions == share_by_zone(heat["maps"][name], heat["mask"])
            assert not regions or sum(regions.values()) == pytest.approx(1)
            expected = other._.tongue["attributes"][name]
            assert found["value"] == expected["value"]
            assert list(found) == list(expected)
    parallel = list(nlp.pipe(make_docs(nlp), batch_size=2, n_process=2))
    copied = [Doc(nlp.vocab).from_bytes(doc.to_bytes()) for doc in docs]
    for doc, *others in zip(docs, parallel, copied, strict=True):
        for other in others:
            numpy.testing.assert_equal(other._.tongue_heat, doc._.tongue_heat)


def test_heat_maps_without_captum_name_the_remedy(trained, monkeypatch):
    nlp = switch(trained, heat_maps=True)
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    with pytest.raises(ModelError, match=r"E463.*'\.\[train\]'"):
        nlp(make_docs(nlp)[0])
    assert trained(make_docs(trained)[0])._.tongue["status"] == "ok"


def test_settings_of_pictures_are_saved():
    config = {"model": RESNET, "heat_maps": True, "crop_only": True}
    nlp = spacy.blank("tcm")
    assert nlp.add_pipe("tongue_encoder").cfg["heat_maps"] is False
    pipe = nlp.add_pipe("tongue_encoder", name="other", config=config)
    assert (pipe.cfg["heat_maps"], pipe.cfg["crop_only"]) == (True, True)


def test_without_segmenter_nothing_can_be_cropped(trained):
    nlp = switch(trained, crop_only=True)
    with pytest.raises(ModelError, match=r"E464.*'tongue_encoder'"):
        nlp(make_docs(nlp)[0])


def test_only_the_crop_stays(photos, tmp_path):
    nlp = spacy.blank("tcm")
    nlp.add_pipe("tongue_encoder", config={"model": EFFICIENT, "crop_only": True})
    nlp.get_pipe("tongue_encoder").cfg["heat_maps"] = True
    examples = photo_examples(nlp, photos)
    nlp.initialize(lambda: examples)
    secret = tmp_path / "张三.png"
    tongue = render_tongue(random_attributes(0), size=200, seed=0)
    face = numpy.pad(tongue, ((0, 0), (90, 90), (0, 0)))
    face[:, :60] = (1, 254, 3)  # what tells who it is
    Image.fromarray(face).save(secret)
    blank = tmp_path / "李四.png"
    Image.fromarray(numpy.zeros((80, 80, 3), dtype="uint8")).save(blank)
    docs = [nlp.make_doc("") for _ in range(3)]
    for doc, image in zip(docs, [str(secret), str(blank), None], strict=True):
        doc._.tongue_image = image
    docs = list(nlp.pipe(docs))
    assert [doc._.tongue["status"] for doc in docs] == ["ok", "rejected", "none"]
    crop = docs[0]._.tongue_image
    assert (crop.shape, crop.dtype) == ((64, 64, 3), numpy.uint8)
    assert (crop[0] == 127).all(), "grey around the tongue"
    assert (crop[32, 32] != 127).any()
    numpy.testing.assert_array_equal(docs[0]._.tongue_heat["photo"], crop)
    assert [doc._.tongue_image for doc in docs[1:]] == [None, None]
    assert docs[1]._.tongue["reasons"]
    for doc in docs:
        data = doc.to_bytes()
        assert str(tmp_path).encode() not in data
        assert "张三".encode() not in data
        assert "李四".encode() not in data


def test_colours_unlike_those_learned_from_are_abstained_from(trained):
    pipe = trained.get_pipe("tongue_encoder")
    doc = pipe(make_docs(trained)[0])
    distance = doc._.tongue["quality"]["colour_distance"]
    assert distance > 0
    assert not doc._.tongue["attributes"]["body_color"]["abstained"]
    nlp = switch(trained, most_distant=distance - 0.01)
    found = nlp.get_pipe("tongue_encoder")(make_docs(nlp)[0])._.tongue["attributes"]
    assert found["body_color"]["abstained"]
    assert found["body_color"]["unfamiliar"]
    assert found["fissure"] == doc._.tongue["attributes"]["fissure"], "not told from colours"


def test_an_impossible_bound_is_refused():
    with pytest.raises(ModelError, match="E465"):
        spacy.blank("tcm").add_pipe("tongue_encoder", config={"abstain_below": 3, "model": RESNET})
