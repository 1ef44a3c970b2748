import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModel,
    AutoTokenizer,
    BertForMaskedLM,
    DistilBertConfig,
    DistilBertModel,
    RobertaConfig,
    RobertaModel,
)

from spacy_tcm.errors import ModelError
from spacy_tcm.training.pretraining import run as run_module
from spacy_tcm.training.pretraining.batches import Batch
from spacy_tcm.training.pretraining.distillation import Distillation
from spacy_tcm.training.pretraining.encoder import EncoderShape, build_encoder, write_tokenizer
from spacy_tcm.training.pretraining.settings import DistillationSettings

LEARNED = ("embedding", "hidden", "attention")
SHAPE = EncoderShape(hidden=24, layers=2, heads=4, feed_forward=32, positions=64)


@pytest.fixture
def distill(tmp_path, teacher, lexicon, small):
    """A run in a folder of its own, with settings to change."""

    def make(name="student", **changes):
        settings = small(DistillationSettings, **({"teacher": teacher} | changes))
        return Distillation(tmp_path / name, settings, lexicon)

    return make


@pytest.fixture
def exact(monkeypatch):
    monkeypatch.setattr(run_module, "fast_dtype", lambda device: None)


@torch.no_grad()
def first_losses(run, texts):
    batch = next(run.batches.updates(texts, 0))
    return {name: float(loss) for name, loss in run.losses(batch, batch).items()}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"shape": replace(SHAPE, hidden=16, heads=2)},
        {"shape": replace(SHAPE, layers=4, hidden=30, heads=3)},
    ],
    ids=["same width", "narrower", "wider, all layers"],
)
def test_every_loss_goes_down(distill, texts, changes):
    run = distill(steps=60, **changes)
    before = first_losses(run, texts)
    taught = {name: p.clone() for name, p in run.teacher.named_parameters()}
    run.run(texts)
    after = first_losses(run, texts)
    assert all(after[name] < 0.85 * before[name] for name in before), (before, after)
    assert all(torch.equal(p, taught[name]) for name, p in run.teacher.named_parameters())
    entry = run.history[-1]
    parts = [entry[f"{name}_loss"] for name in (*LEARNED, "mlm")]
    assert entry["loss"] == pytest.approx(sum(parts), abs=1e-3)
    assert entry["domain_perplexity"] > 1


def test_a_student_of_the_same_shape_reaches_the_teacher(distill, texts, exact):
    run = distill(
        steps=150,
        shape=replace(SHAPE, layers=4),
        mlm_weight=0.0,
        batch_tokens=32 * 16,
        rate=1e-2,
    )
    before = first_losses(run, texts)
    run.run(texts)
    after = first_losses(run, texts)
    for name in LEARNED:
        assert after[name] < 0.1 * before[name], (before, after)


def test_the_teacher_as_its_own_student_has_nothing_to_learn(distill, teacher, texts, exact):
    found = first_losses(distill(student=teacher), texts)
    assert [found[name] for name in LEARNED] == pytest.approx([0, 0, 0], abs=1e-8)
    assert found["mlm"] > 1


def test_layers_learn_from_every_other_layer_of_the_teacher(distill, texts, exact, teacher):
    run = distill()
    big = BertForMaskedLM.from_pretrained(teacher).bert
    run.model.bert.embeddings.load_state_dict(big.embeddings.state_dict())
    batch = next(run.batches.updates(texts, 0))
    inputs = {"input_ids": batch.shown, "attention_mask": batch.mask}
    with torch.no_grad():
        wanted = big(**inputs, output_hidden_states=True).hidden_states
        mine = run.model.bert(**inputs, output_hidden_states=True).hidden_states
        found = run.losses(batch, batch)
    inside = batch.mask.bool()
    by_hand = sum((mine[m] - wanted[2 * m])[inside].square().mean() for m in (1, 2))
    assert float(found["embedding"]) == pytest.approx(0, abs=1e-8)
    assert float(found["hidden"]) == pytest.approx(float(by_hand), rel=1e-4)


