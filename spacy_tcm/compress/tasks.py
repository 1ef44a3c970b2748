"""How far a pruned net is from the one in the pipeline, on texts and photos without labels."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy
import torch
from spacy.language import Language
from spacy.tokens import Doc
from spacy.util import minibatch
from torch import Tensor, nn
from torch.nn import functional

from spacy_tcm.compress.tuning import stack_photos
from spacy_tcm.errors import Errors, ModelError
from spacy_tcm.models.multimodal_crf import pad
from spacy_tcm.models.photos import prepare_photos
from spacy_tcm.models.weights import get_module
from spacy_tcm.nets.text_encoder import TextEncoder
from spacy_tcm.nets.tongue import TongueNet
from spacy_tcm.pipeline.multimodal_ner import MultimodalNER
from spacy_tcm.pipeline.tongue_encoder import TongueEncoder as TonguePipe

# Of the vectors' relative error, beside the divergence of what is told from them.
VECTORS = 0.1


@dataclass
class TextBatch:
    """ids, mask: the subwords. pieces: places in the flattened subwords; token: the token of each
    piece; n_tokens: of all texts. vectors: of the unpruned encoder, (tokens, width). rest: what
    else the tagger reads, with the encoder's columns to be filled in; None without a tagger."""

    ids: Tensor
    mask: Tensor
    pieces: Tensor
    token: Tensor
    n_tokens: int
    vectors: Tensor
    rest: "_TaggerInputs | None" = None

    @property
    def inputs(self) -> tuple[Tensor, Tensor]:
        return self.ids, self.mask


@dataclass
class _TaggerInputs:
    """tokens: (texts, length, width). inside: (texts, length) bool. columns: the encoder's.
    others: further arguments of the tagger. emissions: of the unpruned encoder, (tokens, tags)."""

    tokens: Tensor
    inside: Tensor
    columns: slice
    others: tuple[Tensor, ...]
    emissions: Tensor


class TextTask:
    """The transformer of a pipeline, as a `TextEncoder`, and batches of texts.

    The loss is the divergence of the tags' softmax from the unpruned pipeline's, mean over tokens
    in nats, plus a tenth of the relative squared error of the token vectors; only that, all of it,
    where no multimodal_ner listens.
    """

    def __init__(self, nlp: Language, texts: Sequence[str], batch_size: int = 8):
        """RAISES ModelError: the transformer is no plain BERT, or there is no text."""
        pipe: Any = nlp.get_pipe("transformer")
        self.pipe = pipe
        try:
            self.net = TextEncoder.from_bert(self.pipe.model.transformer)
        except ValueError:
            raise ModelError(Errors.E497.format(parts="text")) from None
        self.tagger: nn.Module | None = None
        ner = next((p for _, p in nlp.pipeline if isinstance(p, MultimodalNER)), None)
        if ner is not None:
            self.ner: Any = ner.model
            self.tagger = get_module(ner.model.get_ref("tagger")).eval()
        docs = [doc for doc in map(nlp.make_doc, texts) if len(doc)]
        if not docs:
            raise ModelError(Errors.E498.format(part="text", cause="no text", option="--texts"))
        with torch.no_grad():
            self.batches = [self._prepare(some) for some in minibatch(docs, batch_size)]

    def loss(self, net: nn.Module, batch: TextBatch) -> Tensor:
        """net: like `self.net`, or smaller."""
        vectors = _pool(net(batch.ids, batch.mask), batch)
        error = _relative_error(vectors, batch.vectors)
        if batch.rest is None:
            return error
        found = functional.log_softmax(self._emit(vectors, batch.rest), 1)
        wanted = functional.softmax(batch.rest.emissions, 1)
        return functional.kl_div(found, wanted, reduction="batchmean") + VECTORS * error

    def _prepare(self, docs: list[Doc]) -> TextBatch:
        found = self.pipe.model.predict(docs)
        pieces = torch.from_numpy(numpy.asarray(found.align.dataXd).reshape(-1)).long()
        lengths = torch.from_numpy(numpy.asarray(found.align.lengths)).long()
        batch = TextBatch(
            torch.from_numpy(numpy.asarray(found.wordpieces.input_ids)).long(),
            torch.from_numpy(numpy.asarray(found.wordpieces.attention_mask)).bool(),
            pieces,
            torch.arange(len(lengths)).repeat_interleave(lengths),
            len(lengths),
            torch.empty(0),
        )
        batch.vectors = _pool(self.net(batch.ids, batch.mask), batch)
        if self.tagger is not None:
            self.pipe.set_annotations(docs, found)
            batch.rest = self._read_rest(docs, batch.vectors)
        return batch

    def _read_rest(self, docs: list[Doc], vectors: Tensor) -> "_TaggerInputs | None":
        """None: the tagger does not read the encoder's vectors as they are."""
        ops = self.ner.ops
        tokens = self.ner.get_ref("tok2vec").predict(docs)
        flat = torch.from_numpy(numpy.concatenate([ops.to_numpy(x) for x in tokens]))
        width = vectors.shape[1]
        starts = range(flat.shape[1] - width + 1)
        close = (torch.allclose(flat[:, s : s + width], vectors, atol=1e-3) for s in starts)
        start = next((s for s, same in zip(starts, close, strict=True) if same), None)
        if start is None:
            return None
        lexicon = self.ner.get_ref("lexicon").predict(docs)
        lengths = torch.tensor([len(doc) for doc in docs])
        padded = torch.from_numpy(ops.to_numpy(pad(ops, tokens)))
        tongue = self.ner.maybe_get_ref("tongue")
        rest = _TaggerInputs(
            padded,
            torch.arange(padded.shape[1]) < lengths[:, None],
            slice(start, start + width),
            (
                lengths,
                torch.from_numpy(ops.to_numpy(pad(ops, lexicon))),
                torch.zeros(len(docs), 1, 0 if tongue is None else tongue.get_dim("nO")),
                torch.zeros(len(docs), dtype=torch.bool),
            ),
            torch.empty(0),
        )
        rest.emissions = self._emit(vectors, rest)
        return rest

    def _emit(self, vectors: Tensor, rest: _TaggerInputs) -> Tensor:
        """(tokens, width) -> (tokens, tags)."""
        assert self.tagger is not None
        filled = rest.tokens.clone()
        columns = torch.zeros_like(filled, dtype=torch.bool)
        columns[..., rest.columns] = rest.inside[..., None]
        filled = filled.masked_scatter(columns, vectors)
        return self.tagger(filled, *rest.others)[0][rest.inside]


