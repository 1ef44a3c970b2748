import numpy
import pytest
import torch

from spacy_tcm.training.pretraining.encoder import write_tokenizer
from spacy_tcm.training.pretraining.masked_lm import Pretraining, new_model
from spacy_tcm.training.pretraining.warm_start import (
    SCALE,
    WINDOW,
    count_pairs,
    factorize,
    sinusoids,
    warm_start,
)


@pytest.fixture
def tokenizer(vocabulary, tmp_path):
    return write_tokenizer(vocabulary, tmp_path / "tokenizer", 64)


def test_pairs_are_counted_by_distance_within_a_text(tokenizer):
    counts, pairs = count_pairs(tokenizer, ["口干", "舌淡口干", "脉"])
    mouth, dry, tongue, pale, pulse = tokenizer.convert_tokens_to_ids(list("口干舌淡脉"))
    assert counts[[mouth, dry, tongue, pale, pulse]].tolist() == [2, 2, 1, 1, 1]
    assert counts.sum() == 7
    assert pairs[mouth, dry] == 2 * WINDOW[0]
    assert pairs[tongue, [pale, mouth, dry]] == pytest.approx(WINDOW)
    assert pairs[dry, tongue] == pairs[dry, pulse] == pairs[dry, mouth] == 0, "never across texts"
    assert pairs.sum() == pytest.approx(4 * WINDOW[0] + 2 * WINDOW[1] + WINDOW[2])


def test_subwords_of_like_company_have_like_vectors():
    """0 and 1 stand before 4, and 2 and 3 before 5."""
    pairs = numpy.zeros((6, 6), dtype="float32")
    pairs[[0, 1], 4] = pairs[[2, 3], 5] = 10
    vectors = factorize(pairs, 4, seed=0)
    assert torch.allclose(vectors.norm(dim=1), torch.tensor(2.0))
    alike = torch.nn.functional.cosine_similarity
    assert alike(vectors[0], vectors[1], dim=0) > 0.99
    assert alike(vectors[2], vectors[3], dim=0) > 0.99
    assert alike(vectors[0], vectors[2], dim=0) < 0.1
    assert torch.equal(factorize(pairs, 4, seed=0), vectors)


def test_positions_differ_and_near_ones_are_alike():
    found = sinusoids(64, 24)
    assert found.shape == (64, 24)
    likeness = found @ found[10]
    assert likeness.argmax() == 10
    assert likeness[11] > likeness[14] > likeness[20]
    assert sinusoids(5, 7).shape == (5, 7)


def test_only_what_can_be_counted_is_changed(tokenizer, texts, vocabulary, small):
    model, before = (new_model(small().shape, len(vocabulary), seed=0) for _ in range(2))
    warm_start(model, tokenizer, texts.domain, seed=0)
    counts, _ = count_pairs(tokenizer, texts.domain)
    old, new = (m.bert.embeddings.word_embeddings.weight.detach() for m in (before, model))
    seen = torch.as_tensor(counts > 0)
    assert not torch.isclose(old[seen], new[seen]).all(dim=1).any()
    assert torch.equal(old[~seen], new[~seen])
    assert float(new[seen].std()) == pytest.approx(SCALE, rel=0.2)
    assert torch.equal(model.cls.predictions.decoder.weight, new), "input and output stay one"
    frequency = model.cls.predictions.bias.detach().exp()
    assert float(frequency.sum()) == pytest.approx(1, abs=1e-5)
    assert frequency.argmax() == int(counts.argmax())
    for name, parameter in before.bert.encoder.named_parameters():
        assert torch.equal(parameter, model.bert.encoder.get_parameter(name)), name


def test_a_run_begins_with_it_once(tmp_path, texts, vocabulary, small):
    warm, cold = (
        Pretraining(tmp_path / str(flag), vocabulary, small(steps=60, warm_start=flag))
        for flag in (True, False)
    )
    for run in (warm, cold):
        run.run(texts)
    assert warm.history[0]["loss"] < cold.history[0]["loss"]

    again = Pretraining(tmp_path / "True", vocabulary, small(steps=61))
    before = again.model.bert.embeddings.position_embeddings.weight.detach().clone()
    again.run(texts)
    after = again.model.bert.embeddings.position_embeddings.weight
    assert torch.allclose(before, after, atol=0.02), "a resumed run has its own weights"
