"""What pretraining and distillation share: updates on hidden text, resumable at any time."""

import copy
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import BertForMaskedLM, PreTrainedTokenizerBase

from spacy_tcm.errors import Errors, ModelError
from spacy_tcm.lexicon import Lexicon
from spacy_tcm.training.pretraining.batches import Batch, Batches
from spacy_tcm.training.pretraining.checkpoint import (
    digest,
    find_checkpoint,
    mark_begun,
    read_state,
    read_tensors,
    save_checkpoint,
)
from spacy_tcm.training.pretraining.encoder import share_weights
from spacy_tcm.training.pretraining.settings import Settings
from spacy_tcm.training.pretraining.texts import Texts

HISTORY = "pretraining.json"

# Pseudo-perplexity masks every so-many-th subword at a time, so that each is guessed once.
STRIDE = 8

# Updates whose mean loss makes one entry of the history.
ENTRY = 50


class Run(ABC):
    """A run in a folder, as far as it has come: the encoder, its optimizer, what was seen."""

    def __init__(
        self,
        folder: Path,
        settings: Settings,
        model: BertForMaskedLM,
        tokenizer: PreTrainedTokenizerBase,
        *,
        net: nn.Module | None = None,
        lexicon: Lexicon | None = None,
        device: torch.device,
    ):
        """net: all that learns, if that is more than the model.

        RAISES ModelError: texts may be longer than the encoder reads; the checkpoint is damaged.
        """
        check_length(settings.length, int(tokenizer.model_max_length))
        self.folder = folder
        self.settings = settings
        self.device = device
        self.model = model
        self.net: nn.Module = model if net is None else net
        self.net.to(device).train()
        self.optimizer = _optimizer(self.net, settings)
        self.batches = Batches(tokenizer, settings, lexicon, device)
        self.step = 0
        self.tokens = 0
        self.history: list[dict[str, Any]] = []
        self.recent: list[dict[str, float]] = []  # losses since the last entry of the history
        # Fingerprints of what a run goes on with: now, and where it began.
        self.inputs = {"lexicon": digest(_terms(lexicon))}
        self.begun_with: dict[str, str] = {}
        checkpoint = find_checkpoint(folder)
        if checkpoint is not None:
            self._load(checkpoint)

    def begin(self, texts: Texts) -> None:  # noqa: B027  # most runs have nothing to do here
        """Called once, before the first update."""

    @abstractmethod
    def losses(self, part: Batch, whole: Batch) -> dict[str, Tensor]:
        """What the parts of one update add to its losses, by name. Their sum is made small."""

    def run(
        self,
        texts: Texts,
        *,
        save_every: int = 250,
        evaluate_every: int = 1000,
        report: Callable[[float], None] | None = None,
    ) -> None:
        """Train up to the last step and write the encoder. Past it already, change nothing.

        report: called after each update with the mean loss of the last ones.
        RAISES ModelError: it was begun with other texts, lexicon or vocabulary.
        """
        self._check_inputs(texts)
        if self.step > self.settings.steps:
            return
        if self.step == 0:
            mark_begun(self.folder)
            self.begin(texts)
        updates = self.batches.updates(texts, self.step)
        for step in range(self.step, self.settings.steps):
            whole = next(updates)
            self.recent.append(self._update(whole, self.settings.rate_at(step)))
            self.step = step + 1
            self.tokens += int(whole.mask.sum())
            if report is not None:
                report(_means(self.recent)["loss"])
            last = self.step == self.settings.steps
            due = last or self.step % evaluate_every == 0
            if due or self.step % ENTRY == 0:
                entry = {"step": self.step, "tokens": self.tokens, **_means(self.recent)}
                self.history.append(entry | (self.evaluate(texts) if due else {}))
                self.recent.clear()
            if last or self.step % save_every == 0:
                self.save()
        self.export()

    def _check_inputs(self, texts: Texts) -> None:
        self.inputs["texts"] = digest(chunk for kind in texts.chunks() for chunk in ("", *kind))
        begun = self.begun_with  # of an older version: empty
        names = sorted(n for n, found in self.inputs.items() if begun.get(n, found) != found)
        if names:
            raise ModelError(Errors.E432.format(path=self.folder, names=", ".join(names)))

    def _update(self, whole: Batch, rate: float) -> dict[str, float]:
        """One step of the optimizer. RETURNS: the losses before it."""
        dtype = fast_dtype(self.device)
        found: dict[str, float] = {}
        for part in whole.split(self.settings.accumulate):
            with torch.autocast(self.device.type, dtype, enabled=dtype is not None):
                losses = self.losses(part, whole)
            torch.stack(list(losses.values())).sum().backward()
            for name, loss in losses.items():
                found[name] = found.get(name, 0.0) + float(loss.detach())
        nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad()
        return found

    def mlm_loss(self, hidden: Tensor, part: Batch, whole: Batch) -> Tensor:
        """The part's share of the mean cross-entropy of the chosen subwords."""
        return self.guess(hidden, part) / whole.chosen.sum().clamp(min=1)

    def guess(self, hidden: Tensor, batch: Batch) -> Tensor:
        """Sum of the cross-entropies of the chosen subwords; only these pass the vocabulary.

        hidden: (texts, length, width), the encoder's output.
        """
        scores = self.model.cls(hidden[batch.chosen])
        return cross_entropy(scores.float(), batch.ids[batch.chosen], reduction="sum")

    # Evaluation

    def evaluate(self, texts: Texts, limit: int = 64) -> dict[str, float]:
        """Pseudo-perplexity on the first ``limit`` held-out chunks of either kind of text."""
        found = {
            "domain_perplexity": self.pseudo_perplexity(texts.held_out_domain[:limit]),
            "general_perplexity": self.pseudo_perplexity(texts.held_out_general[:limit]),
        }
        return {name: round(value, 3) for name, value in found.items() if value is not None}

    @torch.no_grad()
    def pseudo_perplexity(self, texts: Sequence[str]) -> float | None:
        """exp of the mean -log P of each subword, an eighth of the subwords hidden at a time.

        (Salazar et al. 2020 hide one at a time, which takes as many passes as there are subwords.)
        """
        if not texts:
            return None
        self.model.eval()
        total, count = 0.0, 0
        for start in range(0, len(texts), 32):
            for batch in self.batches.in_turn(texts[start : start + 32], STRIDE):
                hidden = self.model.bert(batch.shown, attention_mask=batch.mask).last_hidden_state
                total += float(self.guess(hidden, batch))
                count += int(batch.chosen.sum())
        self.model.train()
        return math.exp(total / max(1, count))

    # Files

    def save(self) -> None:
        """Write the checkpoint; one that a kill interrupts leaves the one before."""
        state = {
            "settings": asdict(self.settings),
            "step": self.step,
            "tokens": self.tokens,
            "history": self.history,
            "recent": self.recent,
            "inputs": self.inputs,
        }
        save_checkpoint(self.folder, self.net, self.optimizer, state)

    def _load(self, checkpoint: Path) -> None:
        state = read_state(checkpoint)
        read_tensors(checkpoint, self.net, self.optimizer)
        self.step, self.tokens = state["step"], state["tokens"]
        self.history, self.recent = state["history"], state.get("recent", [])
        self.begun_with = state.get("inputs", {})

    def export(self) -> None:
        """Write the encoder as an ordinary Hugging Face folder, weights in 16 bits, and the history
        as JSON."""
        config = self.model.config
        config.hidden_dropout_prob = config.attention_probs_dropout_prob = 0.1
        copy.deepcopy(self.model).half().save_pretrained(self.folder)
        share_weights(self.folder)
        # Stored in 16 bits, but to be computed with, and trained on, in 32.
        config.torch_dtype = torch.float32
        config.save_pretrained(self.folder)
        # Positions that were never trained do harm: who reads on finds a limit, not noise.
        tokenizer = copy.deepcopy(self.batches.tokenizer)
        tokenizer.model_max_length = self.settings.length
        tokenizer.save_pretrained(self.folder)
        record = {"settings": asdict(self.settings), "tokens": self.tokens, "history": self.history}
        (self.folder / HISTORY).write_text(json.dumps(record, indent=1) + "\n", encoding="utf8")


