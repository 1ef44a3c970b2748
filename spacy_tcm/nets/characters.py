"""spaCy's ``Tok2Vec`` as a torch module, so that it can be part of a graph."""

from typing import Any

import torch
from thinc.api import Model
from torch import Tensor, nn

# The layers that a Tok2Vec of hashed attributes and a window encoder consists of.
_EMBED = {"extract_features", "list2ragged", "hashembed", "ints-getitem", "ragged2list"}
_COMMON = {"maxout", "layernorm", "dropout"}
_ENCODE = {"expand_window"}


class _HashEmbed(nn.Module):
    """Thinc's ``HashEmbed``, given the rows that a key is hashed to."""

    def __init__(self, weights: Tensor):
        super().__init__()
        self.E = nn.Parameter(weights)

    def forward(self, rows: Tensor) -> Tensor:
        """rows: (batch, length, 4). RETURNS: (batch, length, width)."""
        return nn.functional.embedding(rows, self.E).sum(2)


class _Maxout(nn.Module):
    """Thinc's ``Maxout`` with ``LayerNorm``."""

    def __init__(self, maxout: Model, norm: Model):
        super().__init__()
        weights = torch.tensor(maxout.get_param("W"))  # (out, pieces, in)
        self.pieces = weights.shape[1]
        self.dense = nn.Linear(weights.shape[2], weights.shape[0] * self.pieces)
        self.norm = nn.LayerNorm(weights.shape[0], eps=1e-8)
        # Pieces outermost, so that the largest of them is found by comparing whole rows.
        self.dense.weight.data = weights.transpose(0, 1).flatten(0, 1)
        self.dense.bias.data = torch.tensor(maxout.get_param("b")).T.flatten()
        self.norm.weight.data = torch.tensor(norm.get_param("G"))
        self.norm.bias.data = torch.tensor(norm.get_param("b"))

    def forward(self, x: Tensor) -> Tensor:
        parts = self.dense(x).chunk(self.pieces, -1)
        best = parts[0]
        for part in parts[1:]:
            best = torch.maximum(best, part)
        return self.norm(best)


class Characters(nn.Module):
    """``MultiHashEmbed`` and ``MaxoutWindowEncoder`` with the weights of trained ones.

    attributes, seeds, rows: of each table: the lexeme attribute, as spaCy names it, the seed of its
    hash and its rows.
    """

    def __init__(self, tok2vec: Model):
        """RAISES ValueError: it has other layers."""
        super().__init__()
        embed, encode = tok2vec.maybe_get_ref("embed"), tok2vec.maybe_get_ref("encode")
        if embed is None or encode is None:
            raise ValueError(f"not a Tok2Vec but {tok2vec.name}")
        _check(embed, _EMBED | _COMMON)
        _check(encode, _ENCODE | _COMMON)
        tables = _find(embed, "hashembed")
        (features,) = _find(embed, "extract_features")
        columns = features.attrs["columns"]
        self.attributes = [columns[table.attrs["column"]] for table in tables]
        self.seeds = [table.attrs["seed"] for table in tables]
        self.rows = [len(table.get_param("E")) for table in tables]
        self.tables = nn.ModuleList(_HashEmbed(torch.tensor(t.get_param("E"))) for t in tables)
        (self.mix,) = _maxouts(embed)
        windows = {layer.attrs["window_size"] for layer in _find(encode, "expand_window")}
        if len(windows) > 1:
            raise ValueError("window encoders of several widths")
        self.window = max(windows, default=0)
        self.layers = nn.ModuleList(_maxouts(encode))
        self.width = self.mix.norm.normalized_shape[0]

    def forward(self, rows: Tensor, inside: Tensor) -> Tensor:
        """rows: (batch, length, 4 * tables), of each table in turn. inside: (batch, length, 1), 1
        on tokens, else 0. RETURNS: (batch, length, width); the padding means nothing."""
        found = [table(part) for table, part in zip(self.tables, rows.split(4, -1), strict=True)]
        # As Thinc pads a batch: with as many zeros as any token can see from its place.
        around = self.window * len(self.layers)
        x = self.mix(torch.cat(found, -1)) * inside
        x = nn.functional.pad(x, (0, 0, around, around))
        for layer in self.layers:
            padded = nn.functional.pad(x, (0, 0, self.window, self.window))
            length = x.shape[1]
            near = [padded[:, k : k + length] for k in range(2 * self.window + 1)]
            x = x + layer(torch.cat(near, -1))
        return x[:, around : x.shape[1] - around]


def _check(model: Model, known: set[str]) -> None:
    for layer in model.walk():
        if not layer.layers and layer.name not in known:
            raise ValueError(f"a layer {layer.name}")


def _find(model: Model, name: str) -> list[Model]:
    found: list[Any] = []
    for layer in model.walk(order="dfs_pre"):
        if layer.name == name and not any(layer is other for other in found):
            found.append(layer)
    return found


def _maxouts(model: Model) -> list[_Maxout]:
    maxouts, norms = _find(model, "maxout"), _find(model, "layernorm")
    if len(maxouts) != len(norms):
        raise ValueError("maxout without layer norm")
    return [_Maxout(*pair) for pair in zip(maxouts, norms, strict=True)]
