"""Linear-chain CRF over BIOES tags: exact likelihood under partial labels, exact posteriors.

Parameters, best path and reference semantics are pytorch-crf's. The normaliser is ours: the scaled
forward-backward algorithm (Rabiner 1989, section V.A) in probability space, about ten times faster
on a CPU than autograd through log-sum-exp steps, and its messages give the posteriors for free.
"""

from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torchcrf import CRF

from spacy_tcm.tags import legal_transitions

# Log-potential of what may not happen; exp() of it is exactly 0.
IMPOSSIBLE = -1e4
_TINY = 1e-300


@dataclass(frozen=True)
class CRFArch:
    """n_labels: entity labels; there are 1 + 4 * n_labels tags."""

    n_labels: int

    to_dict = asdict


class _Forbid(nn.Module):
    """Keeps the log-potentials of illegal steps at IMPOSSIBLE, whatever the parameter says."""

    legal: Tensor

    def __init__(self, legal: Tensor):
        super().__init__()
        self.register_buffer("legal", legal, persistent=False)

    def forward(self, scores: Tensor) -> Tensor:
        return scores.masked_fill(~self.legal, IMPOSSIBLE)


class BioesCRF(nn.Module):
    """Scores tag paths; illegal BIOES steps have probability 0."""

    def __init__(self, arch: CRFArch):
        super().__init__()
        self.arch = arch
        start, end, transition = legal_transitions(arch.n_labels)
        self.crf = CRF(len(start), batch_first=True)
        for name, legal in (
            ("start_transitions", start),
            ("end_transitions", end),
            ("transitions", transition),
        ):
            parametrize.register_parametrization(self.crf, name, _Forbid(torch.tensor(legal)))

    def potentials(self) -> tuple[Tensor, Tensor, Tensor]:
        """Log-potentials of the start (tags,), of a step from row to column, and of the end."""
        crf = self.crf
        return crf.start_transitions, crf.transitions, crf.end_transitions

    def forward(
        self,
        emissions: Tensor,
        mask: Tensor,
        allowed: Tensor,
        taught: Tensor | None = None,
        weight: float = 0.0,
    ) -> Tensor:
        """Negative log-likelihood of the tags that the annotation allows, summed over the batch.

        emissions: (batch, length, tags). mask: (batch, length) bool, true on tokens, first column
            true. allowed: (batch, length, tags) bool; one true tag per token is full annotation,
            several are partial annotation.
        taught: (batch, length, tags) a teacher's posterior of each tag. weight: its share, 0 to 1.
        RETURNS: (1,), ``sum(logZ(emissions) - logZ(emissions where allowed))``, of which the
            distillation loss has the share weight: ``logZ(emissions) - <taught, emissions>``, the
            cross-entropy of the paths under the teacher up to its transitions, which are held
            fixed. Its gradient by the emissions is (student's posterior - teacher's posterior).
        """
        potentials = self.potentials()
        possible = emissions.masked_fill(~allowed, IMPOSSIBLE)
        annotated = _LogNormalizer.apply(*potentials, possible, mask)
        if taught is None:
            loss = _LogNormalizer.apply(*potentials, emissions, mask) - annotated
        else:
            # Both losses have the same logZ. Of its gradient by the transitions, the annotation has
            # its share and the teacher none.
            shared = [p.detach().lerp(p, 1 - weight) for p in potentials]
            everything = _LogNormalizer.apply(*shared, emissions, mask)
            agreed = (taught * emissions * mask.unsqueeze(-1)).sum((1, 2))
            loss = everything - (1 - weight) * annotated - weight * agreed
        return loss.sum().reshape(1).to(emissions.dtype)


@dataclass(frozen=True)
class _Messages:
    """alpha: (length, batch, tags), P(tag at t | tokens up to t). beta: such that alpha * beta is
    the posterior of a tag. step: exp(emission) / scale of a step. log_z: (batch,). float64."""

    alpha: Tensor
    beta: Tensor
    step: Tensor
    transition: Tensor
    log_z: Tensor


def _forward_backward(
    start: Tensor, transition: Tensor, end: Tensor, emissions: Tensor, mask: Tensor
) -> _Messages:
    # Time first: each step is then one contiguous block. Subtracting each step's largest emission
    # and rescaling each alpha to sum 1 keeps every number in range for any length; in float64 also
    # where the best tags of a step are illegal and the rest lies e**600 below.
    start, transition, end, emissions = (x.double() for x in (start, transition, end, emissions))
    em = emissions.transpose(0, 1).contiguous()
    on = mask.transpose(0, 1)
    largest = em.amax(-1, keepdim=True)
    x = (em - largest).exp()
    trans, last = transition.exp(), end.exp()
    length = len(x)

    alpha = torch.empty_like(x)
    scale = torch.ones_like(largest)
    a = start.exp() * x[0]
    scale[0] = a.sum(-1, keepdim=True).clamp_min(_TINY)
    alpha[0] = a = a / scale[0]
    for t in range(1, length):
        new = (a @ trans) * x[t]
        total = new.sum(-1, keepdim=True).clamp_min(_TINY)
        here = on[t, :, None]
        scale[t] = torch.where(here, total, scale[t])
        alpha[t] = a = torch.where(here, new / total, a)
    total = (a @ last).clamp_min(_TINY)
    log_z = ((scale.log() + largest)[..., 0] * on).sum(0) + total.log()

    step = x / scale
    beta = torch.empty_like(x)
    final = last / total[:, None]
    beta[-1] = b = final
    back = trans.T.contiguous()
    for t in range(length - 2, -1, -1):
        b = torch.where(on[t + 1, :, None], (step[t + 1] * b) @ back, final)
        beta[t] = b
    return _Messages(alpha, beta, step, trans, log_z)


class _LogNormalizer(torch.autograd.Function):
    """log of the sum over all paths; its gradient is the expected count of each potential."""

    @staticmethod
    def forward(ctx, start, transition, end, emissions, mask):
        ctx.dtype = emissions.dtype
        m = _forward_backward(start, transition, end, emissions, mask)
        ctx.save_for_backward(m.alpha, m.beta, m.step, m.transition, mask)
        return m.log_z

    @staticmethod
    def backward(ctx, grad):
        alpha, beta, step, transition, mask = ctx.saved_tensors
        on = mask.transpose(0, 1).unsqueeze(-1)
        weight = grad[None, :, None] * on
        posterior = alpha * beta * weight
        arriving = (step * beta * weight)[1:].flatten(0, 1)
        d_transition = alpha[:-1].flatten(0, 1).T @ arriving * transition
        lengths = mask.sum(1) - 1
        d_end = posterior[lengths, torch.arange(mask.size(0), device=mask.device)].sum(0)
        gradients = (posterior[0].sum(0), d_transition, d_end, posterior.transpose(0, 1))
        return (*(g.to(ctx.dtype) for g in gradients), None)
