"""A pipeline without training: terms by entity_ruler, photos by the safe loader alone."""

import pytest
import spacy
from spacy.language import Language

from spacy_tcm.images.load import load_tongue_image

TERMS = {"便血": "SYMPTOM", "舌红": "TONGUE", "苔黄腻": "TONGUE", "脉弦": "PULSE", "黄芪": "HERB"}


@Language.component("records_test_photo")
def look_at_photo(doc):
    loaded = load_tongue_image(doc._.tongue_image, 32)
    attributes = {}
    if loaded.status == "ok":
        probabilities = {"light": 0.1, "regular": 0.7, "dark": 0.2}
        attributes["body_color"] = {
            "value": "regular",
            "probabilities": probabilities,
            "abstained": False,
        }
    doc._.tongue = {
        "status": loaded.status,
        "reasons": list(loaded.reasons),
        "quality": loaded.quality,
        "attributes": attributes,
    }
    return doc


@pytest.fixture
def nlp():
    nlp = spacy.blank("tcm")
    patterns = [
        {"label": label, "pattern": [{"TEXT": character} for character in term]}
        for term, label in TERMS.items()
    ]
    nlp.add_pipe("entity_ruler").add_patterns(patterns)
    nlp.add_pipe("records_test_photo")
    return nlp
