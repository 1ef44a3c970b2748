"""What a frozen encoder makes of a text is the same in every epoch: it is computed once."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy

if TYPE_CHECKING:
    from spacy_transformers.data_classes import WordpieceBatch
    from transformers.file_utils import ModelOutput

# In subwords: about 0.6 GB of the vectors of a TinyBERT.
MOST = 1_000_000


class KeptVectors:
    """The last layer's vectors of each row of subwords, in 16 bits, as long as there is room."""

    def __init__(self, most: int = MOST):
        self._room = most
        self._vectors: dict[bytes, Any] = {}

    def predict(
        self, wordpieces: "WordpieceBatch", encode: Callable[[list[int]], "ModelOutput"]
    ) -> "ModelOutput":
        """encode: numbers of rows -> the encoder's output for these rows, padded as all are.

        RETURNS: the last layer of all rows, (rows, longest, width), zeros in the padding.
        """
        from transformers.file_utils import ModelOutput

        ids, lengths = wordpieces.input_ids, find_lengths(wordpieces)
        keys = [ids[row, :length].tobytes() for row, length in enumerate(lengths)]
        new = {key: row for row, key in enumerate(keys) if key not in self._vectors}
        found = {key: self._vectors[key] for key in keys if key in self._vectors}
        if new:
            output = encode(list(new.values()))["last_hidden_state"]
            for (key, row), vectors in zip(new.items(), output, strict=True):
                found[key] = vectors[: lengths[row]].half()
                if lengths[row] <= self._room:
                    self._room -= lengths[row]
                    self._vectors[key] = found[key]
        width = found[keys[0]].shape[-1]
        merged = found[keys[0]].new_zeros((*ids.shape, width)).float()
        for row, key in enumerate(keys):
            merged[row, : lengths[row]] = found[key]
        return ModelOutput(last_hidden_state=merged)


def find_lengths(wordpieces: "WordpieceBatch") -> list[int]:
    """Subwords of each row, without the padding behind the last."""
    mask = numpy.asarray(wordpieces.attention_mask) > 0
    return (mask * numpy.arange(1, mask.shape[1] + 1)).max(1).tolist()
