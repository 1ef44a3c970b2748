"""Texts as batches of subwords, some of them hidden."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from spacy_tcm.lexicon import Lexicon
from spacy_tcm.training.pretraining.masking import choose_masked, hide, mask_units
from spacy_tcm.training.pretraining.settings import Settings
from spacy_tcm.training.pretraining.texts import Texts


@dataclass(frozen=True)
class Batch:
    """ids, shown: (texts, length) subword ids, true and with some hidden. mask: on subwords.
    chosen: bool, to be guessed."""

    ids: Tensor
    shown: Tensor
    mask: Tensor
    chosen: Tensor

    def split(self, parts: int) -> list["Batch"]:
        """Its texts in order, in up to so many parts."""
        columns = (x.chunk(parts) for x in (self.ids, self.shown, self.mask, self.chosen))
        return [Batch(*rows) for rows in zip(*columns, strict=True)]


class Batches:
    """Makes them. tokenizer: one that tells the characters of each subword."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        settings: Settings,
        lexicon: Lexicon | None,
        device: torch.device,
    ):
        self.tokenizer = tokenizer
        self.settings = settings
        self.lexicon = lexicon
        self.device = device
        special = set(tokenizer.all_special_ids)
        self.ordinary = [i for i in range(len(tokenizer)) if i not in special]

    def updates(self, texts: Texts, step: int) -> Iterator[Batch]:
        """One of each update from a step on, without end; the same wherever one begins."""
        settings = self.settings
        rows = max(1, settings.batch_tokens // settings.length)
        pool = texts.epoch(settings.domain_weight)
        lengths = numpy.array([len(text) for text in pool])
        per_epoch = max(1, len(pool) // rows)
        while True:
            epoch, first = divmod(step, per_epoch)
            for update in shuffled(lengths, rows, per_epoch, settings.seed, epoch)[first:]:
                rng = numpy.random.default_rng([settings.seed, step])
                yield self.at_random([pool[i] for i in update], rng)
                step += 1

    def at_random(self, texts: Sequence[str], rng: numpy.random.Generator) -> Batch:
        """With whole terms hidden at random."""
        encoded = self._encode(texts)
        ids, offsets = encoded["input_ids"], encoded["offset_mapping"]
        chosen = numpy.zeros(ids.shape, dtype=bool)
        for row, text in enumerate(texts):
            units = mask_units(text, offsets[row].tolist(), self.lexicon)
            chosen[row] = choose_masked(units, self.settings.share, rng)
        shown = hide(ids, chosen, self.tokenizer.mask_token_id, self.ordinary, rng)
        return self._batch(ids, shown, encoded["attention_mask"], chosen)

    def in_turn(self, texts: Sequence[str], stride: int) -> Iterator[Batch]:
        """Every stride-th subword hidden, until each was hidden once."""
        encoded = self._encode(texts)
        ids = encoded["input_ids"]
        ordinary = encoded["offset_mapping"][..., 1] > 0
        for phase in range(stride):
            chosen = ordinary & (numpy.arange(ids.shape[1]) % stride == phase)
            shown = numpy.where(chosen, self.tokenizer.mask_token_id, ids)
            yield self._batch(ids, shown, encoded["attention_mask"], chosen)

    def _encode(self, texts: Sequence[str]) -> dict[str, numpy.ndarray]:
        encoded = self.tokenizer(
            list(texts),
            padding=True,
            truncation=True,
            max_length=self.settings.length,
            return_offsets_mapping=True,
            return_tensors="np",
        )
        return dict(encoded)

    def _batch(self, *arrays: numpy.ndarray) -> Batch:
        return Batch(*(torch.as_tensor(array, device=self.device) for array in arrays))


def shuffled(
    lengths: numpy.ndarray, rows: int, updates: int, seed: int, epoch: int
) -> list[list[int]]:
    """update -> text numbers. Texts of like length share one, so that little is padded."""
    rng = numpy.random.default_rng([seed, 1 << 32, epoch])
    order = rng.permutation(len(lengths))
    stretch = rows * 64  # sorted within it only, so that an update is still mixed
    found: list[list[int]] = []
    for start in range(0, len(order), stretch):
        some = order[start : start + stretch]
        some = some[numpy.argsort(lengths[some], kind="stable")]
        found += [some[i : i + rows].tolist() for i in range(0, len(some), rows)]
    return [found[i] for i in rng.permutation(len(found))][:updates]
