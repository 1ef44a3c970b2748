"""What the layers of a BERT compare before the softmax."""

import math
from typing import Any

import torch
from torch import Tensor, nn

# Model types of Hugging Face whose scores are query times key and nothing else (and whose layers
# have submodules of these names). Others add or rotate positions, or attend to a window only.
SCORED = ("bert", "roberta", "xlm-roberta", "electra", "albert")


def has_scores(config: Any) -> bool:
    """Whether `AttentionScores` can be had from nets of this configuration of Hugging Face."""
    positions = getattr(config, "position_embedding_type", None) or "absolute"
    return config.model_type in SCORED and positions == "absolute"


class AttentionScores:
    """While entered, catches queries and keys of every layer of a net as it runs.

    The net computes its attention in whichever way is fastest: none of its outputs are needed.
    enabled: False catches nothing.
    """

    def __init__(self, net: nn.Module, enabled: bool = True):
        self._net = net
        self._enabled = enabled
        self._caught: list[tuple[Tensor, Tensor, int]] = []
        self._hooks: list[torch.utils.hooks.RemovableHandle] = []

    def __enter__(self) -> "AttentionScores":
        for layer in self._net.modules() if self._enabled else ():
            if isinstance(getattr(layer, "query", None), nn.Linear):
                self._watch(layer)
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()

    def _watch(self, layer: Any) -> None:
        queries: list[Tensor] = []

        def catch_query(_module: nn.Module, _inputs: object, output: Tensor) -> None:
            queries.append(output)

        def catch_key(_module: nn.Module, _inputs: object, output: Tensor) -> None:
            self._caught.append((queries.pop(), output, layer.num_attention_heads))

        self._hooks.append(layer.query.register_forward_hook(catch_query))
        self._hooks.append(layer.key.register_forward_hook(catch_key))

    def all(self) -> list[Tensor]:
        """Of each layer that ran: (texts, heads, length, length), query by key, no mask applied."""
        return [_scores(*caught) for caught in self._caught]


def _scores(query: Tensor, key: Tensor, heads: int) -> Tensor:
    query, key = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (query, key))
    return query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