def test_weights_scale_the_losses(distill, texts, exact):
    plain = first_losses(distill("a"), texts)
    names = {f"{name}_weight": float(at) for at, name in enumerate(plain)}
    weighted = first_losses(distill("b", **names), texts)
    wanted = {name: at * plain[name] for at, name in enumerate(plain)}
    assert weighted == pytest.approx(wanted, rel=1e-5)


def test_padding_changes_nothing(distill, texts, exact):
    run = distill()
    batch = next(run.batches.updates(texts, 0))

    def wider(x):
        return torch.nn.functional.pad(x, (0, 5))

    padded = Batch(*map(wider, (batch.ids, batch.shown, batch.mask, batch.chosen)))
    with torch.no_grad():
        found, wanted = run.losses(padded, padded), run.losses(batch, batch)
    for name, loss in wanted.items():
        assert float(found[name]) == pytest.approx(float(loss), rel=1e-4), name


def test_parts_of_an_update_change_nothing(distill, texts, exact):
    runs = [distill("whole"), distill("parts", accumulate=3)]
    found = []
    for run in runs:
        run.optimizer.zero_grad = lambda: None
        losses = run._update(next(run.batches.updates(texts, 0)), 0.0)
        found.append((losses, {name: p.grad for name, p in run.net.named_parameters()}))
    (loss, wanted), (other_loss, other) = found
    assert other_loss == pytest.approx(loss, rel=1e-5)
    for name, gradient in wanted.items():
        assert torch.allclose(other[name], gradient, atol=1e-5), name


def test_a_resumed_run_is_the_same_bit_for_bit(distill, texts):
    shape = replace(SHAPE, hidden=16)  # with projections
    whole = distill("whole", shape=shape)
    whole.run(texts, save_every=3)

    class Kill(BaseException):
        pass

    seen = []

    def kill(loss):
        seen.append(loss)
        if len(seen) == 7:
            raise Kill

    with pytest.raises(Kill):
        distill("two", shape=shape).run(texts, save_every=3, report=kill)
    torch.manual_seed(99)
    second = distill("two", shape=shape)
    assert second.step == 6
    second.run(texts, save_every=3)
    for (name, one), other in zip(
        whole.net.named_parameters(), second.net.parameters(), strict=True
    ):
        assert torch.equal(one, other), name
    assert second.history == whole.history
    with pytest.raises(ModelError, match=r"E418.*\(hidden_weight\)"):
        distill("two", shape=shape, hidden_weight=0.5)


def test_exported_with_the_tokenizer_of_the_teacher(distill, teacher, texts, tmp_path):
    from transformers import AutoTokenizer

    run = distill(steps=2)
    run.run(texts)
    mine, its = (AutoTokenizer.from_pretrained(x) for x in (tmp_path / "student", teacher))
    text = texts.domain[0] + "ＶＡＳ"
    assert mine(text)["input_ids"] == its(text)["input_ids"]
    assert mine.get_vocab() == its.get_vocab()
    model = AutoModel.from_pretrained(tmp_path / "student")
    assert (model.config.hidden_size, model.config.num_hidden_layers) == (24, 2)
    again = distill("next", student=str(tmp_path / "student"))
    assert again.model.config.hidden_dropout_prob == 0
    assert torch.equal(*(x.embeddings.word_embeddings.weight for x in (again.model.bert, model)))


def small_config(kind, vocabulary, **more):
    return kind(vocab_size=len(vocabulary), max_position_embeddings=64, pad_token_id=0, **more)


def test_a_teacher_without_scores_is_compared_by_probabilities(
    distill, make_teacher, vocabulary, texts
):
    config = small_config(
        DistilBertConfig, vocabulary, dim=20, n_layers=2, n_heads=2, hidden_dim=32
    )
    config.initializer_range = 0.5
    run = distill(teacher=make_teacher(DistilBertModel(config)), steps=60, attention_weight=50.0)
    assert not run.compares_scores
    before = first_losses(run, texts)
    run.run(texts)
    after = first_losses(run, texts)
    assert all(after[name] < 0.9 * before[name] for name in before), (before, after)


