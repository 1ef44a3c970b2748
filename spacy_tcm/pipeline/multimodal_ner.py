"""Named entities from text, lexicon and tongue photo."""

import unicodedata
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any, cast

import numpy
from spacy.attrs import ENT_IOB, ORTH
from spacy.language import Language
from spacy.pipeline.trainable_pipe import TrainablePipe
from spacy.scorer import get_ner_prf
from spacy.tokens import Doc, Span
from spacy.training import Example, validate_get_examples
from spacy.vocab import Vocab
from thinc.api import ArgsKwargs, Config, Model
from thinc.types import Floats2d, Floats3d

from spacy_tcm.batching import (
    MAX_PADDED,
    MAX_TOKENS,
    group_by_length,
    group_by_total,
    parse_size,
    whole_batch,
)
from spacy_tcm.decoding import Potentials, best_paths, path_probabilities, posteriors
from spacy_tcm.deid.find import find_numbers
from spacy_tcm.errors import Errors, ModelError
from spacy_tcm.extensions import install_extensions, note_provenance
from spacy_tcm.models.multimodal_crf import MultimodalModel, cut_long, pad, read_potentials
from spacy_tcm.pipeline.teachers import Teachers
from spacy_tcm.tags import ALTERNATIVE, OUTSIDE, PREFIXES, spans_to_tags, tag_names, tags_to_spans

DEFAULT_CONFIG = Config().from_str(
    """
[component]
memory_budget = null
scorer = {"@scorers": "spacy_tcm.multimodal_ner_scorer.v1"}

[component.model]
@architectures = "spacy_tcm.MultimodalCRF.v1"

[component.model.tok2vec]
@architectures = "spacy.HashEmbedCNN.v2"
pretrained_vectors = null
width = 128
depth = 3
embed_size = 4000
window_size = 1
maxout_pieces = 3
subword_features = false

[component.model.tongue]
@architectures = "spacy_tcm.TongueListener.v1"
width = 128
upstream = "*"
"""
)["component"]

_BIOES = {"L": "E", "U": "S"}

# One entity: first token, end token, label, gate (the mean of its tokens'), probability.
Entity = tuple[int, int, str, float, float]
# The same with its probability at each of several temperatures.
ScoredEntity = tuple[int, int, str, float, list[float]]


@Language.factory(
    "multimodal_ner",
    assigns=["doc.ents", "token.ent_iob", "token.ent_type", "span._.score", "span._.photo_gate"],
    default_config=DEFAULT_CONFIG,
    default_score_weights={"ents_f": 1.0, "ents_p": 0.0, "ents_r": 0.0, "ents_per_type": None},
)
def make_multimodal_ner(
    nlp: Language,
    name: str,
    model: Model,
    scorer: Callable | None,
    memory_budget: str | int | None,
) -> "MultimodalNER":
    """Factory ``multimodal_ner``. memory_budget: such as "1GB", of the whole pipeline, in training
    too; see `spacy_tcm.language.set_memory_budget`. None: no budget."""
    if memory_budget is not None:
        parse_size(memory_budget)
        if nlp.lang != "tcm":
            raise ModelError(Errors.E529.format(lang=nlp.lang))
    return MultimodalNER(nlp.vocab, model, name, scorer=scorer, memory_budget=memory_budget)


def make_multimodal_ner_scorer() -> Callable:
    """``spacy_tcm.multimodal_ner_scorer.v1``: exact-span ``ents_p/r/f`` and ``ents_per_type``."""
    return score_entities


def score_entities(examples: Iterable[Example], **kwargs: Any) -> dict[str, Any]:
    return get_ner_prf(examples)


