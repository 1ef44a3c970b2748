"""The wheel in models/ is the one its page speaks of, and does its work without torch."""

import hashlib
import zipfile
from pathlib import Path

import pytest
import spacy

from spacy_tcm.errors import ModelError
from spacy_tcm.tags import LABELS

from .conftest import LIGHT, run_alone

ROOT = Path(__file__).parents[1]
(WHEEL,) = (ROOT / "models").glob("tcm_multimodal-*.whl")
PHOTO = ROOT / "assets" / "examples" / "images" / "example-01.jpg"
TEXT = "患者便血3天，色鲜红，舌淡红偏暗，苔薄黄腻，脉弦细数。"
RUN = """
import spacy

nlp = spacy.load(sys.argv[1])
doc = nlp.make_doc(sys.argv[2])
doc._.tongue_image = sys.argv[3]
doc = nlp(doc)
print(*(f"{ent.text}/{ent.label_}" for ent in doc.ents), doc._.tongue["status"])
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("wheel")
    with zipfile.ZipFile(WHEEL) as wheel:
        wheel.extractall(out)
    (config,) = out.glob("tcm_multimodal/*/config.cfg")
    return config.parent


def test_checksum_and_size():
    digest, name = (ROOT / "models" / "SHA256SUMS").read_text("utf8").split()
    assert name == WHEEL.name
    assert hashlib.sha256(WHEEL.read_bytes()).hexdigest() == digest
    assert WHEEL.stat().st_size <= 30_000_000


def test_it_works_where_torch_cannot_be_imported(folder):
    *found, status = run_alone(LIGHT + RUN, str(folder), TEXT, str(PHOTO)).split()
    assert {"便血/SYMPTOM", "舌淡红偏暗/TONGUE", "苔薄黄腻/TONGUE", "脉弦细数/PULSE"} <= {*found}
    assert status == "ok"


def test_one_by_one_and_together(folder):
    nlp = spacy.load(folder)
    assert nlp.get_pipe("multimodal_ner").labels == tuple(sorted(LABELS))
    texts = ["", TEXT, "口干", TEXT * 90, "2019年初夏 COVID19 𠀋"]

    def found(doc):
        return [(ent.start, ent.end, ent.label_) for ent in doc.ents]

    alone = [nlp(text) for text in texts]
    for doc, other in zip(alone, nlp.pipe(texts), strict=True):
        assert found(doc) == found(other)
        for ent, same in zip(doc.ents, other.ents, strict=True):
            assert ent._.score == pytest.approx(same._.score, abs=1e-5)
    assert found(alone[1])
    assert not any(
        str(ROOT) in str(value) or "/tmp" in str(value) for value in (nlp.config, nlp.meta)
    )
    with pytest.raises(ModelError, match="E470"):
        nlp.get_pipe("multimodal_ner").model.begin_update([nlp.make_doc(TEXT)])
