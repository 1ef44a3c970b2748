import json
from dataclasses import replace

import numpy
import pytest
import torch

from spacy_tcm.errors import ModelError
from spacy_tcm.training.pretraining import run as run_module
from spacy_tcm.training.pretraining.batches import shuffled
from spacy_tcm.training.pretraining.checkpoint import CHECKPOINT
from spacy_tcm.training.pretraining.masked_lm import Pretraining
from spacy_tcm.training.pretraining.run import fast_dtype
from spacy_tcm.training.pretraining.settings import Settings


class Kill(BaseException):
    pass


def killed_after(updates):
    """A report that ends the run in this update, as a kill would."""
    seen = []

    def report(_loss):
        seen.append(_loss)
        if len(seen) == updates:
            raise Kill

    return report


def weights(run):
    return {name: p.detach().clone() for name, p in run.net.named_parameters()}


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


def test_loss_and_perplexity_go_down(tmp_path, texts, vocabulary, lexicon, small):
    run = Pretraining(tmp_path, vocabulary, small(steps=150), lexicon)
    before = run.evaluate(texts)
    run.run(texts)
    after = run.history[-1]
    assert run.history[0]["loss"] > 1.5 * after["loss"]
    assert before["domain_perplexity"] > 3 * after["domain_perplexity"]
    assert before["general_perplexity"] > 3 * after["general_perplexity"]
    assert [entry["step"] for entry in run.history] == [50, 100, 150]
    written = json.loads((tmp_path / "pretraining.json").read_text(encoding="utf8"))
    assert written["history"] == run.history
    assert written["tokens"] == run.tokens == after["tokens"]