def check_length(length: int, positions: int) -> None:
    """RAISES ModelError: texts may be longer than the encoder reads. Both in subwords."""
    if length > positions:
        raise ModelError(Errors.E425.format(length=length, positions=positions))


def find_device(name: str) -> torch.device:
    """RAISES ModelError: there is none of this name."""
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:  # torch asserts that it was built with CUDA
        cause = str(error).splitlines()[0].rstrip(".")
        raise ModelError(Errors.E426.format(device=name, cause=cause)) from None


def fast_dtype(device: torch.device) -> torch.dtype | None:
    """bfloat16 where the processor computes with it, else None: emulated, it is slower."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else None
    known: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return torch.bfloat16 if known.get("avx512_bf16") or known.get("amx_bf16") else None


def set_threads(count: int) -> None:
    """CPU threads to compute with; 0: torch's choice."""
    if count:
        torch.set_num_threads(count)


def _terms(lexicon: Lexicon | None) -> list[str]:
    if lexicon is None:
        return []
    return [entry.term for entry in (*lexicon.entries, *lexicon.user_entries)]


def _optimizer(net: nn.Module, settings: Settings) -> torch.optim.AdamW:
    matrices = [p for p in net.parameters() if p.ndim > 1]
    others = [p for p in net.parameters() if p.ndim <= 1]  # biases and norms do not decay
    groups = [{"params": matrices, "weight_decay": 0.01}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=settings.rate, betas=(0.9, 0.98), fused=True)


def _means(losses: Sequence[dict[str, float]]) -> dict[str, float]:
    """Of their sum, and of each if there are several."""
    found = {"loss": float(numpy.mean([sum(each.values()) for each in losses]))}
    if len(losses[0]) > 1:
        found |= {
            f"{name}_loss": float(numpy.mean([x[name] for x in losses])) for name in losses[0]
        }
    return {name: round(value, 4) for name, value in found.items()}
