"""A transformer for texts of any length: overlapping windows, each token from the best of them."""

import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import numpy
from spacy.tokens import Doc, Span
from thinc.api import Model, Optimizer, chain
from thinc.types import Floats2d, Ragged

from spacy_tcm.batching import find_unique, group_by_length
from spacy_tcm.errors import Errors, ModelError
from spacy_tcm.models.huggingface import loading
from spacy_tcm.models.kept_vectors import KeptVectors, find_lengths

if TYPE_CHECKING:
    from spacy_transformers.data_classes import FullTransformerBatch, HFObjects, WordpieceBatch
    from transformers import BatchEncoding
    from transformers.file_utils import ModelOutput


def build_windowed_transformer(
    name: str,
    get_spans: Callable[[list[Doc]], list[list[Span]]],
    tokenizer_config: dict[str, Any] | None = None,
    transformer_config: dict[str, Any] | None = None,
    mixed_precision: bool = False,
    grad_scaler_config: dict[str, Any] | None = None,
    max_batch_subwords: int = 4096,
    learn_rate_scale: float = 1.0,
) -> "WindowedTransformer":
    """Architecture ``spacy_tcm.WindowedTransformer.v1`` for the ``transformer`` component.

    get_spans: windows that cover each Doc and may overlap: ``spacy_tcm.subword_windows.v1``.
    max_batch_subwords: most subwords, padding included, that the encoder is given at once in
        prediction, so that memory does not grow with the number of windows. In training, a batch
        is one pass.
    learn_rate_scale: times the optimizer's learning rate, for this encoder's weights: what was
        pretrained wants smaller steps than what begins at random. 0 leaves them as they are;
        training then computes no gradient for them, and the vectors of a text once.
    The rest is as in ``spacy-transformers.TransformerModel.v3``.
    RAISES ModelError: learn_rate_scale is negative or not a number.
    """
    if not 0 <= learn_rate_scale < float("inf"):
        raise ModelError(Errors.E424.format(value=learn_rate_scale))
    from spacy_transformers.layers import TransformerModel

    plain = TransformerModel(
        name,
        get_spans,
        dict(tokenizer_config or {}),
        dict(transformer_config or {}),
        mixed_precision,
        dict(grad_scaler_config or {}),
    )
    return WindowedTransformer(plain, max_batch_subwords, learn_rate_scale)


def build_windowed_tok2vec(
    name: str,
    get_spans: Callable[[list[Doc]], list[list[Span]]],
    pooling: Model[Ragged, Floats2d],
    grad_factor: float = 1.0,
    tokenizer_config: dict[str, Any] | None = None,
    transformer_config: dict[str, Any] | None = None,
    mixed_precision: bool = False,
    grad_scaler_config: dict[str, Any] | None = None,
    max_batch_subwords: int = 4096,
) -> Model[list[Doc], list[Floats2d]]:
    """Architecture ``spacy_tcm.WindowedTok2VecTransformer.v1``: a windowed transformer of one
    component's own, which is what ``nlp.replace_listeners`` makes of a listener.

    pooling, grad_factor: as in ``spacy-transformers.TransformerListener.v1``. The rest: as in
    :func:`build_windowed_transformer`.
    """
    from spacy_transformers.layers import split_trf_batch, trfs2arrays

    transformer: Model = build_windowed_transformer(
        name,
        get_spans,
        tokenizer_config,
        transformer_config,
        mixed_precision,
        grad_scaler_config,
        max_batch_subwords,
    )
    # A chain in a chain: the structure that a replaced listener has.
    return chain(chain(transformer, split_trf_batch()), trfs2arrays(pooling, grad_factor))