@dataclass
class PhotoBatch:
    """inputs: pixels, masks, colours, see `TongueNet.forward`. regions, scores: of the unpruned
    net."""

    inputs: tuple[Tensor, Tensor, Tensor]
    regions: Tensor
    scores: Tensor


class TongueTask:
    """The net of a tongue_encoder and batches of photos.

    The loss is the divergence of the attributes' softmax from the unpruned net's, mean over
    attributes and photos in nats, plus a tenth of the relative squared error of the regions.
    """

    def __init__(self, pipe: TonguePipe, images: Sequence[object], batch_size: int = 8):
        """images: see `load_tongue_image`. RAISES ModelError: no photo can be used."""
        model = pipe.model
        self.net: TongueNet = deepcopy(get_module(model.layers[0])).cpu().eval()
        self.n_values = list(self.net.arch.heads.n_values)
        size, segmenter = model.attrs["image_size"], model.maybe_get_ref("segmenter")
        self.image_size: int = size
        prepared = prepare_photos(images, size, segmenter, balanced=model.attrs["balanced"])
        self.photos = [photo for photo in prepared if photo.pixels is not None]
        if not self.photos:
            cause = f"none of {len(images)} photos can be used"
            raise ModelError(Errors.E498.format(part="tongue", cause=cause, option="--photos"))
        self.batches = []
        for some in minibatch(self.photos, batch_size):
            inputs = stack_photos(some, torch.device("cpu"))
            with torch.no_grad():
                self.batches.append(PhotoBatch(inputs, *self.net(*inputs)))

    def loss(self, net: nn.Module, batch: PhotoBatch) -> Tensor:
        """net: like `self.net`, or smaller."""
        regions, scores = net(*batch.inputs)
        error = _relative_error(regions.flatten(0, 1), batch.regions.flatten(0, 1))
        parts = (x.split(self.n_values, 1) for x in (scores, batch.scores))
        divergences = [
            functional.kl_div(found.log_softmax(1), wanted.softmax(1), reduction="batchmean")
            for found, wanted in zip(*parts, strict=True)
        ]
        if not divergences:
            return error
        return torch.stack(divergences).mean() + VECTORS * error


def _pool(x: Tensor, batch: TextBatch) -> Tensor:
    """Subwords (rows, length, width) -> the mean of each token's, (tokens, width)."""
    found = x.flatten(0, 1)[batch.pieces]
    sums = found.new_zeros(batch.n_tokens, x.shape[2]).index_add(0, batch.token, found)
    return sums / torch.bincount(batch.token, minlength=batch.n_tokens).clamp(min=1)[:, None]


def _relative_error(found: Tensor, wanted: Tensor) -> Tensor:
    """Squared error over the squared deviation of what is wanted. Both: (rows, width)."""
    spread = (wanted - wanted.mean(0)).square().sum().clamp(min=1e-9)
    return (found - wanted).square().sum() / spread
