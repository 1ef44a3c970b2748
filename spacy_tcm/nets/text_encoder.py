"""BERT's encoder, each layer with its own number of heads and inner width.

Parameter names are those of Hugging Face's ``BertModel``, whose weights load unchanged.
"""

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class TextEncoderArch:
    """width: of a vector. head_size: of one attention head. layers: (heads, inner width) of each
    layer; both may be 0. epsilon: of the layer norms."""

    vocabulary: int
    positions: int
    types: int
    width: int
    head_size: int
    layers: tuple[tuple[int, int], ...]
    epsilon: float = 1e-12

    to_dict = asdict

    @classmethod
    def from_dict(cls, data: dict) -> "TextEncoderArch":
        layers = tuple((int(heads), int(inner)) for heads, inner in data["layers"])
        return cls(**{**data, "layers": layers})


class _Embeddings(nn.Module):
    def __init__(self, arch: TextEncoderArch):
        super().__init__()
        self.word_embeddings = nn.Embedding(arch.vocabulary, arch.width)
        self.position_embeddings = nn.Embedding(arch.positions, arch.width)
        self.token_type_embeddings = nn.Embedding(arch.types, arch.width)
        self.LayerNorm = nn.LayerNorm(arch.width, arch.epsilon)

    def forward(self, ids: Tensor) -> Tensor:
        place = torch.arange(ids.shape[1], device=ids.device)
        x = self.word_embeddings(ids) + self.position_embeddings(place)
        return self.LayerNorm(x + self.token_type_embeddings.weight[0])


class _SelfAttention(nn.Module):
    def __init__(self, arch: TextEncoderArch, heads: int):
        super().__init__()
        self.heads, self.head_size = heads, arch.head_size
        inner = heads * arch.head_size
        self.query = nn.Linear(arch.width, inner)
        self.key = nn.Linear(arch.width, inner)
        self.value = nn.Linear(arch.width, inner)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x: (rows, length, width). mask: (rows, 1, 1, length) bool. RETURNS: (rows, length,
        heads * head_size)."""
        shape = (x.shape[0], x.shape[1], self.heads, self.head_size)
        q, k, v = (
            part(x).view(shape).transpose(1, 2) for part in (self.query, self.key, self.value)
        )
        found = functional.scaled_dot_product_attention(q, k, v, mask)
        return found.transpose(1, 2).reshape(x.shape[0], x.shape[1], self.heads * self.head_size)


class _Output(nn.Module):
    """Back to the width, added to what went in."""

    def __init__(self, arch: TextEncoderArch, n_in: int):
        super().__init__()
        self.dense = nn.Linear(n_in, arch.width)
        self.LayerNorm = nn.LayerNorm(arch.width, arch.epsilon)

    def forward(self, inner: Tensor, x: Tensor) -> Tensor:
        return self.LayerNorm(self.dense(inner) + x)


class _Attention(nn.Module):
    def __init__(self, arch: TextEncoderArch, heads: int):
        super().__init__()
        self.self = _SelfAttention(arch, heads)
        self.output = _Output(arch, heads * arch.head_size)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return self.output(self.self(x, mask), x)


class _Intermediate(nn.Module):
    def __init__(self, arch: TextEncoderArch, inner: int):
        super().__init__()
        self.dense = nn.Linear(arch.width, inner)

    def forward(self, x: Tensor) -> Tensor:
        return functional.gelu(self.dense(x))


class _Layer(nn.Module):
    def __init__(self, arch: TextEncoderArch, heads: int, inner: int):
        super().__init__()
        self.attention = _Attention(arch, heads)
        self.intermediate = _Intermediate(arch, inner)
        self.output = _Output(arch, inner)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = self.attention(x, mask)
        return self.output(self.intermediate(x), x)


class _Encoder(nn.Module):
    def __init__(self, arch: TextEncoderArch):
        super().__init__()
        self.layer = nn.ModuleList(_Layer(arch, heads, inner) for heads, inner in arch.layers)


class TextEncoder(nn.Module):
    """Subwords -> vectors; no dropout: it is trained only to be like a teacher."""

    def __init__(self, arch: TextEncoderArch):
        super().__init__()
        self.arch = arch
        self.embeddings = _Embeddings(arch)
        self.encoder = _Encoder(arch)

    @property
    def layers(self) -> list[nn.Module]:
        return list(self.encoder.layer)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """ids: (rows, length) of subwords, all of the first segment. mask: (rows, length) bool,
        true on subwords. RETURNS: (rows, length, width); the padding means nothing."""
        x = self.embeddings(ids)
        for layer in self.layers:
            x = layer(x, mask[:, None, None])
        return x

    @classmethod
    def from_bert(cls, bert: Any) -> "TextEncoder":
        """A copy of a ``transformers.BertModel``, pooler left out.

        RAISES ValueError: it is another kind of model, or attends in a way that this does not.
        """
        config = bert.config
        kind = (config.model_type, config.hidden_act, config.position_embedding_type)
        if kind != ("bert", "gelu", "absolute"):
            raise ValueError(f"not a plain BERT but {kind}")
        head_size = config.hidden_size // config.num_attention_heads
        arch = TextEncoderArch(
            config.vocab_size,
            config.max_position_embeddings,
            config.type_vocab_size,
            config.hidden_size,
            head_size,
            ((config.num_attention_heads, config.intermediate_size),) * config.num_hidden_layers,
            config.layer_norm_eps,
        )
        encoder = cls(arch)
        state = {
            name: tensor.float()
            for name, tensor in bert.state_dict().items()
            if not name.startswith("pooler.") and name != "embeddings.position_ids"
        }
        encoder.load_state_dict(state, strict=True)
        return encoder.eval()