def test_other_kinds_of_teacher(distill, make_teacher, vocabulary, texts):
    sizes = {"hidden_size": 20, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = small_config(RobertaConfig, vocabulary, intermediate_size=32, **sizes)
    run = distill(teacher=make_teacher(RobertaModel(config)))
    assert run.compares_scores
    run.run(texts)
    assert run.step == run.settings.steps


@pytest.mark.parametrize("layers", [3, 5, 8])
def test_layers_that_do_not_divide_are_said(distill, layers, tmp_path):
    with pytest.raises(ModelError, match=rf"E427.* 4 layers.* {layers} .*1, 2, 4"):
        distill(shape=replace(SHAPE, layers=layers))
    assert not (tmp_path / "student").exists()


def test_what_does_not_suit_is_said(distill, teacher, make_teacher, vocabulary, texts, tmp_path):
    nowhere = str(tmp_path / "none")
    with pytest.raises(ModelError, match=r"E428.*none"):
        distill(teacher=nowhere)
    with pytest.raises(ModelError, match=r"E428.*none"):
        distill(student=nowhere)
    damaged = make_teacher(BertForMaskedLM(SHAPE.config(len(vocabulary))))
    weights = Path(damaged) / "model.safetensors"
    some = load_file(weights)
    save_file({k: v for k, v in some.items() if "layer.1" not in k}, weights, {"format": "pt"})
    with pytest.raises(ModelError, match=r"E428.*missing.*layer\.1"):
        distill(teacher=damaged)
    weights.write_bytes(b"damaged")
    with pytest.raises(ModelError, match="E428"):
        distill(teacher=damaged)
    roberta = RobertaModel(small_config(RobertaConfig, vocabulary, hidden_size=12))
    with pytest.raises(ModelError, match=r"E430.*roberta"):
        distill(student=make_teacher(roberta))
    build_encoder(["别的字"], tmp_path / "other", shape=SHAPE)
    with pytest.raises(ModelError, match=r"E431.*other"):
        distill(student=str(tmp_path / "other"))
    with pytest.raises(ModelError, match=r"E425.*65.*64"):
        distill(length=65)
    short = replace(SHAPE, positions=20)
    with pytest.raises(ModelError, match=r"E425.*32.*20"):
        distill(shape=short)
    assert not (tmp_path / "student").exists()


def test_a_teacher_whose_tokenizer_is_of_another_model(distill, teacher, tmp_path):
    other = str(shutil.copytree(teacher, tmp_path / "other"))
    tokenizer = AutoTokenizer.from_pretrained(other)
    tokenizer.add_tokens(["血府"])
    tokenizer.save_pretrained(other)
    with pytest.raises(ModelError, match=r"E437.*weights are for"):
        distill(teacher=other)
    assert not (tmp_path / "student").exists()


def test_a_folder_that_is_no_model_is_said_in_short(distill, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelError, match=r"E428.*\(Unrecognized model") as caught:
        distill(teacher=str(tmp_path))
    assert len(str(caught.value)) < 500
    with pytest.raises(ModelError, match=r"E428.*\(no such folder\)"):
        distill(teacher=str(tmp_path / "none"))


def test_a_teacher_without_a_tokenizer(distill, teacher, tmp_path):
    ignored = shutil.ignore_patterns("*token*", "vocab*")
    other = str(shutil.copytree(teacher, tmp_path / "other", ignore=ignored))
    with pytest.raises(ModelError, match=r"E428.*no tokenizer in it"):
        distill(teacher=other)


@pytest.mark.parametrize("weight", [0, -1, float("nan"), float("inf")])
def test_weights_that_teach_nothing_are_said(small, weight):
    weights = {f"{name}_weight": weight for name in (*LEARNED, "mlm")}
    with pytest.raises(ModelError, match="E435"):
        small(DistillationSettings, teacher="any", **weights)


def test_a_tokenizer_without_a_mask_is_said(distill, make_teacher, vocabulary):
    folder = make_teacher(BertForMaskedLM(SHAPE.config(len(vocabulary))))
    tokenizer = write_tokenizer(vocabulary, Path(folder), 64)
    tokenizer.mask_token = None
    tokenizer.save_pretrained(folder)
    with pytest.raises(ModelError, match="E429"):
        distill(teacher=folder)
