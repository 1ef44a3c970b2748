"""What a run is made of."""

import math
from dataclasses import dataclass, field

from spacy_tcm.errors import Errors, ModelError
from spacy_tcm.training.pretraining.encoder import EncoderShape


@dataclass(frozen=True)
class Settings:
    """A checkpoint goes on only with the same settings, except for `CHANGEABLE`.

    steps: updates in all. length: longest text, in subwords. batch_tokens: subwords of one update,
    padding included; accumulate: parts that it is computed in, which changes the memory it needs
    and nothing else. share: of the subwords to mask. rate: the highest learning rate, reached after
    warmup steps; over the last decay share of the steps it falls to 0. domain_weight: how often an
    epoch shows a domain text.

    RAISES ModelError: the rate is not above 0 or not finite.
    """

    steps: int = 5000
    length: int = 128
    batch_tokens: int = 2048
    accumulate: int = 1
    share: float = 0.2
    rate: float = 5e-4
    warmup: int = 300
    decay: float = 0.4
    domain_weight: int = 3
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.rate < math.inf:
            raise ModelError(Errors.E434.format(found=self.rate))

    def rate_at(self, step: int) -> float:
        """Learning rate of an update, the first being 0."""
        left = (self.steps - step) / max(1.0, self.decay * self.steps)
        return self.rate * min(1.0, (step + 1) / max(1, self.warmup), left)


CHANGEABLE = ("steps", "accumulate")


@dataclass(frozen=True, kw_only=True)
class PretrainingSettings(Settings):
    """shape: of the encoder to make. warm_start: whether it begins with what can be counted."""

    shape: EncoderShape = field(default_factory=EncoderShape)
    warm_start: bool = True


@dataclass(frozen=True, kw_only=True)
class DistillationSettings(Settings):
    """teacher, student: folders or hub names. shape: of a new student, if none is given.
    The weights are those of the losses, see `Distillation`; 0 leaves one out.

    RAISES ModelError: a weight is below 0 or not finite, or all are 0.
    """

    teacher: str
    student: str | None = None
    shape: EncoderShape = field(default_factory=EncoderShape)
    embedding_weight: float = 1.0
    hidden_weight: float = 1.0
    attention_weight: float = 1.0
    mlm_weight: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        weights = (
            self.embedding_weight,
            self.hidden_weight,
            self.attention_weight,
            self.mlm_weight,
        )
        if not any(weights) or not all(0 <= weight < math.inf for weight in weights):
            raise ModelError(Errors.E435)
