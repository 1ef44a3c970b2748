"""The NER's Thinc model: docs -> emissions, with the CRF beside it."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy
from spacy.tokens import Doc
from thinc.api import ArgsKwargs, Model, torch2xp, xp2torch
from thinc.types import Floats1d, Floats2d, Floats3d

from spacy_tcm.batching import MAX_PADDED, Stretch, cut_stretches, group_by_length
from spacy_tcm.decoding import Potentials
from spacy_tcm.errors import Errors, ModelError
from spacy_tcm.models.lexicon_features import LexiconFeatures
from spacy_tcm.models.weights import get_module, set_module, wrap_torch
from spacy_tcm.tags import LABELS, PREFIXES
from spacy_tcm.types import TongueFeatures

# A longer record passes the BiLSTM, and is decoded, in parts of so many tokens, each with so many
# around it: both forget what stands further off, a best path within an entity or two.
LONGEST, CONTEXT = 2048, 128


class Emissions(list[Floats2d]):
    """(tokens, tags) per doc. gates: how far each token let the photo in, 0 to 1, (tokens,) per
    doc, see `GatedCrossAttention`; empty in training."""

    gates: list[Floats1d]

    def __init__(self, arrays: Iterable[Floats2d], gates: Iterable[Floats1d] = ()):
        super().__init__(arrays)
        self.gates = list(gates)


MultimodalModel = Model[list[Doc], Emissions]


def build_multimodal_crf(
    tok2vec: Model[list[Doc], list[Floats2d]],
    tongue: Model[list[Doc], TongueFeatures] | None = None,
    lexicon: bool = True,
    lexicon_dropout: float = 0.2,
    image_dropout: float = 0.2,
    heads: int = 4,
    gate: bool = True,
    hidden: int = 128,
    layers: int = 1,
    dropout: float = 0.3,
    token_dropout: float = 0.1,
) -> MultimodalModel:
    """Architecture ``spacy_tcm.MultimodalCRF.v1``.

    tok2vec: token vectors, of any width that ``heads`` divides. tongue: photo features, usually
    a ``TongueListener``; None for text alone. lexicon: add the lexicon's B/M/E/S features.
    lexicon_dropout, image_dropout: in training, the share of lexicon matches and of photos left
    out. heads, gate: of the cross-modal attention. hidden, layers: of the BiLSTM, per direction.
    dropout: before and after the BiLSTM. token_dropout: the share of token vectors left out whole.
    """
    if not all(0 <= p < 1 for p in (lexicon_dropout, image_dropout, dropout, token_dropout)):
        raise ModelError(Errors.E407)
    features = LexiconFeatures(LABELS if lexicon else (), lexicon_dropout)
    tagger = wrap_torch(
        "Tagger", _build_tagger, convert_inputs=_to_torch, convert_outputs=_from_torch
    )
    crf = wrap_torch("CRF", _build_crf)
    layers_ = [tok2vec, features, tagger, crf]
    refs = {"tok2vec": tok2vec, "lexicon": features, "tagger": tagger, "crf": crf}
    if tongue is not None:
        layers_.append(tongue)
    return Model(
        "multimodal_crf",
        _forward,
        init=_init,
        layers=layers_,
        refs={**refs, "tongue": tongue},
        dims={"nO": None},
        attrs={
            "image_dropout": image_dropout,
            "tagger": {
                "heads": heads,
                "gate": gate,
                "hidden": hidden,
                "layers": layers,
                "dropout": dropout,
                "token_dropout": token_dropout,
            },
        },
    )


def _build_tagger(arch: dict[str, Any]):
    from spacy_tcm.nets.fusion import Tagger, TaggerArch

    return Tagger(TaggerArch.from_dict(arch))


def _build_crf(arch: dict[str, Any]):
    from spacy_tcm.nets.crf import BioesCRF, CRFArch

    return BioesCRF(CRFArch(**arch))


def read_potentials(crf: Model) -> Potentials:
    """The log-potentials of a "crf" layer, with torch or without."""
    if crf.has_param("transitions"):
        return Potentials(*(numpy.asarray(crf.get_param(name)) for name in Potentials._fields))
    return Potentials(*(p.detach().cpu().numpy() for p in get_module(crf).potentials()))


def _init(model: MultimodalModel, X: list[Doc] | None = None, Y=None) -> None:
    tok2vec, lexicon = model.get_ref("tok2vec"), model.get_ref("lexicon")
    tongue = model.maybe_get_ref("tongue")
    tok2vec.initialize(X=X)
    if tongue is not None:
        tongue.initialize(X=X)
    n_tags = model.get_dim("nO")
    width = tok2vec.get_dim("nO") if tok2vec.has_dim("nO") else tok2vec.predict(X)[0].shape[1]
    heads = model.attrs["tagger"]["heads"]
    if width % heads:
        raise ModelError(Errors.E408.format(width=width, heads=heads))
    tagger, crf = model.get_ref("tagger"), model.get_ref("crf")
    arch = {
        **model.attrs["tagger"],
        "width": width,
        "lexicon": lexicon.get_dim("nO"),
        "tongue": tongue.get_dim("nO") if tongue is not None else 0,
        "tags": n_tags,
    }
    set_module(tagger, _build_tagger(arch))
    set_module(crf, _build_crf({"n_labels": (n_tags - 1) // len(PREFIXES)}))


def _forward(model: MultimodalModel, docs: list[Doc], is_train: bool):
    """Emissions per doc, (tokens, tags); an empty doc has (0, tags)."""
    ops = model.ops
    tok2vec = model.get_ref("tok2vec")
    if is_train:
        vectors, backprop_vectors = tok2vec(docs, is_train)
    else:
        vectors = _read_tokens(tok2vec, docs)
    lexicon, _ = model.get_ref("lexicon")(docs, is_train)
    tongue = model.maybe_get_ref("tongue")
    if tongue is not None:
        features, backprop_tongue = tongue(docs, is_train)
        regions, present = features.regions, features.present
        if is_train:
            dropped = numpy.random.uniform(size=len(docs)) < model.attrs["image_dropout"]
            present = present & ~ops.xp.asarray(dropped)
    else:
        regions, present = ops.alloc3f(len(docs), 1, 0), ops.xp.zeros(len(docs), dtype=bool)
    n_tags = model.get_dim("nO")
    if not is_train:
        return _predict(model, docs, vectors, lexicon, regions, present), lambda d_emissions: docs
    full = [i for i, doc in enumerate(docs) if len(doc)]
    emissions = Emissions(ops.alloc2f(0, n_tags) for _ in docs)
    if full:
        (padded, _), backprop_tagger = model.get_ref("tagger")(
            (
                pad(ops, [vectors[i] for i in full]),
                [len(docs[i]) for i in full],
                pad(ops, [lexicon[i] for i in full]),
                regions[full],
                present[full],
            ),
            is_train,
        )
        for row, i in enumerate(full):
            emissions[i] = padded[row, : len(docs[i])]

    def backprop(d_emissions: list[Floats2d]):
        d_vectors = [ops.alloc2f(*v.shape) for v in vectors]
        d_regions = ops.alloc3f(*regions.shape)
        if full:
            d_padded, d_some = backprop_tagger(pad(ops, [d_emissions[i] for i in full]))
            for row, i in enumerate(full):
                d_vectors[i] += d_padded[row, : len(docs[i])]
            d_regions[full] = d_some
        if tongue is not None:
            d_scores = ops.alloc2f(*features.scores.shape)
            backprop_tongue((d_regions, d_scores))
        return backprop_vectors(d_vectors)

    return emissions, backprop


def _read_tokens(tok2vec: Model, docs: list[Doc]) -> list[Floats2d]:
    """Token vectors, (tokens, width) per doc; of long docs in stretches: what the layers of a
    tok2vec hold of 50,000 tokens at once is near a GB."""
    long = [i for i, doc in enumerate(docs) if len(doc) > LONGEST]
    # A transformer of its own cuts windows itself, and by the whole text.
    if not long or any("get_spans" in node.attrs for node in tok2vec.walk()):
        return tok2vec.predict(docs)
    found: dict[int, Floats2d] = {}
    for i in long:
        parts = []
        for part in cut_stretches(len(docs[i]), LONGEST, CONTEXT):
            (vectors,) = tok2vec.predict([_cut_doc(docs[i], part)])
            parts.append(vectors[part.first - part.start : part.last - part.start])
        found[i] = tok2vec.ops.xp.concatenate(parts)
    short = [i for i in range(len(docs)) if i not in found]
    if short:
        found |= zip(short, tok2vec.predict([docs[i] for i in short]), strict=True)
    return [found[i] for i in range(len(docs))]


def _cut_doc(doc: Doc, part: Stretch) -> Doc:
    """With what a shared tok2vec or transformer has left for its listeners."""
    cut = doc[part.start : part.end].as_doc()
    cut.tensor = doc.tensor[part.start : part.end]
    if Doc.has_extension("trf_data") and doc._.trf_data is not None:
        data = doc._.trf_data
        cut._.trf_data = replace(data, align=data.align[part.start : part.end])
    return cut


def _predict(
    model: MultimodalModel,
    docs: list[Doc],
    vectors: list[Floats2d],
    lexicon: list[Floats2d],
    regions: Floats3d,
    present,
) -> Emissions:
    """Emissions as by `_forward`; long docs in stretches, so that memory has a bound."""
    ops, n_tags = model.ops, model.get_dim("nO")
    emissions = Emissions(
        (ops.alloc2f(len(doc), n_tags) for doc in docs), (ops.alloc1f(len(doc)) for doc in docs)
    )
    parts = cut_long(docs)
    for group in group_by_length([part.end - part.start for _, part in parts], MAX_PADDED):
        some = [parts[g] for g in group]
        rows = [i for i, _ in some]
        padded, gates = model.get_ref("tagger").predict(
            (
                pad(ops, [vectors[i][part.start : part.end] for i, part in some]),
                [part.end - part.start for _, part in some],
                pad(ops, [lexicon[i][part.start : part.end] for i, part in some]),
                regions[rows],
                present[rows],
            )
        )
        for row, (i, part) in enumerate(some):
            used = slice(part.first - part.start, part.last - part.start)
            emissions[i][part.first : part.last] = padded[row, used]
            emissions.gates[i][part.first : part.last] = gates[row, used]
    return emissions


def cut_long(docs: list[Doc]) -> list[tuple[int, Stretch]]:
    """(number of the doc, part of it), in order; a doc of usual length is one part."""
    return [
        (i, part)
        for i, doc in enumerate(docs)
        for part in cut_stretches(len(doc), LONGEST, CONTEXT)
    ]


def pad(ops, arrays: list[Floats2d]) -> Floats3d:
    """(length_i, width) each -> (arrays, longest, width), zeros behind the end."""
    out = ops.alloc3f(len(arrays), max(map(len, arrays)), arrays[0].shape[1])
    for i, array in enumerate(arrays):
        out[i, : len(array)] = array
    return out


def _to_torch(model: Model, inputs, is_train: bool):
    import torch

    vectors, lengths, lexicon, regions, present = inputs
    tokens = xp2torch(vectors, requires_grad=is_train)
    photo = xp2torch(regions, requires_grad=is_train)
    args = (
        tokens,
        torch.tensor(lengths),
        xp2torch(lexicon),
        photo,
        torch.as_tensor(present, device=tokens.device),
    )

    def backprop(d: ArgsKwargs):
        d_tokens, d_photo = d.args[0], d.args[3]
        # Without a photo in the batch no gradient reaches the regions.
        no_photo = d_photo is None or d_photo is photo
        d_regions = model.ops.alloc3f(*regions.shape) if no_photo else torch2xp(d_photo)
        return torch2xp(d_tokens), d_regions

    return ArgsKwargs(args=args, kwargs={}), backprop


def _from_torch(model: Model, inputs_outputs, is_train: bool):
    _, (emissions, gates) = inputs_outputs

    def backprop(d):
        return ArgsKwargs(
            args=((emissions,),),
            kwargs={"grad_tensors": (xp2torch(d, device=emissions.device),)},
        )

    return (torch2xp(emissions.detach()), torch2xp(gates)), backprop
