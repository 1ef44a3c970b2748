"""Masked-language-model pretraining of a small BERT."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from transformers import BertForMaskedLM

from spacy_tcm.lexicon import Lexicon
from spacy_tcm.training.pretraining.batches import Batch
from spacy_tcm.training.pretraining.checkpoint import check_folder, digest
from spacy_tcm.training.pretraining.encoder import (
    EncoderShape,
    make_tokenizer,
    write_tokenizer,
)
from spacy_tcm.training.pretraining.run import Run, check_length, find_device
from spacy_tcm.training.pretraining.settings import PretrainingSettings
from spacy_tcm.training.pretraining.texts import Texts
from spacy_tcm.training.pretraining.warm_start import warm_start


class Pretraining(Run):
    """Pretraining of a new encoder in a folder. A run begun there goes on."""

    settings: PretrainingSettings

    def __init__(
        self,
        folder: Path,
        vocabulary: Sequence[str],
        settings: PretrainingSettings,
        lexicon: Lexicon | None = None,
        device: str = "cpu",
        full: Sequence[str] | None = None,
    ):
        """vocabulary: of WordPiece, with the special tokens. lexicon: its terms are hidden whole.
        full: what the vocabulary was taken from; a run goes on only with the same.

        RAISES ModelError: the folder holds something else, a run with other settings or a damaged
            checkpoint; texts may be longer than the encoder reads; there is no such device.
        """
        found = check_start(folder, settings, device)
        tokenizer = make_tokenizer(vocabulary, settings.shape.positions)
        model = new_model(settings.shape, len(vocabulary), settings.seed)
        super().__init__(folder, settings, model, tokenizer, lexicon=lexicon, device=found)
        self.vocabulary = vocabulary
        if full is not None:
            self.inputs["vocab"] = digest(full)

    def begin(self, texts: Texts) -> None:
        write_tokenizer(self.vocabulary, self.folder, self.settings.shape.positions)
        if self.settings.warm_start:
            pool = texts.epoch(self.settings.domain_weight)
            warm_start(self.model, self.batches.tokenizer, pool, self.settings.seed)

    def losses(self, part: Batch, whole: Batch) -> dict[str, Tensor]:
        hidden = self.model.bert(part.shown, attention_mask=part.mask).last_hidden_state
        return {"mlm": self.mlm_loss(hidden, part, whole)}


def check_start(folder: Path, settings: PretrainingSettings, device: str) -> torch.device:
    """All of `Pretraining` that can be checked without texts. RAISES ModelError as it does."""
    check_folder(folder, settings)
    check_length(settings.length, settings.shape.positions)
    return find_device(device)


def new_model(shape: EncoderShape, vocabulary: int, seed: int) -> BertForMaskedLM:
    """With random weights."""
    torch.manual_seed(seed)
    config = shape.config(vocabulary)
    # One pass over much text: there is nothing to overfit, and dropout costs time.
    config.hidden_dropout_prob = config.attention_probs_dropout_prob = 0.0
    return BertForMaskedLM(config)