class MultimodalNER(TrainablePipe):
    """BiLSTM-CRF over fused token vectors. Sets ``doc.ents``; ``span._.score`` is the posterior
    probability that just this entity, with this label, is there: exact under the model, and where
    the pipeline was calibrated, at the temperature that makes it agree with how often it is right.
    ``span._.photo_gate`` is how far the gate of the cross-modal attention stood open at its tokens.
    Numbers of records, beds, phones and the like (`spacy_tcm.deid.find`) and the headers before
    them are in no entity.

    Learns from partial annotation: where ``reference._.annotated_labels`` is a list, a token
    outside all entities may still be any label not in it; a token whose entity annotation is
    missing may be anything; an entity labelled ``A|B`` is an A or a B.
    """

    def __init__(
        self,
        vocab: Vocab,
        model: MultimodalModel,
        name: str = "multimodal_ner",
        *,
        scorer: Callable | None = score_entities,
        memory_budget: str | int | None = None,
    ):
        install_extensions()
        self.vocab = vocab
        self.model = model
        self.name = name
        self.scorer = scorer
        self.cfg: dict[str, Any] = {
            "labels": [],
            "temperature": 1.0,
            "memory_budget": memory_budget,
        }
        self._teachers: Teachers | None = None
        self._teacher_weight = 0.0

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(self.cfg["labels"])

    @property
    def temperature(self) -> float:
        """What log-potentials are divided by for ``span._.score``, so that a score says how often
        such an entity is right; 1 until `training.calibration` has set it."""
        return self.cfg.get("temperature", 1.0)

    @property
    def label_data(self) -> list[str]:
        return list(self.cfg["labels"])

    def add_label(self, label: str) -> int:
        if label in self.labels:
            return 0
        if self.model.has_dim("nO"):
            raise ModelError(Errors.E410.format(name=self.name, label=label))
        self.cfg["labels"].append(label)
        self.vocab.strings.add(label)
        return 1

    def initialize(
        self,
        get_examples: Callable[[], Iterable[Example]],
        *,
        nlp: Language | None = None,
        labels: list[str] | None = None,
        teachers: list[str] | str | None = None,
        teacher_weight: float = 0.5,
    ) -> None:
        """labels: all labels, in order; None takes those of the examples, sorted.

        teachers: one or more folders of trained pipelines with a ``multimodal_ner``. Training then
            also draws the posterior of each tag to the mean of theirs, with the share
            teacher_weight of the loss; it teaches also where nothing is annotated. They are not
            saved with the pipeline.
        RAISES ModelError: there are no labels, teacher_weight is not from 0 to 1, or a teacher
            cannot be used.
        """
        if not 0 <= teacher_weight <= 1:
            raise ModelError(Errors.E444.format(name=self.name, value=teacher_weight))
        validate_get_examples(get_examples, "MultimodalNER.initialize")
        if labels is None:
            found = {ent.label_ for eg in get_examples() for ent in eg.reference.ents}
            labels = sorted({label for name in found for label in name.split(ALTERNATIVE)})
        for label in labels:
            self.add_label(label)
        if not self.labels:
            raise ModelError(Errors.E409.format(name=self.name))
        if not self.model.has_dim("nO"):
            self.model.set_dim("nO", len(tag_names(self.labels)))
        if teachers:
            paths = [teachers] if isinstance(teachers, str) else teachers
            self._teachers = Teachers(paths, self.labels)
            self._teacher_weight = teacher_weight
        sample = [example.predicted for example in islice(get_examples(), 10)]
        self.model.initialize(X=sample)

    # Prediction

    def predict(self, docs: Iterable[Doc]) -> list[list[Entity]]:
        return [
            [(start, end, label, gate, score) for start, end, label, gate, (score,) in found]
            for found in self.predict_at(docs, [self.temperature])
        ]

    def predict_at(
        self, docs: Iterable[Doc], temperatures: Sequence[float]
    ) -> list[list[ScoredEntity]]:
        """The entities of each doc, each with its score at each temperature, which changes nothing
        else; the net runs once."""
        docs = list(docs)
        entities: list[list[ScoredEntity]] = [[] for _ in docs]
        for group in group_by_total([len(doc) for doc in docs], MAX_TOKENS):
            full = [i for i in group if len(docs[i])]
            some = self._predict_full([docs[i] for i in full], temperatures)
            for i, found in zip(full, some, strict=True):
                entities[i] = found
        return entities

    def _predict_full(
        self, docs: list[Doc], temperatures: Sequence[float]
    ) -> list[list[ScoredEntity]]:
        """The entities of docs that have tokens."""
        if not docs:
            return []
        emissions = self.model.predict(docs)
        parts = cut_long(docs)
        gates = [array.tolist() for array in emissions.gates]
        entities: list[list[ScoredEntity]] = [[] for _ in docs]
        for group in group_by_total([part.end - part.start for _, part in parts], MAX_TOKENS):
            some = [parts[g] for g in group]
            cut = [emissions[i][part.start : part.end] for i, part in some]
            found = self._decode(cut, temperatures)
            for (i, part), spans in zip(some, found, strict=True):
                for start, end, label, scores in spans:
                    first, last = _trim(docs[i], part.start + start, part.start + end)
                    if first < last and part.first <= part.start + start < part.last:
                        gate = sum(gates[i][first:last]) / (last - first)
                        entities[i].append((first, last, label, gate, scores))
        return [list(_without_overlap(found)) for found in entities]

    def _decode(
        self, emissions: list[Floats2d], temperatures: Sequence[float]
    ) -> list[list[tuple[int, int, str, list[float]]]]:
        """The entities of the best path of each, without gates."""
        decoded = self._to_numpy(emissions)
        found = [tags_to_spans(path) for path in best_paths(*decoded)]
        runs = [
            [(s, spans_to_tags(e - s, [(0, e - s, k)])) for s, e, k in spans] for spans in found
        ]
        scores = [path_probabilities(*decoded, runs, t) for t in temperatures]
        labels = self.labels
        return [
            [
                (start, end, labels[k], [at[row][n] for at in scores])
                for n, (start, end, k) in enumerate(spans)
            ]
            for row, spans in enumerate(found)
        ]

    def posteriors(self, docs: Iterable[Doc]) -> list[Floats2d]:
        """Posterior probability of each tag at each token, (tokens, tags) per doc."""
        docs = list(docs)
        found = [self.model.ops.alloc2f(len(doc), len(tag_names(self.labels))) for doc in docs]
        for group in group_by_length([len(doc) for doc in docs], MAX_PADDED):
            full = [i for i in group if len(docs[i])]
            if full:
                batch = posteriors(*self._to_numpy(self.model.predict([docs[i] for i in full])))
                for i, array in zip(full, batch, strict=True):
                    found[i] = self.model.ops.asarray2f(cast(Floats2d, array))
        return found

    def set_annotations(self, docs: Iterable[Doc], entities: list[list[Entity]]) -> None:
        for doc, found in zip(docs, entities, strict=True):
            spans = []
            numbers = find_numbers(doc.text) if found else []
            for start, end, label, gate, score in found:
                span = Span(doc, start, end, label=label)
                if any(n.start < span.end_char and span.start_char < n.end for n in numbers):
                    continue
                about = span._
                about.score, about.photo_gate = score, gate
                spans.append(span)
            doc.set_ents(spans, default="outside")
            note_provenance(doc, "entities", self.name)

    # Training

    def get_loss(
        self, examples: Iterable[Example], emissions: list[Floats2d]
    ) -> tuple[float, list[Floats2d]]:
        """Negative log-likelihood of the annotation, per doc of the `whole_batch`.

        RETURNS: the loss, and its gradient for each doc, (tokens, tags).
        """
        import torch
        from thinc.api import torch2xp

        gradients = [self.model.ops.alloc2f(*e.shape) for e in emissions]
        full = [i for i, e in enumerate(emissions) if len(e)]
        if not full:
            return 0.0, gradients
        examples = list(examples)
        padded, mask = self._to_torch([emissions[i] for i in full])
        padded.requires_grad_(True)
        allowed = torch.ones(padded.shape, dtype=torch.bool)
        for row, i in enumerate(full):
            allowed[row, : len(emissions[i])] = torch.from_numpy(self._allowed_tags(examples[i]))
        crf = self.model.get_ref("crf").shims[0]
        args: tuple[Any, ...] = (padded, mask, allowed.to(padded.device))
        if self._teachers is not None:
            predicted = [examples[i].predicted for i in full]
            taught = cast(list[Floats2d], self._teachers.posteriors(predicted))
            believed = pad(self.model.ops, taught)
            args += (torch.as_tensor(believed, device=padded.device), self._teacher_weight)
        inputs = ArgsKwargs(args=args, kwargs={})
        loss, backprop = crf.begin_update(inputs)
        count = sum(len(example.predicted) > 0 for example in whole_batch(examples))
        weight = torch.ones_like(loss) / count
        d_inputs = backprop(ArgsKwargs(args=((loss,),), kwargs={"grad_tensors": (weight,)}))
        d_padded = cast(Floats3d, torch2xp(d_inputs.args[0]))
        for row, i in enumerate(full):
            gradients[i] += d_padded[row, : len(emissions[i])]
        return float(loss.detach()) / count, gradients

    def _allowed_tags(self, example: Example) -> numpy.ndarray:
        """(tokens, tags) bool: what the annotation lets each token of ``predicted`` be."""
        names = tag_names(self.labels)
        index = {name: i for i, name in enumerate(names)}
        outside = numpy.zeros(len(names), dtype=bool)
        outside[OUTSIDE] = True
        annotated = example.reference._.annotated_labels
        if annotated is not None:
            for label in set(self.labels) - set(annotated):
                outside[[index[f"{prefix}-{label}"] for prefix in PREFIXES]] = True
        allowed = numpy.ones((len(example.predicted), len(names)), dtype=bool)
        for i, tag in enumerate(_aligned_tags(example)):
            if tag == "O":
                allowed[i] = outside
            elif tag is not None:
                prefix, _, label = tag.partition("-")
                possible = {f"{prefix}-{one}" for one in label.split(ALTERNATIVE)}
                if possible <= index.keys():
                    allowed[i] = [name in possible for name in names]
        return allowed

    def _to_numpy(
        self, emissions: list[Floats2d]
    ) -> tuple[Potentials, list[numpy.ndarray], list[int]]:
        """Emissions, (tokens, tags) of each, with what is needed to decode them."""
        arrays = [self.model.ops.to_numpy(e) for e in emissions]
        return read_potentials(self.model.get_ref("crf")), arrays, [len(e) for e in arrays]

    def _to_torch(self, emissions: list[Floats2d]) -> tuple[Any, Any]:
        """Padded emissions (docs, length, tags) and mask (docs, length)."""
        import torch
        from thinc.api import xp2torch

        padded = xp2torch(pad(self.model.ops, emissions))
        lengths = torch.tensor([len(e) for e in emissions])
        mask = torch.arange(padded.size(1))[None, :] < lengths[:, None]
        return padded, mask.to(padded.device)


