"""General distillation of a small BERT from a large encoder (TinyBERT, Jiao et al. 2020)."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoTokenizer,
    BertForMaskedLM,
    PreTrainedTokenizerBase,
)

from spacy_tcm.errors import Errors, ModelError
from spacy_tcm.lexicon import Lexicon
from spacy_tcm.models.huggingface import loading
from spacy_tcm.training.pretraining.attention import AttentionScores, has_scores
from spacy_tcm.training.pretraining.batches import Batch
from spacy_tcm.training.pretraining.checkpoint import check_folder
from spacy_tcm.training.pretraining.masked_lm import new_model
from spacy_tcm.training.pretraining.run import Run, find_device
from spacy_tcm.training.pretraining.settings import DistillationSettings
from spacy_tcm.training.pretraining.texts import Texts


class Distillation(Run):
    """Distillation of a student in a folder. A run begun there goes on.

    Student and teacher read the same hidden text. With N layers of the teacher and M of the
    student, layer m of the student learns from layer g(m) = m * N / M of the teacher, the
    embeddings being layer 0. The losses, each times its weight in the settings:

    embedding: mean squared difference of the embeddings.
    hidden: of the layers' outputs, summed over layers.
    attention: of the attention matrices, summed over layers. Compared are the scores before the
        softmax, as in the paper, or the probabilities with teachers that scores cannot be had from
        (see `has_scores`). Where the numbers of heads differ, heads are averaged first.
    mlm: mean cross-entropy of the student's guesses at the hidden subwords.

    Where the widths differ, the student's vectors first pass a projection that is learned along,
    one for the embeddings and one for all layers.
    """

    settings: DistillationSettings

    def __init__(
        self,
        folder: Path,
        settings: DistillationSettings,
        lexicon: Lexicon | None = None,
        device: str = "cpu",
    ):
        """lexicon: its terms are hidden whole.

        RAISES ModelError: teacher or student cannot be loaded or do not suit one another; the
            folder holds something else, a run with other settings or a damaged checkpoint; texts
            may be longer than both read; there is no such device.
        """
        target = find_device(device)
        check_folder(folder, settings)
        teacher, tokenizer = load_teacher(settings.teacher)
        if settings.student is None:
            student = new_model(settings.shape, len(tokenizer), settings.seed)
            student.config.pad_token_id = tokenizer.pad_token_id
        else:
            student = load_student(settings.student, tokenizer)
        self.teacher = teacher.to(target)
        self.every = _layer_step(teacher.config.num_hidden_layers, student.config.num_hidden_layers)
        self.compares_scores = has_scores(teacher.config)
        widths = student.config.hidden_size, teacher.config.hidden_size
        self.project_embedding, self.project_hidden = _projection(*widths), _projection(*widths)
        net = nn.ModuleList([student, self.project_embedding, self.project_hidden])
        tokenizer.model_max_length = min(
            tokenizer.model_max_length,
            student.config.max_position_embeddings,
            teacher.config.max_position_embeddings,
        )
        super().__init__(
            folder, settings, student, tokenizer, net=net, lexicon=lexicon, device=target
        )

    def begin(self, texts: Texts) -> None:
        self.batches.tokenizer.save_pretrained(self.folder)

    def losses(self, part: Batch, whole: Batch) -> dict[str, Tensor]:
        taught, target_matrices = self._read_as_teacher(part)
        vectors, matrices = self._read_as_student(part)
        inside = part.mask.bool()
        pairs = inside[:, None, :, None] & inside[:, None, None, :]
        layers = range(1, len(vectors))

        embedding = _squares(self.project_embedding(vectors[0]), taught[0], inside)
        outputs = torch.stack(
            [
                _squares(self.project_hidden(vectors[m]), taught[m * self.every], inside)
                for m in layers
            ]
        )
        attention = torch.stack(
            [
                _pair_squares(matrices[m - 1], target_matrices[m * self.every - 1], pairs)
                for m in layers
            ]
        )
        lengths = whole.mask.sum(1)
        weights = self.settings
        return {
            "embedding": weights.embedding_weight * embedding / lengths.sum(),
            "hidden": weights.hidden_weight * outputs.sum() / lengths.sum(),
            "attention": weights.attention_weight * attention.sum() / lengths.square().sum(),
            "mlm": weights.mlm_weight * self.mlm_loss(vectors[-1], part, whole),
        }

    @torch.no_grad()
    def _read_as_teacher(self, batch: Batch) -> tuple[tuple[Tensor, ...], list[Tensor]]:
        """Embeddings and outputs of the layers; their attention matrices."""
        with AttentionScores(self.teacher, self.compares_scores) as scores:
            output = self.teacher(
                input_ids=batch.shown,
                attention_mask=batch.mask,
                output_hidden_states=True,
                output_attentions=not self.compares_scores,
            )
        matrices = scores.all() if self.compares_scores else list(output.attentions)
        return output.hidden_states, matrices

    def _read_as_student(self, batch: Batch) -> tuple[tuple[Tensor, ...], list[Tensor]]:
        with AttentionScores(self.model) as scores:
            output = self.model.bert(
                input_ids=batch.shown, attention_mask=batch.mask, output_hidden_states=True
            )
        matrices = scores.all()
        if not self.compares_scores:
            outside = ~batch.mask.bool()[:, None, None, :]
            matrices = [x.masked_fill(outside, -torch.inf).softmax(-1) for x in matrices]
        return output.hidden_states, matrices


def load_teacher(name: str) -> tuple[Any, PreTrainedTokenizerBase]:
    """An encoder of Hugging Face that learns nothing more, and its tokenizer.

    name: a folder or a hub name. RAISES ModelError: it cannot be loaded, or its tokenizer does not
        tell the characters of a subword or has none that hides one, or has more tokens than the
        weights.
    """
    with loading(name):
        config = AutoConfig.from_pretrained(name)
        # Probabilities are only to be had from the plain implementation.
        how = {} if has_scores(config) else {"attn_implementation": "eager"}
        model = _load_whole(AutoModel, name, "pooler", **how)
        tokenizer = AutoTokenizer.from_pretrained(name)
    if not tokenizer.is_fast or tokenizer.mask_token is None or tokenizer.pad_token is None:
        raise ModelError(Errors.E429.format(name=name))
    if len(tokenizer) > config.vocab_size:
        raise ModelError(
            Errors.E437.format(name=name, tokens=len(tokenizer), weights=config.vocab_size)
        )
    return model.eval().requires_grad_(False), tokenizer


def load_student(name: str, tokenizer: PreTrainedTokenizerBase) -> BertForMaskedLM:
    """A BERT with the teacher's vocabulary, without dropout.

    name: a folder or a hub name. RAISES ModelError: it cannot be loaded or is no such BERT.
    """
    none = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    with loading(name):
        config = AutoConfig.from_pretrained(name)
    if config.model_type != "bert" or not has_scores(config):
        raise ModelError(Errors.E430.format(name=name, kind=config.model_type))
    with loading(name):
        model = _load_whole(BertForMaskedLM, name, "cls", **none)
        vocabulary = AutoTokenizer.from_pretrained(name).get_vocab()
    if vocabulary != tokenizer.get_vocab():
        raise ModelError(Errors.E431.format(name=name))
    return model


def _load_whole(kind: Any, name: str, unneeded: str, **options: Any) -> Any:
    """A model of which no weights are made up, but for the unneeded ones.

    RAISES ValueError: the folder lacks others.
    """
    model, info = kind.from_pretrained(name, output_loading_info=True, **options)
    missing = [key for key in info["missing_keys"] if not key.startswith(unneeded)]
    if missing:
        raise ValueError(f"{len(missing)} weights are missing, such as {sorted(missing)[0]}")
    return model


def _layer_step(teacher: int, student: int) -> int:
    """How many layers of the teacher one of the student stands for."""
    if teacher % student:
        fits = ", ".join(str(n) for n in range(1, teacher + 1) if teacher % n == 0)
        raise ModelError(Errors.E427.format(teacher=teacher, student=student, fits=fits))
    return teacher // student


def _projection(student: int, teacher: int) -> nn.Module:
    return nn.Identity() if student == teacher else nn.Linear(student, teacher)


def _squares(found: Tensor, wanted: Tensor, inside: Tensor) -> Tensor:
    """Squared differences: mean over the width, sum over subwords. Both (texts, length, width)."""
    return (found - wanted)[inside].float().square().mean(-1).sum()


def _pair_squares(found: Tensor, wanted: Tensor, pairs: Tensor) -> Tensor:
    """Squared differences: mean over heads, sum over pairs of subwords.

    Both (texts, heads, length, length), of any heads. pairs: bool, (texts, 1, length, length).
    """
    if found.shape[1] != wanted.shape[1]:
        found, wanted = found.mean(1, keepdim=True), wanted.mean(1, keepdim=True)
    return ((found - wanted).float().square().mean(1, keepdim=True) * pairs).sum()
