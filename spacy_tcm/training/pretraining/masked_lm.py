"""Masked-language-model pretraining of a small BERT."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from transformers import BertForMaskedLM

from spacy_tcm.lexicon import Lexicon
from spacy_tcm.training.pretraining.batches import Batch
from spacy_tcm.training.pretraining.checkpoint import check_folder
from spacy_tcm.training.pretraining.encoder import EncoderShape, write_tokenizer
from spacy_tcm.training.pretraining.run import Run, find_device
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
    ):
        """vocabulary: of WordPiece, with the special tokens. lexicon: its terms are hidden whole.

        RAISES ModelError: the folder holds something else, a run with other settings or a damaged
            checkpoint; texts may be longer than the encoder reads; there is no such device.
        """
        found = find_device(device)
        check_folder(folder, settings)
        tokenizer = write_tokenizer(vocabulary, folder, settings.shape.positions)
        model = new_model(settings.shape, len(vocabulary), settings.seed)
        super().__init__(folder, settings, model, tokenizer, lexicon=lexicon, device=found)

    def begin(self, texts: Texts) -> None:
        if self.settings.warm_start:
            pool = texts.domain * self.settings.domain_weight + texts.general
            warm_start(self.model, self.batches.tokenizer, pool, self.settings.seed)

    def losses(self, part: Batch, whole: Batch) -> dict[str, Tensor]:
        hidden = self.model.bert(part.shown, attention_mask=part.mask).last_hidden_state
        return {"mlm": self.mlm_loss(hidden, part, whole)}


def new_model(shape: EncoderShape, vocabulary: int, seed: int) -> BertForMaskedLM:
    """With random weights."""
    torch.manual_seed(seed)
    config = shape.config(vocabulary)
    # One pass over much text: there is nothing to overfit, and dropout costs time.
    config.hidden_dropout_prob = config.attention_probs_dropout_prob = 0.0
    return BertForMaskedLM(config)