def _trim(doc: Doc, start: int, end: int) -> tuple[int, int]:
    """Without white space, control and invisible format characters at both ends."""
    while start < end and not _has_content(doc[start].text):
        start += 1
    while start < end and not _has_content(doc[end - 1].text):
        end -= 1
    return start, end


def _has_content(text: str) -> bool:
    return any(not c.isspace() and unicodedata.category(c) not in ("Cc", "Cf") for c in text)


def _without_overlap(entities: Iterable[ScoredEntity]) -> Iterable[ScoredEntity]:
    """In order; of two that the parts of a long record disagree on, the first."""
    end = 0
    for entity in sorted(entities):
        if entity[0] >= end:
            end = entity[1]
            yield entity


def _aligned_tags(example: Example) -> list[str | None]:
    """The BIOES tag of each token of ``predicted``; None where the annotation is missing."""
    reference = example.reference
    if not numpy.array_equal(example.predicted.to_array(ORTH), reference.to_array(ORTH)):
        # spaCy's BILUO tags are ours with other letters, "-" means missing.
        return [tag and _BIOES.get(tag[0], tag[0]) + tag[1:] for tag in example.get_aligned_ner()]
    # The usual case, tokens as in the reference: ten times faster than aligning.
    tags = ["O" if iob else None for iob in reference.to_array(ENT_IOB).tolist()]
    for ent in reference.ents:
        for i, tag in enumerate(spans_to_tags(len(ent), [(0, len(ent), 0)])):
            tags[ent.start + i] = f"{PREFIXES[tag - 1]}-{ent.label_}"
    return tags
