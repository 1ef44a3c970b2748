"""The shipped configs hold together, narrow and on a record or two."""

import json
from pathlib import Path

import pytest
from PIL import Image
from spacy.training.initialize import init_nlp
from spacy.training.loop import train
from spacy.util import load_config

from spacy_tcm.images.render import random_attributes, render_tongue
from spacy_tcm.tags import LABELS
from spacy_tcm.training.pretraining.encoder import EncoderShape, build_encoder

CONFIGS = Path(__file__).parents[1] / "configs"
OTHERS = ("tcm_abstracts", "tcm_web", "drug_leaflets", "consumer_qa")
SHORT = {
    "training.max_steps": 2,
    "training.eval_frequency": 2,
    "training.logger.progress_bar": False,
}


def write(path: Path, *records: dict) -> str:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf8")
    return str(path)


@pytest.fixture
def paths(tmp_path):
    record = {"id": "a", "text": "便血3天", "entities": [[0, 2, "SYMPTOM"], [2, 4, "TIME"]]}
    shape = EncoderShape(hidden=24, layers=1, heads=4, feed_forward=48, positions=64)
    build_encoder([record["text"]], tmp_path / "encoder", shape=shape)
    corpus = write(tmp_path / "records.jsonl", record)
    return {
        "paths.train": corpus,
        "paths.tune": corpus,
        "paths.images": str(tmp_path),
        "paths.lexicon": None,
        "paths.encoder": str(tmp_path / "encoder"),
    }


def test_tinybert(paths, narrow, tmp_path):
    nlp = init_nlp(load_config(CONFIGS / "tinybert.cfg", overrides={**paths, **narrow, **SHORT}))
    train(nlp, tmp_path)
    assert nlp("便血3天").has_annotation("ENT_IOB")


def test_joint(paths, narrow, tmp_path):
    """Corpora with labels of their own beside ours, each through its map."""
    config = load_config(CONFIGS / "joint.cfg", interpolate=False)
    for name in OTHERS:
        label_map = config["corpora"]["train"]["corpora"][name]["label_map"]
        targets = [[t] if isinstance(t, str) else t or [] for t in label_map.values()]
        assert {target for several in targets for target in several} <= set(LABELS)
        records = [
            {"id": f"{name}{i}", "text": "便血3天", "entities": [[0, 2, label]]}
            for i, label in enumerate(label_map)
        ]
        write(tmp_path / f"{name}.train.jsonl", *records)
    overrides = {
        **paths,
        **narrow,
        **SHORT,
        "paths.gold23": paths["paths.train"],
        "paths.data": str(tmp_path),
    }
    nlp = init_nlp(load_config(CONFIGS / "joint.cfg", overrides=overrides))
    assert set(nlp.get_pipe("multimodal_ner").labels) == set(LABELS)
    train(nlp, tmp_path)
    assert nlp("便血3天").has_annotation("ENT_IOB")


def test_photos_cpu(tmp_path):
    """The shipped heads tell attributes from the start, and training leaves them as they are."""
    picture = render_tongue(random_attributes(3), size=128, seed=3)
    Image.fromarray(picture).save(tmp_path / "a.png")
    record = {"id": "a", "text": "舌红苔黄", "entities": [[0, 2, "TONGUE"], [2, 4, "TONGUE"]]}
    corpus = write(tmp_path / "records.jsonl", {**record, "image": "a.png"})
    assets = CONFIGS.parent / "assets" / "tongue"
    model = "components.tongue_encoder.model"
    overrides = {
        "paths.train": corpus,
        "paths.tune": corpus,
        "paths.images": str(tmp_path),
        "paths.lexicon": None,
        f"{model}.image_size": 64,
        f"{model}.weights": str(assets / "trunk.safetensors"),
        f"{model}.segmenter.weights": str(assets / "segmenter.safetensors"),
        "initialize.components.tongue_encoder.heads": str(assets / "heads.safetensors"),
        **SHORT,
    }
    nlp = init_nlp(load_config(CONFIGS / "photos_cpu.cfg", overrides=overrides))
    encoder = nlp.get_pipe("tongue_encoder")
    assert set(encoder.temperatures) == set(encoder.bounds) == set(encoder.attributes)
    assert set(encoder.attributes) == {"coating_color", "body_color", "fissure", "tooth_marks"}

    def look(pipeline):
        doc = pipeline.make_doc(record["text"])
        doc._.tongue_image = str(tmp_path / "a.png")
        return pipeline(doc)

    before = look(nlp)._.tongue
    assert before["status"] == "ok"
    train(nlp, tmp_path)
    assert look(nlp)._.tongue == before