class WindowedTransformer(Model):
    """The ``TransformerModel`` of spacy-transformers, and its weights, but

    - the alignment has for each token only the pieces of the window in which it is the most
      tokens away from an edge (the first of equals), so that no other copy of it is pooled or
      gets a gradient;
    - in prediction, windows run in groups of similar length and bounded size;
    - nothing is ever truncated: a token longer than what the encoder reads takes several rows.
    """

    def __init__(self, plain: Model, max_batch_subwords: int, learn_rate_scale: float = 1.0):
        super().__init__(
            plain.name,
            _forward,
            init=_init,
            layers=plain.layers,
            dims={dim: plain.maybe_get_dim(dim) for dim in plain.dim_names},
            attrs={**plain.attrs, "replace_listener_cfg": _replace_listener_config},
        )
        # Not in attrs: those are saved with the weights, and would win over the config.
        self.max_batch_subwords = max_batch_subwords
        self.learn_rate_scale = learn_rate_scale
        self.kept = KeptVectors()

    @property
    def _hf(self) -> "HFObjects":
        return self.layers[0].shims[0]._hfmodel  # type: ignore[attr-defined]

    @property
    def tokenizer(self) -> Any:
        return self._hf.tokenizer

    @property
    def transformer(self) -> Any:
        return self._hf.transformer

    # These two are read by spacy-transformers when it loads an encoder.
    @property
    def _init_tokenizer_config(self) -> dict[str, Any]:
        return self._hf._init_tokenizer_config

    @property
    def _init_transformer_config(self) -> dict[str, Any]:
        return self._hf._init_transformer_config

    def _copy(self, seen=None) -> "WindowedTransformer":
        # Behind Model.copy(), also that of a model around this one.
        return WindowedTransformer(
            super()._copy(seen), self.max_batch_subwords, self.learn_rate_scale
        )

    def finish_update(self, optimizer: Optimizer) -> None:
        super().finish_update(cast(Any, partial(optimizer, lr_scale=self.learn_rate_scale)))

    def from_dict(self, msg: dict) -> "WindowedTransformer":
        self.kept = KeptVectors()  # those of the weights before
        return cast(WindowedTransformer, super().from_dict(msg))


def _replace_listener_config(
    transformer: dict[str, Any], listener: dict[str, Any]
) -> dict[str, Any]:
    """The config of a listener that ``nlp.replace_listeners`` replaced."""
    config = {**transformer, "@architectures": "spacy_tcm.WindowedTok2VecTransformer.v1"}
    # What is part of a component is updated as all of it is.
    config.pop("learn_rate_scale", None)
    for key in ("pooling", "grad_factor"):
        if key in listener:
            config[key] = listener[key]
    return config


def _init(model: WindowedTransformer, X=None, Y=None) -> None:
    from spacy_transformers.layers.transformer_model import init

    with loading(model.attrs["name"]):
        # Its own example shows the width of the output as well as X does.
        init(model)  # type: ignore[arg-type]


