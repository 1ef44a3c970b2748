import numpy
import pytest
import spacy

from spacy_tcm.models.lexicon_features import LexiconFeatures, lexicon_features

CATEGORIES = ("SYMPTOM", "HERB")


@pytest.fixture(scope="module")
def nlp():
    nlp = spacy.blank("tcm")
    nlp.tokenizer.add_terms(
        [("便血", "SYMPTOM"), ("口干苦", "SYMPTOM"), ("苦", "HERB"), ("血", "SIGN")]
    )
    return nlp


def show(row):
    names = [f"{p}-{c}" for c in CATEGORIES for p in "BMES"]
    return {name for name, x in zip(names, row, strict=True) if x}


def test_positions_by_category(nlp):
    features = lexicon_features(nlp.make_doc("见便血口干苦。苦"), CATEGORIES)
    assert [show(row) for row in features] == [
        set(),
        {"B-SYMPTOM"},
        {"E-SYMPTOM"},
        {"B-SYMPTOM"},
        {"M-SYMPTOM"},
        {"E-SYMPTOM", "S-HERB"},
        set(),
        {"S-HERB"},
    ]


def test_match_inside_a_token_has_no_place(nlp):
    doc = nlp.make_doc("ab便血")
    doc._.lexicon_matches = [[1, 4, "SYMPTOM"], [0, 1, "HERB"], [2, 4, "SYMPTOM"]]
    features = lexicon_features(doc, CATEGORIES)
    assert [show(row) for row in features] == [set(), {"B-SYMPTOM"}, {"E-SYMPTOM"}]


def test_characters_beyond_the_basic_plane(nlp):
    features = lexicon_features(nlp.make_doc("𠮷便血"), CATEGORIES)
    assert [show(row) for row in features] == [set(), {"B-SYMPTOM"}, {"E-SYMPTOM"}]


def test_dropout_only_in_training(nlp):
    layer = LexiconFeatures(CATEGORIES, dropout=0.5)
    doc = nlp.make_doc("便血" * 500)
    assert layer.predict([doc])[0].sum() == 1000
    numpy.random.seed(0)
    kept = layer([doc], is_train=True)[0][0].sum()
    assert 350 < kept < 650


def test_empty_doc_and_no_categories(nlp):
    assert lexicon_features(nlp.make_doc(""), CATEGORIES).shape == (0, 8)
    assert lexicon_features(nlp.make_doc("便血"), ()).shape == (2, 0)
