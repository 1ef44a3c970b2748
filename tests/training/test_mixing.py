import json
import random
from collections import Counter

import pytest
import spacy
from spacy.util import registry

from spacy_tcm.errors import RecordError
from spacy_tcm.training.corpus import create_record_corpus
from spacy_tcm.training.mixing import create_mixed_corpus

NLP = spacy.blank("tcm")


@pytest.fixture
def corpora(tmp_path):
    for name, text in (("a", "便血"), ("b", "口干")):
        lines = [
            {"id": f"{name}{i}", "text": text, "entities": [[0, 2, "SYMPTOM"]]} for i in range(20)
        ]
        content = "".join(json.dumps(line) + "\n" for line in lines)
        (tmp_path / f"{name}.jsonl").write_text(content)
    return tmp_path


def counts(corpus) -> Counter:
    return Counter(example.text for example in corpus(NLP))


def test_all_corpora_in_one_pass_each_pass_in_another_order(corpora):
    config = {
        "train": {
            "@readers": "spacy_tcm.MixedCorpus.v1",
            "corpora": {
                "a": {"@readers": "spacy_tcm.RecordCorpus.v1", "path": f"{corpora}/a.jsonl"},
                "b": {"@readers": "spacy_tcm.RecordCorpus.v1", "path": f"{corpora}/b.jsonl"},
                "c": None,
            },
        }
    }
    mixed = registry.resolve(config)["train"]
    first, second = ([eg.text for eg in mixed(NLP)] for _ in range(2))
    assert Counter(first) == Counter(second) == {"便血": 20, "口干": 20}
    assert first != second
    assert first != sorted(first)


def test_weights(corpora):
    a = create_record_corpus(corpora / "a.jsonl", weight=2.5)
    b = create_record_corpus(corpora / "b.jsonl", weight=0.25)
    mixed = create_mixed_corpus({"a": a, "b": b})
    passes = [counts(mixed) for _ in range(20)]
    assert all(40 <= found["便血"] <= 60 for found in passes)
    assert sum(found["便血"] for found in passes) == pytest.approx(20 * 50, rel=0.05)
    assert sum(found["口干"] for found in passes) == pytest.approx(20 * 5, rel=0.3)
    assert len({found["口干"] for found in passes}) > 1, "drawn anew for each pass"


def test_the_same_seed_shows_the_same(corpora):
    def orders(seed):
        reader = create_record_corpus(corpora / "a.jsonl", weight=0.5, seed=seed)
        mixed = create_mixed_corpus({"a": reader}, seed)
        return [[eg.reference._.record_id for eg in mixed(NLP)] for _ in range(3)]

    assert orders(1) == orders(1)
    assert orders(1) != orders(2)


def test_augmented_anew_each_time(corpora):
    def augment(record, rng: random.Random):
        return {**record, "text": record["text"] + rng.choice("，。；：")}

    corpus = create_record_corpus(corpora / "a.jsonl", augmenter=augment)
    first, second = ([eg.text for eg in corpus(NLP)] for _ in range(2))
    assert first != second
    assert len(set(first)) > 1


def test_nothing_to_mix():
    with pytest.raises(RecordError, match="E350"):
        create_mixed_corpus({"a": None})


def test_a_pass_without_examples(corpora):
    mixed = create_mixed_corpus({"a": create_record_corpus(corpora / "a.jsonl", weight=0)})
    with pytest.raises(RecordError, match="E353"):
        list(mixed(NLP))