def _forward(
    model: WindowedTransformer, docs: list[Doc], is_train: bool
) -> tuple["FullTransformerBatch", Callable]:
    from spacy_transformers.align import get_alignment_via_offset_mapping
    from spacy_transformers.data_classes import FullTransformerBatch, WordpieceBatch

    windows = model.attrs["get_spans"](docs)
    if not any(windows):
        return FullTransformerBatch.empty(len(docs)), lambda d_output: docs
    flat = [window for in_doc in windows for window in in_doc]
    encoding = _encode(model, flat)
    window_of = encoding["overflow_to_sample_mapping"]
    wordpieces = WordpieceBatch.from_batch_encoding(encoding)
    align = get_alignment_via_offset_mapping(
        [flat[i] for i in window_of], encoding["offset_mapping"]
    )
    width = wordpieces.input_ids.shape[1]
    align = keep_most_central(align, window_of[align.dataXd // width], find_edges(docs, windows))
    if is_train and model.learn_rate_scale:
        output, backprop_output = model.layers[0](wordpieces, True)
    elif is_train:
        output = model.kept.predict(wordpieces, lambda rows: _predict_rows(model, wordpieces, rows))
    else:
        output = _predict(model.layers[0], wordpieces, model.max_batch_subwords)

    rows = iter(numpy.bincount(window_of).tolist())
    spans = [[window for window in in_doc for _ in range(next(rows))] for in_doc in windows]

    def backprop(d_output: "FullTransformerBatch") -> list[Doc]:
        if model.learn_rate_scale:
            backprop_output(d_output.model_output)
        return docs

    return FullTransformerBatch(spans, wordpieces, output, align), backprop


def _encode(model: WindowedTransformer, windows: list[Span]) -> "BatchEncoding":
    """The subwords of each window in one row, or in several if it is one endless token.

    RETURNS: what ``WordpieceBatch`` is made from; "overflow_to_sample_mapping" gives the window of
        each row.
    RAISES ModelError: the encoder cannot read a window whole, or there is no fast tokenizer.
    """
    tokenizer = model.tokenizer
    if not tokenizer.is_fast:
        raise ModelError(Errors.E422)
    # XLNet says -1, others nothing: they read any length.
    positions = getattr(model.transformer.config, "max_position_embeddings", -1)
    most = min(tokenizer.model_max_length, positions if positions > 0 else sys.maxsize)
    encoding = tokenizer(
        [window.text for window in windows],
        truncation=True,
        max_length=most,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
        return_attention_mask=True,
        padding="longest",
        return_tensors="np",
    )
    rows = numpy.bincount(encoding["overflow_to_sample_mapping"])
    if any(len(windows[i]) > 1 for i in numpy.flatnonzero(rows > 1)):
        raise ModelError(Errors.E421.format(most=most - tokenizer.num_special_tokens_to_add()))
    encoding["input_texts"] = [
        tokenizer.convert_ids_to_tokens(ids) for ids in encoding["input_ids"]
    ]
    encoding["pad_token"] = tokenizer.pad_token
    return encoding


def find_edges(docs: list[Doc], windows: list[list[Span]]) -> tuple[numpy.ndarray, numpy.ndarray]:
    """First and last token of each window, counted as in the alignment: through all Docs that have
    windows. That the ends of a Doc count as edges changes nothing: a window further on has its
    first token nearer still."""
    first, last = [], []
    before = 0
    for doc, in_doc in zip(docs, windows, strict=True):
        first += [before + window.start for window in in_doc]
        last += [before + window.end - 1 for window in in_doc]
        before += len(doc) if in_doc else 0
    return numpy.array(first), numpy.array(last)


def keep_most_central(
    align: Ragged, window: numpy.ndarray, edges: tuple[numpy.ndarray, numpy.ndarray]
) -> Ragged:
    """The alignment, for each token with its pieces in one window only.

    window: of each piece in align. edges: see `find_edges`.
    """
    first, last = edges
    token = numpy.repeat(numpy.arange(len(align.lengths)), numpy.asarray(align.lengths))
    margin = numpy.minimum(token - first[window], last[window] - token)
    best_first = numpy.lexsort((-margin, token))  # stable: earlier windows come first
    tokens, place = numpy.unique(token, return_index=True)
    winner = numpy.zeros(len(align.lengths), dtype=int)
    winner[tokens] = window[best_first[place]]
    keep = window == winner[token]
    lengths = numpy.bincount(token[keep], minlength=len(align.lengths)).astype("i")
    return Ragged(align.dataXd[keep], lengths)  # type: ignore[arg-type]


def _predict_rows(
    model: WindowedTransformer, wordpieces: "WordpieceBatch", rows: list[int]
) -> "ModelOutput":
    some = _select(wordpieces, rows, wordpieces.input_ids.shape[1])
    return _predict(model.layers[0], some, model.max_batch_subwords)


def _predict(transformer: Model, wordpieces: "WordpieceBatch", max_subwords: int) -> "ModelOutput":
    """The encoder's output for all rows, computed in groups of at most max_subwords subwords; for
    identical rows once."""
    from torch import Tensor
    from transformers.file_utils import ModelOutput

    lengths = find_lengths(wordpieces)
    merged = ModelOutput()
    first, place = find_unique([row.tobytes() for row in wordpieces.input_ids])
    copies: dict[int, list[int]] = {}
    for row, unique in enumerate(place):
        copies.setdefault(first[unique], []).append(row)
    # The longest first: that output shows the shape of all.
    for group in reversed(list(group_by_length([lengths[row] for row in first], max_subwords))):
        rows = [first[g] for g in group]
        output = transformer.predict(_select(wordpieces, rows, lengths[rows[-1]]))
        for key, value in output.items():
            parts = value if isinstance(value, tuple) else (value,)
            if not all(isinstance(part, Tensor) and len(part) == len(rows) for part in parts):
                continue  # nor does spacy-transformers hand on what has no rows
            if key not in merged:
                wholes = tuple(part.new_zeros((len(lengths), *part.shape[1:])) for part in parts)
                merged[key] = wholes if isinstance(value, tuple) else wholes[0]
            wholes = merged[key] if isinstance(value, tuple) else (merged[key],)
            for whole, part in zip(wholes, parts, strict=True):
                for row, vectors in zip(rows, part, strict=True):
                    whole[(copies[row], *map(slice, vectors.shape))] = vectors
    return merged


def _select(wordpieces: "WordpieceBatch", rows: list[int], length: int) -> "WordpieceBatch":
    """Some rows, without the padding behind length."""
    types = wordpieces.token_type_ids
    return replace(
        wordpieces,
        strings=[wordpieces.strings[row][:length] for row in rows],
        input_ids=wordpieces.input_ids[rows, :length],
        attention_mask=wordpieces.attention_mask[rows, :length],
        lengths=[wordpieces.lengths[row] for row in rows],
        token_type_ids=None if types is None else types[rows, :length],
    )
