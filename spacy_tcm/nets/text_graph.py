"""The tagger as one module for a graph: from what is looked up for each token to emissions."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from spacy_tcm.nets.characters import Characters
from spacy_tcm.nets.fusion import BiLSTM, GatedCrossAttention, Tagger

# The tagger graph's inputs in their order; those that a pipeline has no part for are left out.
INPUTS = ("vectors", "rows", "lexicon", "regions", "lengths")


class TaggerGraph(nn.Module):
    """`Tagger`, with the character embeddings before it, equal in evaluation.

    Records with a photo come first in a batch: ``regions`` has rows for these only, so that those
    without do not pay for the attention.
    """

    def __init__(self, tagger: Tagger, characters: Characters | None, parts: tuple[str, ...]):
        """parts: what a token's vector is made of, in order: "vectors", "rows" or both."""
        super().__init__()
        self.parts = parts
        self.characters = characters
        self.lexicon = tagger.lexicon
        self.fusion = None if tagger.fusion is None else _Fusion(tagger.fusion)
        self.lstm = _BiLSTM(tagger.lstm)
        self.emit = tagger.emit
        has = {*parts, "lengths"}
        if self.lexicon is not None:
            has.add("lexicon")
        if self.fusion is not None:
            has.add("regions")
        self.inputs = [name for name in INPUTS if name in has]

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """inputs: those of `INPUTS` that it has, in their order. vectors: (batch, length, width).
        rows: see `Characters`. lexicon: (batch, length, features). regions: (photos, regions,
        width). lengths: (batch,).
        RETURNS: emissions, (batch, length, tags); with regions also the gates, (batch, length)."""
        given = dict(zip(self.inputs, inputs, strict=True))
        lengths = given["lengths"]
        length = given[self.inputs[0]].shape[1]
        place = torch.arange(length, dtype=lengths.dtype)[None]
        ends = lengths[:, None]
        found = dict(given)
        if self.characters is not None:
            inside = (place < ends)[:, :, None].float()
            found["rows"] = self.characters(given["rows"], inside)
        some = [found[part] for part in self.parts]
        x = some[0] if len(some) == 1 else torch.cat(some, -1)
        if self.lexicon is not None:
            x = x + self.lexicon(given["lexicon"])
        opened: tuple[Tensor, ...] = ()
        if self.fusion is not None:
            x, gates = self.fusion(x, given["regions"])
            opened = (gates,)
        mirror = torch.where(place < ends, ends - 1 - place, place)
        return (self.emit(self.lstm(x, mirror)), *opened)


class _Fusion(nn.Module):
    """`GatedCrossAttention` for the first records of a batch, the vector of no photo for others."""

    query: nn.Module
    key: nn.Module
    value: nn.Module

    def __init__(self, fusion: GatedCrossAttention):
        super().__init__()
        attention = fusion.attention
        width = attention.embed_dim
        if attention.in_proj_weight is None:
            weights = [attention.q_proj_weight, attention.k_proj_weight, attention.v_proj_weight]
        else:
            weights = list(attention.in_proj_weight.chunk(3))
        for name, weight, bias in zip(
            ("query", "key", "value"), weights, attention.in_proj_bias.chunk(3), strict=True
        ):
            dense = nn.Linear(weight.shape[1], width)
            dense.weight.data, dense.bias.data = weight.data.clone(), bias.data.clone()
            setattr(self, name, dense)
        self.heads, self.head_size = attention.num_heads, attention.head_dim
        self.out = attention.out_proj
        self.gate = fusion.gate
        self.null = fusion.null

    def forward(self, x: Tensor, regions: Tensor) -> tuple[Tensor, Tensor]:
        n = regions.shape[0]
        tokens, rest = x[:n], x[n:]
        q, k, v = self._split(self.query(tokens)), self.key(regions), self.value(regions)
        c = functional.scaled_dot_product_attention(q, self._split(k), self._split(v))
        # Not -1: without a photo there is nothing to tell a width from.
        width = self.heads * self.head_size
        c = self.out(c.transpose(1, 2).reshape(tokens.shape[0], tokens.shape[1], width))
        g = torch.ones_like(c)
        if self.gate is not None:
            g = torch.sigmoid(self.gate(torch.cat([tokens, c], -1)))
        closed = torch.zeros_like(rest[:, :, 0])
        return torch.cat([tokens + g * c, rest + self.null]), torch.cat([g.mean(-1), closed])

    def _split(self, x: Tensor) -> Tensor:
        return x.view(x.shape[0], x.shape[1], self.heads, self.head_size).transpose(1, 2)


class _BiLSTM(nn.Module):
    """`BiLSTM`, given where each token stands when its record is read from the end."""

    def __init__(self, lstm: BiLSTM):
        super().__init__()
        self.ahead, self.back = lstm.ahead, lstm.back

    def forward(self, x: Tensor, mirror: Tensor) -> Tensor:
        first = torch.arange(mirror.shape[0], dtype=mirror.dtype)[:, None] * mirror.shape[1]
        place = (mirror + first).flatten()
        for ahead, back in zip(self.ahead, self.back, strict=True):
            reverse = _take(back(_take(x, place))[0], place)
            x = torch.cat([ahead(x)[0], reverse], -1)
        return x


def _take(x: Tensor, place: Tensor) -> Tensor:
    """Whole rows, which costs less than gathering each number."""
    return x.flatten(0, 1).index_select(0, place).view(x.shape)
