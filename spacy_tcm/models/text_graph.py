"""The text side of a deployed pipeline: docs -> emissions, by graphs, without torch."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy
from numpy.typing import NDArray
from spacy.attrs import IDX
from spacy.tokens import Doc, Span
from thinc.api import Model, NumpyOps, deserialize_attr, serialize_attr
from thinc.types import Ragged

from spacy_tcm.batching import bound_padded, count_windows
from spacy_tcm.errors import Errors, ModelError
from spacy_tcm.models.graphs import wrap_graph
from spacy_tcm.models.lexicon_features import LexiconFeatures
from spacy_tcm.models.multimodal_crf import Emissions, MultimodalModel, cut_long
from spacy_tcm.models.transformer import find_edges, keep_most_central
from spacy_tcm.models.windows import cut_windows
from spacy_tcm.subwords import Subwords
from spacy_tcm.tags import LABELS
from spacy_tcm.types import TongueFeatures

# Of one run: most subwords or tokens, padding included; most rows; what it costs beyond its rows,
# in rows. The encoder is as fast with few rows; the tagger's LSTM is not.
ENCODER, TAGGER = (2048, 8, 0.5), (1024, 8, 4.0)


def build_multimodal_graph(
    tongue: Model[list[Doc], TongueFeatures] | None = None,
    lexicon: bool = True,
    max_subwords: int = 384,
    overlap: int = 32,
) -> MultimodalModel:
    """Architecture ``spacy_tcm.MultimodalGraph.v1``: what `spacy_tcm.compress.deploy` makes of
    ``spacy_tcm.MultimodalCRF.v1`` and of the transformer that it listens to.

    tongue, lexicon: as there. max_subwords, overlap: of ``spacy_tcm.subword_windows.v1``.

    Its layers: "encoder", a graph of subwords (rows, length) int32 and mask (rows, length) bool ->
    vectors (rows, length, width), empty if there is no transformer; "tagger", a graph of
    `spacy_tcm.nets.text_graph.TaggerGraph`; "crf", the log-potentials.
    """
    encoder, tagger = wrap_graph("encoder"), wrap_graph("tagger")
    features = LexiconFeatures(LABELS if lexicon else ())
    crf: Model = Model(
        "potentials", _cannot_train, params={"start": None, "transitions": None, "end": None}
    )
    layers = [encoder, features, tagger, crf]
    refs = {"encoder": encoder, "lexicon": features, "tagger": tagger, "crf": crf}
    if tongue is not None:
        layers.append(tongue)
    return Model(
        "multimodal_graph",
        _forward,
        init=_cannot_train,
        layers=layers,
        refs={**refs, "tongue": tongue},
        dims={"nO": None},
        attrs={
            "windows": {"max_subwords": max_subwords, "overlap": overlap},
            # Set by `spacy_tcm.compress.deploy`: the tokenizer; subwords that the encoder reads at
            # once; the width of its vectors; the tables of hashed attributes (attributes, seeds,
            # rows); the tagger's inputs.
            "subwords": Subwords.empty(),
            "most_subwords": 0,
            "width": 0,
            "tables": {},
            "inputs": [],
        },
    )


@serialize_attr.register(Subwords)
def _subwords_to_bytes(_: Any, value: Subwords, name: str, model: Model) -> bytes:
    return value.to_bytes()


@deserialize_attr.register(Subwords)
def _subwords_from_bytes(_: Any, value: bytes, name: str, model: Model) -> Subwords:
    return Subwords.from_bytes(value)


def _cannot_train(*args: Any, **kwargs: Any) -> Any:
    raise ModelError(Errors.E470)


def _forward(model: MultimodalModel, docs: list[Doc], is_train: bool) -> Any:
    if is_train:
        raise ModelError(Errors.E470)
    return _predict(model, docs), lambda d_emissions: docs


def _predict(model: MultimodalModel, docs: list[Doc]) -> Emissions:
    """Emissions per doc, (tokens, tags); long docs in stretches, so that memory has a bound."""
    n_tags = model.get_dim("nO")
    ops = model.ops
    emissions = Emissions(
        (ops.alloc2f(len(doc), n_tags) for doc in docs), (ops.alloc1f(len(doc)) for doc in docs)
    )
    inputs = model.attrs["inputs"]
    found: dict[str, Sequence[Any]] = {}
    if "vectors" in inputs:
        found["vectors"] = _encode(model, docs)
    if "rows" in inputs:
        found["rows"] = [hash_rows(doc, **model.attrs["tables"]) for doc in docs]
    if "lexicon" in inputs:
        found["lexicon"] = model.get_ref("lexicon").predict(docs)
    present = numpy.zeros(len(docs), dtype=bool)
    if "regions" in inputs:
        features = model.get_ref("tongue").predict(docs)
        regions, present = features.regions, features.present

    parts = cut_long(docs)
    for photo in (False, True):
        chosen = [(i, part) for i, part in parts if present[i] == photo]
        lengths = [part.end - part.start for _, part in chosen]
        for group, length in _batches(lengths, *TAGGER):
            some = [chosen[g] for g in group]
            rows = _round_rows(len(some))
            given: list[NDArray] = []
            for name in inputs:
                if name in found:
                    arrays = [found[name][i][part.start : part.end] for i, part in some]
                    given.append(_pad(arrays, rows, length))
                elif name == "regions":
                    given.append(_pad([regions[i] for i, _ in some], rows if photo else 0))
                else:
                    ends = numpy.zeros(rows, dtype="i")
                    ends[: len(group)] = [lengths[g] for g in group]
                    given.append(ends)
            padded, *gates = model.get_ref("tagger").predict(given)
            for row, (i, part) in enumerate(some):
                used = slice(part.first - part.start, part.last - part.start)
                emissions[i][part.first : part.last] = padded[row, used]
                if gates:
                    emissions.gates[i][part.first : part.last] = gates[0][row, used]
    return emissions


# The encoder


def _encode(model: MultimodalModel, docs: list[Doc]) -> list[NDArray]:
    """A vector for each token, the mean of its subwords, (tokens, width) per doc; zeros for one
    that has none. Windows and what each token takes from them: as by
    ``spacy_tcm.WindowedTransformer.v1``."""
    windows = [list(cut_windows(doc, **model.attrs["windows"])) for doc in docs]
    rows, align = _cut_subwords(model, docs, windows)
    width = model.attrs["width"]
    pooled = numpy.zeros((len(align.lengths), width), dtype="f")
    if rows:
        vectors = _run_encoder(model, rows, width).reshape(-1, width)[align.dataXd]
        lengths = numpy.asarray(align.lengths)
        some = numpy.flatnonzero(lengths)
        lengths = lengths[some]
        if len(vectors) > len(some):
            vectors = _mean_rows(vectors, lengths)
        pooled[some] = vectors
    return numpy.split(pooled, numpy.cumsum([len(doc) for doc in docs])[:-1])


def _mean_rows(rows: NDArray, counts: NDArray) -> NDArray:
    """Of so many rows each, (counts, width). Most are one row; `numpy.add.reduceat` is slow."""
    firsts = numpy.cumsum(counts) - counts
    means = rows[firsts]
    for k in range(1, counts.max()):
        more = numpy.flatnonzero(counts > k)
        means[more] += rows[firsts[more] + k]
    several = numpy.flatnonzero(counts > 1)
    means[several] /= counts[several, None]
    return means


def _cut_subwords(
    model: MultimodalModel, docs: list[Doc], windows: list[list[Span]]
) -> tuple[list[tuple[int, ...]], Ragged]:
    """RETURNS: rows of subwords, each only once; and, for each token of all docs, the numbers of
    its subwords, counted through the rows padded to the longest.

    RAISES ModelError: a window is longer than the encoder reads."""
    subwords, most = model.attrs["subwords"], model.attrs["most_subwords"] - 2
    rows: dict[tuple[int, ...], int] = {}
    # Of each subword: its row, its place there, its window, its first and last token.
    parts: list[list[NDArray]] = [[], [], [], [], []]
    number = before = n_rows = 0
    for doc, in_doc in zip(docs, windows, strict=True):
        begins = doc.to_array(IDX).astype("int64")
        for window in in_doc:
            pieces = subwords(window.text)
            if len(window) > 1 and len(pieces.ids) > most:
                raise ModelError(Errors.E421.format(most=most))
            # Only a single endless token has several rows.
            some = [tuple(pieces.ids[k : k + most]) for k in range(0, len(pieces.ids), most)]
            row = numpy.array([rows.setdefault(key, len(rows)) for key in some], dtype=int)
            n_rows += len(some)
            place = numpy.arange(len(pieces.ids))
            offset = window.start_char
            starts = numpy.array(pieces.starts, dtype=int) + offset
            ends = numpy.array(pieces.ends, dtype=int) + offset
            # White space behind a token is part of it.
            first = numpy.searchsorted(begins, starts, side="right") - 1
            last = numpy.searchsorted(begins, ends - 1, side="right") - 1
            found = (
                row[place // most],
                place % most + 1,
                numpy.full_like(place, number),
                first + before,
                last + before,
            )
            for known, new in zip(parts, found, strict=True):
                known.append(new)
            number += 1
        before += len(doc)
    count_windows(n_rows, len(rows))
    if not rows:
        return [], _ragged(numpy.zeros(0, "i"), numpy.zeros(before, "i"))
    row, place, window_of, first, last = map(numpy.concatenate, parts)
    counts = last - first + 1
    piece = numpy.repeat(numpy.arange(len(row)), counts)
    token = (
        first[piece]
        + numpy.arange(len(piece))
        - numpy.repeat(numpy.cumsum(counts) - counts, counts)
    )
    order = numpy.argsort(token, kind="stable")
    piece = piece[order]
    longest = max(map(len, rows)) + 2
    align = _ragged(
        row[piece] * longest + place[piece], numpy.bincount(token, minlength=before).astype("i")
    )
    return list(rows), keep_most_central(align, window_of[piece], find_edges(docs, windows))


def _ragged(data: Any, lengths: Any) -> Ragged:
    return Ragged(data, lengths)  # Thinc's types know only arrays of their own


def _run_encoder(
    model: MultimodalModel, rows: list[tuple[int, ...]], width: int
) -> NDArray[numpy.float32]:
    """rows: of subwords, without those at both ends. RETURNS: (rows, longest + 2, width)."""
    encoder, settings = model.get_ref("encoder"), model.attrs["subwords"].settings
    lengths = [len(row) + 2 for row in rows]
    vectors = numpy.zeros((len(rows), max(lengths), width), dtype="f")
    most = model.attrs["most_subwords"]
    for group, longest in _batches(lengths, *ENCODER):
        longest = min(longest, most)
        ids = numpy.zeros((_round_rows(len(group)), longest), dtype="i")
        mask = numpy.zeros(ids.shape, dtype=bool)
        mask[:, 0] = True  # also in rows that stand for nothing: attention needs something
        for k, i in enumerate(group):
            ids[k, : lengths[i]] = (settings["first"], *rows[i], settings["last"])
            mask[k, : lengths[i]] = True
        (found,) = encoder.predict([ids, mask])
        used = max(lengths[i] for i in group)
        vectors[group, :used] = found[: len(group), :used]
    return vectors


# Inputs of the tagger


_OPS = NumpyOps()


def hash_rows(doc: Doc, attributes: list[Any], seeds: list[int], rows: list[int]) -> NDArray:
    """The rows that each table of hashed attributes has for each token, (tokens, 4 * tables)."""
    keys = doc.to_array([*attributes]).reshape(len(doc), len(attributes)).astype("uint64")
    found = numpy.zeros((len(doc), 4 * len(attributes)), dtype="i")
    if len(doc):
        for k, (seed, n_rows) in enumerate(zip(seeds, rows, strict=True)):
            hashed = _OPS.hash(numpy.ascontiguousarray(keys[:, k]), seed)
            found[:, 4 * k : 4 * k + 4] = hashed % n_rows
    return found


# Shapes


def _batches(
    lengths: Sequence[int], most: int, most_rows: int, extra: float
) -> Iterator[tuple[list[int], int]]:
    """Batches with as little padding as can be.

    most: tokens of one, padding included. extra: what a run costs beyond its rows, in rows.
    YIELDS: indices into lengths, of similar ones, and the length to pad them to.

    OpenVINO prepares each shape anew and keeps it, some 8 MB for each shape of the encoder, so that
    there should be few of them: much more would be lost by that than by padding."""
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    rounded = [_round_length(lengths[i]) for i in order]
    # Of the first n in order: the least cost, and where its last batch begins.
    costs, begins = [0.0], [0]
    for n, length in enumerate(rounded, 1):
        rows = max(1, min(most_rows, n, bound_padded(most) // length))
        cost, begin = min(
            (costs[n - k] + length * (extra + _round_rows(k)), n - k) for k in range(1, rows + 1)
        )
        costs.append(cost)
        begins.append(begin)
    end = len(order)
    while end:
        yield order[begins[end] : end], rounded[end - 1]
        end = begins[end]


def _round_length(length: int) -> int:
    """Up to a multiple of 32, or, if it is long, of an eighth of the power of 2 below."""
    step = max(32, 1 << max(0, (length - 1).bit_length() - 4))
    return -(-length // step) * step


def _round_rows(count: int) -> int:
    return 1 << (count - 1).bit_length()


def _pad(arrays: list[NDArray], rows: int | None = None, length: int | None = None) -> NDArray:
    """(length_i, ...) each -> (rows, length, ...), zeros behind the end."""
    rows = len(arrays) if rows is None else rows
    length = len(arrays[0]) if length is None else length
    out = numpy.zeros((rows, length, *arrays[0].shape[1:]), dtype=arrays[0].dtype)
    for i, array in enumerate(arrays[:rows]):
        out[i, : len(array)] = array
    return out
