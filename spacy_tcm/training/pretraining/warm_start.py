"""Weights to begin with that already know which subwords keep which company.

A small net that reads little text spends much of it to learn what can be counted in seconds. So the
subword vectors begin as the factors of their co-occurrence statistics (Levy and Goldberg 2014), the
output biases as log frequencies, and the position vectors as sinusoids (Vaswani et al. 2017).
"""

from collections.abc import Sequence

import numpy
import torch
from torch import Tensor
from transformers import BertForMaskedLM, PreTrainedTokenizerBase

# Weight of a neighbour by its distance.
WINDOW = (1.0, 2 / 3, 1 / 3)

# Standard deviation of a weight; the layer norm behind the embeddings makes up for the scale.
SCALE = 0.05


@torch.no_grad()
def warm_start(
    model: BertForMaskedLM, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], seed: int
) -> None:
    """Change the model in place. texts: those it will be trained on."""
    embeddings = model.bert.embeddings
    counts, pairs = count_pairs(tokenizer, texts)
    width = embeddings.word_embeddings.embedding_dim
    vectors = factorize(pairs, min(width, len(counts) - 1), seed)
    weight = embeddings.word_embeddings.weight
    known = torch.as_tensor(counts > 0)
    weight[known, : vectors.shape[1]] = SCALE * vectors[known].to(weight)
    embeddings.position_embeddings.weight.copy_(
        SCALE * 2**0.5 * sinusoids(embeddings.position_embeddings.num_embeddings, width)
    )
    share = (counts + 1) / (counts + 1).sum()
    model.cls.predictions.bias.copy_(torch.as_tensor(numpy.log(share)))


def count_pairs(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]
) -> tuple[numpy.ndarray, numpy.ndarray]:
    """(vocabulary,) how often each subword occurs, and (vocabulary, vocabulary) float32 how often,
    by `WINDOW`, the second stands behind the first."""
    size = len(tokenizer)
    counts = numpy.zeros(size)
    pairs = numpy.zeros(size * size, dtype="float32")
    gap = [-1] * len(WINDOW)
    for start in range(0, len(texts), 10_000):
        encoded = tokenizer(list(texts[start : start + 10_000]), add_special_tokens=False)
        ids = numpy.array([i for text in encoded["input_ids"] for i in (*text, *gap)])
        counts += numpy.bincount(ids[ids >= 0], minlength=size)
        for distance, weight in enumerate(WINDOW, 1):
            first, second = ids[:-distance], ids[distance:]
            inside = (first >= 0) & (second >= 0)
            found = numpy.bincount(first[inside] * size + second[inside], minlength=size * size)
            pairs += numpy.float32(weight) * found.astype("float32")
    return counts, pairs.reshape(size, size)


def factorize(pairs: numpy.ndarray, width: int, seed: int) -> Tensor:
    """(vocabulary, width) factors of the positive pointwise mutual information with what stands
    behind and before a subword, each of norm sqrt(width)."""
    sides = []
    for matrix in (pairs, pairs.T):
        # The power keeps rare contexts from ruling (Levy et al. 2015).
        context = matrix.sum(0) ** 0.75
        expected = numpy.outer(matrix.sum(1), context / max(context.sum(), 1e-9))
        information = numpy.zeros_like(matrix)
        seen = matrix > 0
        information[seen] = numpy.log(matrix[seen] / expected[seen])
        sides.append(torch.from_numpy(numpy.maximum(information, 0)))
    torch.manual_seed(seed)
    left, values, _ = torch.svd_lowrank(torch.cat(sides, dim=1), q=width, niter=3)
    vectors = left * values.sqrt()
    vectors = vectors - vectors.mean(0)
    return vectors / vectors.norm(dim=1, keepdim=True).clamp(min=1e-9) * width**0.5


def sinusoids(positions: int, width: int) -> Tensor:
    """(positions, width), sines and cosines in turn."""
    angles = torch.arange(positions)[:, None] / 10_000 ** (torch.arange(0, width, 2) / width)
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)[:, :width]
