"""Token vectors + lexicon features + tongue regions -> emissions."""

from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class TaggerArch:
    """width: of a token vector. lexicon: features per token (0: none). tongue: width of a region
    vector (0: text only). heads: of the cross-modal attention; must divide width. gate: false
    adds the attended photo without a gate. hidden: of each LSTM direction. tags: emissions.
    token_dropout: in training, the share of token vectors left out whole, so that context and
    lexicon must do (the word dropout of Iyyer et al. 2015)."""

    width: int
    lexicon: int
    tongue: int
    tags: int
    heads: int = 4
    gate: bool = True
    hidden: int = 128
    layers: int = 1
    dropout: float = 0.1
    token_dropout: float = 0.0

    to_dict = asdict

    @classmethod
    def from_dict(cls, data: dict) -> "TaggerArch":
        return cls(**data)


class GatedCrossAttention(nn.Module):
    """Each token looks at the photo's regions and takes in as much as its gate lets through:
    ``c = attention(t, regions)``, ``g = sigmoid(W [t; c])``, ``t + g * c``.

    Without a photo a learned vector is added instead and attention is not run, so that the result
    does not depend on what else is in the batch.
    """

    def __init__(self, arch: TaggerArch):
        super().__init__()
        self.attention = nn.MultiheadAttention(
            arch.width, arch.heads, kdim=arch.tongue, vdim=arch.tongue, batch_first=True
        )
        self.gate = nn.Linear(2 * arch.width, arch.width) if arch.gate else None
        self.null = nn.Parameter(torch.zeros(arch.width))

    def forward(self, tokens: Tensor, regions: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
        """tokens: (batch, length, width). regions: (batch, regions, tongue).
        present: (batch,) bool, whether there is a photo.
        RETURNS: like tokens; and how far the gate stood open, the mean over the width, 0 to 1,
            (batch, length): 0 without a photo, 1 where there is no gate to close."""
        out = tokens + self.null
        opened = tokens.new_zeros(tokens.shape[:2])
        if not present.any():
            return out, opened
        rows = present.nonzero()[:, 0]
        t = tokens[present]
        c, _ = self.attention(t, regions[present], regions[present], need_weights=False)
        g = t.new_ones(t.shape)
        if self.gate is not None:
            g = torch.sigmoid(self.gate(torch.cat([t, c], -1)))
        opened = opened.index_put((rows,), g.detach().mean(-1))
        return out.index_put((rows,), t + g * c), opened


class BiLSTM(nn.Module):
    """Bidirectional LSTM over padded sequences.

    Each direction runs on plain padded input, the backward one on sequences reversed within
    their lengths: on a CPU that trains ten times faster than torch's packed sequences, which
    copy the whole batch at each step of the backward pass.
    """

    def __init__(self, width: int, hidden: int, layers: int, dropout: float):
        super().__init__()
        widths = [width, *[2 * hidden] * (layers - 1)]
        self.ahead = nn.ModuleList(nn.LSTM(n, hidden, batch_first=True) for n in widths)
        self.back = nn.ModuleList(nn.LSTM(n, hidden, batch_first=True) for n in widths)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """x: (batch, length, width). lengths: (batch,). RETURNS: (batch, length, 2 * hidden); what
        stands behind the end of a sequence means nothing."""
        place = torch.arange(x.size(1), device=x.device)
        mirror = lengths.to(x.device)[:, None] - 1 - place
        mirror = torch.where(mirror < 0, place, mirror)[:, :, None]
        for i, (ahead, back) in enumerate(zip(self.ahead, self.back, strict=True)):
            x = self.drop(x) if i else x
            reverse = back(x.gather(1, mirror.expand_as(x)))[0]
            x = torch.cat([ahead(x)[0], reverse.gather(1, mirror.expand_as(reverse))], -1)
        return x


class Tagger(nn.Module):
    """The network between the token vectors and the CRF."""

    def __init__(self, arch: TaggerArch):
        super().__init__()
        self.arch = arch
        self.lexicon = nn.Linear(arch.lexicon, arch.width, bias=False) if arch.lexicon else None
        self.fusion = GatedCrossAttention(arch) if arch.tongue else None
        self.drop = nn.Dropout(arch.dropout)
        self.lstm = BiLSTM(arch.width, arch.hidden, arch.layers, arch.dropout)
        self.emit = nn.Linear(2 * arch.hidden, arch.tags)

    def forward(
        self, tokens: Tensor, lengths: Tensor, lexicon: Tensor, regions: Tensor, present: Tensor
    ) -> tuple[Tensor, Tensor]:
        """tokens: (batch, length, width), padded. lengths: (batch,).
        lexicon: (batch, length, lexicon). regions, present: see :class:`GatedCrossAttention`.
        RETURNS: emissions (batch, length, tags); the gate, (batch, length), see there."""
        x = tokens
        if self.training and self.arch.token_dropout:
            kept = torch.rand(x.shape[:2], device=x.device) >= self.arch.token_dropout
            x = x * kept[:, :, None]
        if self.lexicon is not None:
            x = x + self.lexicon(lexicon)
        if self.fusion is not None:
            x, opened = self.fusion(x, regions, present)
        else:
            opened = x.new_zeros(x.shape[:2])
        return self.emit(self.drop(self.lstm(self.drop(x), lengths))), opened