@pytest.mark.parametrize(("save_every", "killed"), [(3, 7), (5, 5), (4, 11)])
def test_killed_and_resumed_is_the_same_bit_for_bit(
    tmp_path, texts, vocabulary, lexicon, small, save_every, killed
):
    whole = Pretraining(tmp_path / "whole", vocabulary, small(), lexicon)
    whole.run(texts, save_every=save_every, evaluate_every=4)

    first = Pretraining(tmp_path / "two", vocabulary, small(), lexicon)
    with pytest.raises(Kill):
        first.run(texts, save_every=save_every, evaluate_every=4, report=killed_after(killed))
    torch.manual_seed(99)  # a new process would not have the old one's state
    second = Pretraining(tmp_path / "two", vocabulary, small(), lexicon)
    assert second.step == (killed - 1) // save_every * save_every
    second.run(texts, save_every=save_every, evaluate_every=4)
    assert same(weights(whole), weights(second))
    assert second.history == whole.history
    assert second.tokens == whole.tokens
    files = [tmp_path / name / "model.safetensors" for name in ("whole", "two")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_a_run_can_be_made_longer(tmp_path, texts, vocabulary, small):
    Pretraining(tmp_path, vocabulary, small(steps=4)).run(texts)
    again = Pretraining(tmp_path, vocabulary, small(steps=4))
    before = weights(again)
    again.run(texts)
    assert same(before, weights(again)), "nothing is left to do"
    longer = Pretraining(tmp_path, vocabulary, small(steps=7))
    assert longer.step == 4
    longer.run(texts)
    assert longer.step == 7
    assert not same(before, weights(longer))
    assert [entry["step"] for entry in longer.history] == [4, 7]


def test_a_longer_run_than_asked_for_is_left_alone(tmp_path, texts, vocabulary, small):
    Pretraining(tmp_path, vocabulary, small(steps=4)).run(texts)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    Pretraining(tmp_path, vocabulary, small(steps=2)).run(texts)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_goes_on_with_the_same_texts_lexicon_and_vocabulary_only(
    tmp_path, texts, vocabulary, lexicon, small
):
    Pretraining(tmp_path, vocabulary, small(steps=2), lexicon, full=vocabulary).run(texts)
    swapped = replace(texts, domain=texts.general, general=texts.domain)
    for changes, others, names in [
        ({}, swapped, "texts"),
        ({"lexicon": None}, texts, "lexicon"),
        ({"full": [*vocabulary, "新"]}, texts, "vocab"),
    ]:
        given = {"lexicon": lexicon, "full": vocabulary} | changes
        run = Pretraining(tmp_path, vocabulary, small(steps=3), **given)
        with pytest.raises(ModelError, match=f"E432.* for {names}\\."):
            run.run(others)
    state = tmp_path / CHECKPOINT / "state.json"
    older = json.loads(state.read_text(encoding="utf8"))
    del older["inputs"]
    state.write_text(json.dumps(older), encoding="utf8")
    Pretraining(tmp_path, vocabulary, small(steps=3)).run(swapped)
    assert json.loads(state.read_text(encoding="utf8"))["step"] == 3


def gradients(run, batch):
    run.optimizer.zero_grad = lambda: None
    found = run._update(batch, 0.0)
    return found, {name: p.grad.clone() for name, p in run.net.named_parameters()}


def test_parts_of_an_update_change_nothing(
    tmp_path, texts, vocabulary, lexicon, small, monkeypatch
):
    monkeypatch.setattr(run_module, "fast_dtype", lambda device: None)
    runs = [
        Pretraining(tmp_path / str(parts), vocabulary, small(accumulate=parts), lexicon)
        for parts in (1, 2, 8)
    ]
    batches = [next(run.batches.updates(texts, 0)) for run in runs]
    (loss, wanted), *others = map(gradients, runs, batches)
    for other_loss, found in others:
        assert other_loss == pytest.approx(loss, abs=1e-5)
        for name in wanted:
            assert torch.allclose(found[name], wanted[name], atol=1e-5), name


def test_damage_and_other_settings_are_said(tmp_path, texts, vocabulary, small):
    Pretraining(tmp_path, vocabulary, small(steps=3)).run(texts)
    with pytest.raises(ModelError, match=r"E418.*\(batch_tokens, rate\)"):
        Pretraining(tmp_path, vocabulary, small(rate=0.1, batch_tokens=64))
    with pytest.raises(ModelError, match="E419"):
        Pretraining(tmp_path, [*vocabulary, "新"], small(steps=3))
    before = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / CHECKPOINT / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(ModelError, match="E419"):
        Pretraining(tmp_path, vocabulary, small(steps=3))
    assert (tmp_path / "model.safetensors").read_bytes() == before


def test_what_cannot_be_is_said(tmp_path, vocabulary, small):
    with pytest.raises(ModelError, match=r"E425.*65.*64"):
        Pretraining(tmp_path / "long", vocabulary, small(length=65))
    with pytest.raises(ModelError, match=r"E426.*nonsense"):
        Pretraining(tmp_path / "device", vocabulary, small(), device="nonsense")
    if not torch.cuda.is_available():
        with pytest.raises(ModelError, match=r"E426.*cuda"):
            Pretraining(tmp_path / "device", vocabulary, small(), device="cuda")
    for rate in (0, -1, float("inf"), float("nan")):
        with pytest.raises(ModelError, match="E434"):
            small(rate=rate)
    assert not list(tmp_path.iterdir())


def test_exported_for_transformers_and_spacy(tmp_path, texts, vocabulary, small):
    import spacy
    from safetensors import safe_open
    from transformers import AutoModel, AutoModelForMaskedLM, AutoTokenizer

    run = Pretraining(tmp_path, vocabulary, small(steps=3))
    run.run(texts)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    inputs = tokenizer(texts.domain[0], return_tensors="pt")
    model = AutoModel.from_pretrained(tmp_path).eval()
    vectors = model(**inputs).last_hidden_state
    assert tokenizer.model_max_length == run.settings.length, "positions beyond were not trained"
    assert model.dtype == torch.float32, "stored in 16 bits, computed with in 32"
    with safe_open(tmp_path / "model.safetensors", "pt") as weights:
        assert {weights.get_tensor(name).dtype for name in weights.keys()} == {torch.float16}  # noqa: SIM118
    modes = {(tmp_path / name).stat().st_mode for name in ("config.json", "model.safetensors")}
    assert len(modes) == 1
    assert torch.allclose(vectors, run.model.bert(**inputs).last_hidden_state, atol=5e-3)
    assert model.config.hidden_dropout_prob == 0.1, "for fine-tuning"
    scores = AutoModelForMaskedLM.from_pretrained(tmp_path).eval()(**inputs).logits
    assert torch.allclose(scores, run.model(**inputs).logits, atol=5e-3)

    nlp = spacy.blank("tcm")
    architecture = "spacy-transformers.TransformerModel.v3"
    nlp.add_pipe(
        "transformer", config={"model": {"@architectures": architecture, "name": str(tmp_path)}}
    )
    nlp.initialize()
    data = nlp(texts.domain[0])._.trf_data
    found = torch.as_tensor(data.model_output.last_hidden_state)
    assert torch.allclose(found, vectors, atol=1e-5)


def test_every_text_once_an_epoch_with_others_of_its_length():
    lengths = numpy.random.default_rng(0).integers(1, 100, 1000)
    updates = shuffled(lengths, 10, 100, seed=0, epoch=0)
    assert sorted(i for update in updates for i in update) == list(range(1000))
    assert all(numpy.ptp(lengths[update]) <= 15 for update in updates)
    assert shuffled(lengths, 10, 100, seed=0, epoch=0) == updates
    assert shuffled(lengths, 10, 100, seed=0, epoch=1) != updates
    assert shuffled(lengths, 10, 100, seed=1, epoch=0) != updates
    assert len(shuffled(lengths[:7], 10, 1, seed=0, epoch=0)[0]) == 7


def test_rate_rises_stays_and_falls():
    settings = Settings(steps=100, rate=1.0, warmup=10, decay=0.4)
    assert settings.rate_at(0) == pytest.approx(0.1)
    assert settings.rate_at(9) == settings.rate_at(30) == settings.rate_at(60) == 1
    assert settings.rate_at(80) == pytest.approx(0.5)
    assert 0 < settings.rate_at(99) < 0.03


def test_bfloat16_only_where_the_processor_has_it(monkeypatch):
    cpu = torch.device("cpu")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": False})
    assert fast_dtype(cpu) is None
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True})
    assert fast_dtype(cpu) is torch.bfloat16


def test_learns_in_bfloat16_and_resumes(tmp_path, texts, vocabulary, small, monkeypatch):
    monkeypatch.setattr(run_module, "fast_dtype", lambda device: torch.bfloat16)
    run = Pretraining(tmp_path, vocabulary, small(steps=100))
    run.run(texts)
    assert run.history[0]["loss"] > 1.2 * run.history[-1]["loss"]
    assert all(p.dtype == torch.float32 for p in run.net.parameters())
    assert Pretraining(tmp_path, vocabulary, small(steps=100)).step == 100
