"""Which pattern the findings of the four examinations fit, with its probability."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy
import srsly
from spacy.language import Language
from spacy.pipeline.trainable_pipe import TrainablePipe
from spacy.tokens import Doc, Span
from spacy.training import Example, validate_get_examples
from spacy.util import SimpleFrozenList, from_bytes, from_disk, to_bytes, to_disk
from spacy.vocab import Vocab
from thinc.api import Config, Model, Optimizer
from thinc.types import Floats1d, Floats2d

from spacy_tcm.errors import Errors, ModelError
from spacy_tcm.extensions import install_extensions, note_provenance
from spacy_tcm.models.syndrome import FINDINGS, hash_findings, read_findings
from spacy_tcm.models.syndrome_elements import SyndromeElements, national_terms

ELEMENTS_FILE, CFG_FILE, MODEL_FILE = "syndrome_elements.json", "cfg", "model"
TRAINED = Path(__file__).parents[1] / "resources" / "syndrome"
TOP = 5
# Of several patterns that a text names, one is perhaps only discussed; of few findings, none told.
MOST_WEAK, LEAST_FINDINGS = 2, 3
MOST_LEFT_OVER = 2  # characters of a national term that belong to no element, such as 内 and 阻

DEFAULT_CONFIG = Config().from_str(
    """
[component]
photo = true
weak = 0.2
trained = true

[component.model]
@architectures = "spacy_tcm.SyndromeClassifier.v1"
width = 2048
"""
)["component"]


@Language.factory(
    "tcm_syndrome",
    assigns=["doc._.syndrome", "doc.cats"],
    requires=["doc.ents"],
    default_config=DEFAULT_CONFIG,
    default_score_weights={"syndrome_top1": 1.0, "syndrome_top5": 0.0},
)
def make_tcm_syndrome(
    nlp: Language, name: str, model: Model, photo: bool, weak: float, trained: bool
) -> "TCMSyndrome":
    """Factory ``tcm_syndrome``. photo: use what ``tongue_encoder`` saw. weak: see `TCMSyndrome`.
    trained: begin as trained on this project's records, so that it works at once; `initialize`
    begins anew. For a model of another width, say false."""
    pipe = TCMSyndrome(nlp.vocab, model, name, photo=photo, weak=weak)
    return pipe.from_disk(TRAINED) if trained else pipe


class TCMSyndrome(TrainablePipe):
    """Reads entities of findings, fields of tongue and pulse and the attributes of the photo; never
    what the text says of the pattern. Writes ``doc._.syndrome``: ``{"patterns": [{"name",
    "probability", "elements"}], "abstained"}``, the five most probable of different elements, best
    first, and their probabilities in ``doc.cats``. Abstained: the first is below the threshold, so
    do not rely on it. It is a suggestion for a clinician, no diagnosis.

    The net tells the elements of the pattern (气虚, 湿, 肝 ...); the score of a candidate is the
    sum of the logits of its elements and the log of how common it is. Candidates: the patterns of
    the examples, and the national terms that are made of elements that these have.

    Learns from ``reference._.syndrome_labels``: names of the patterns, or None if unknown; and with
    the weight ``weak`` from one or two SYNDROME entities of a reference without them.
    """

    def __init__(
        self,
        vocab: Vocab,
        model: Model,
        name: str = "tcm_syndrome",
        *,
        photo: bool = True,
        weak: float = 0.2,
    ):
        install_extensions()
        self.vocab = vocab
        self.model = model
        self.name = name
        self.photo = photo
        self.weak = weak
        self.elements = SyndromeElements.from_path()
        self.cfg: dict[str, Any] = {
            "candidates": [],  # [name, how often it occurs, in examples]
            "temperature": 1.0,
            "threshold": 0.0,
            "unseen": 0.05,
            "prior": 1.0,
        }
        self._set_candidates()

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.cfg["candidates"])

    @property
    def label_data(self) -> list[str]:
        return list(self.labels)

    def add_label(self, label: str) -> int:
        """RAISES ModelError: candidates come with `initialize`."""
        raise ModelError(Errors.E652.format(name=self.name))

    def initialize(
        self,
        get_examples: Callable[[], Iterable[Example]],
        *,
        nlp: Language | None = None,
        elements: str | Path | None = None,
    ) -> None:
        """elements: a vocabulary of elements of your own, instead of the package's.

        RAISES ModelError: it cannot be used, or no example tells a pattern.
        """
        validate_get_examples(get_examples, "TCMSyndrome.initialize")
        self.elements = SyndromeElements.from_path(elements)
        counts = Counter(
            part
            for example in get_examples()
            for name in example.reference._.syndrome_labels or ()
            for part in self.elements.split(name)
            if self.elements.parse(part)
        )
        if not counts:
            raise ModelError(Errors.E651.format(name=self.name))
        national = make_national(self.elements, counts)
        self.cfg["candidates"] = [[n, c] for n, c in sorted(counts.items())]
        self.cfg["candidates"] += [[name, 0] for name in national]
        self._set_candidates()
        self.model.set_dim("nO", len(self.elements.ids), force=True)
        self.model.initialize()
        self._start_at_base_rates(get_examples())

    def _start_at_base_rates(self, examples: Iterable[Example]) -> None:
        truth = [self._truth(eg.reference._.syndrome_labels or ()) for eg in examples]
        share = numpy.clip(numpy.mean([row for row in truth if any(row)], axis=0), 0.01, 0.99)
        self.model.set_param("b", numpy.log(share / (1 - share)).astype("float32"))

    def predict(self, docs: Iterable[Doc]) -> Floats2d:
        """(documents, candidates) probabilities."""
        return probabilities(self.scores(self.logits(list(docs))), self.cfg["temperature"])

    def logits(self, docs: Sequence[Doc]) -> Floats2d:
        """(documents, elements)."""
        if not self._names:
            raise ModelError(Errors.E653.format(name=self.name))
        return self.model.predict(self._rows([(doc, doc.ents) for doc in docs]))

    def scores(self, logits: Floats2d) -> Floats2d:
        """(documents, elements) -> (documents, candidates)."""
        return logits @ self._made_of.T + self._log_prior

    def set_annotations(self, docs: Iterable[Doc], found: Floats2d) -> None:
        for doc, row in zip(docs, found, strict=True):
            told = any(ent.label_ in FINDINGS for ent in doc.ents)
            patterns = [
                {
                    "name": self._names[i],
                    "probability": float(row[i]),
                    "elements": list(self._parsed[i]),
                }
                for i in (self.best(row) if told else ())
            ]
            sure = bool(patterns) and patterns[0]["probability"] >= self.cfg["threshold"]
            doc._.syndrome = {"patterns": patterns, "abstained": not sure}
            doc.cats.update({p["name"]: p["probability"] for p in patterns})
            note_provenance(doc, "syndrome", self.name)

    def best(self, row: Any, top: int = TOP) -> list[int]:
        """The most probable candidates of different elements, best first."""
        found: dict[tuple[str, ...], int] = {}
        for i in numpy.argsort(-row, kind="stable"):
            found.setdefault(self._parsed[i], int(i))
            if len(found) == top:
                break
        return list(found.values())

    # Training

    def update(
        self,
        examples: Iterable[Example],
        *,
        drop: float = 0.0,
        sgd: Optimizer | None = None,
        losses: dict[str, float] | None = None,
    ) -> dict[str, float]:
        """Examples that tell no pattern are passed by. Entities that the predicted Doc lacks are
        those of the reference."""
        losses = {} if losses is None else losses
        losses.setdefault(self.name, 0.0)
        known = [eg for eg in examples if self._told(eg.reference)[1]]
        if not known:
            return losses
        docs = [(eg.predicted, eg.predicted.ents or eg.reference.ents) for eg in known]
        logits, backprop = self.model.begin_update(self._rows(docs))
        loss, d_logits = self.get_loss(known, logits)
        backprop(d_logits)
        if sgd is not None:
            self.finish_update(sgd)
        losses[self.name] += loss
        return losses

    def get_loss(self, examples: Iterable[Example], scores: Any) -> tuple[float, Any]:
        """Binary cross-entropy of each element, mean over the documents. scores: logits."""
        told = [self._told(eg.reference) for eg in examples]
        truth = numpy.array([self._truth(names) for names, _ in told], dtype="float32")
        weights = numpy.array([[weight] for _, weight in told], dtype="float32") / len(told)
        loss = numpy.logaddexp(0.0, scores) - truth * scores
        gradient = weights * (1.0 / (1.0 + numpy.exp(-scores)) - truth)
        return float((weights * loss).sum()), gradient

    def _told(self, reference: Doc) -> tuple[list[str], float]:
        """The patterns that a reference tells, and with what weight; 0: none."""
        names = reference._.syndrome_labels
        if names:
            return list(names), 1.0
        marked = [ent.text for ent in reference.ents if ent.label_ == "SYNDROME"]
        names = list(dict.fromkeys(name for name in marked if self.elements.parse(name)))
        findings = sum(ent.label_ in FINDINGS for ent in reference.ents)
        if 0 < len(names) <= MOST_WEAK and findings >= LEAST_FINDINGS:
            return names, self.weak
        return [], 0.0

    def _truth(self, names: Iterable[str]) -> list[float]:
        found = {element for name in names for element in self.elements.parse(name)}
        return [float(element in found) for element in self.elements.ids]

    def calibrate(
        self, rows: Sequence[Floats1d], right: Sequence[bool], *, told: float = 0.5
    ) -> None:
        """Fit temperature and threshold on documents not trained on.

        rows: the scores of the candidates, which may differ by row (folds). right: is the best of
        each right? told: the share of these documents that is not abstained from.
        """
        is_right = numpy.asarray(right, dtype="float64")

        def loss(temperature: float) -> float:
            p = numpy.clip([probabilities(row, temperature).max() for row in rows], 1e-6, 1 - 1e-6)
            return float(-(is_right * numpy.log(p) + (1 - is_right) * numpy.log1p(-p)).mean())

        temperature = min(numpy.geomspace(0.25, 8, 61).tolist(), key=loss)
        best = [float(probabilities(row, temperature).max()) for row in rows]
        self.cfg["temperature"] = temperature
        self.cfg["threshold"] = float(numpy.quantile(best, 1 - told))

    def score(self, examples: Iterable[Example], **kwargs: Any) -> dict[str, float | None]:
        """``syndrome_top1`` and ``syndrome_top5``: the share of the examples with known patterns of
        which one is among the first or the first five, by normalised name."""
        hits = []
        for example in examples:
            names = example.reference._.syndrome_labels
            if names:
                gold = {part for name in names for part in self.elements.split(name)}
                told = (example.predicted._.syndrome or {}).get("patterns", [])
                hits.append([p["name"] in gold for p in told])
        return {
            f"syndrome_top{k}": sum(any(h[:k]) for h in hits) / len(hits) if hits else None
            for k in (1, TOP)
        }

    # Storage

    def to_disk(self, path: str | Path, *, exclude: Iterable[str] = SimpleFrozenList()) -> None:
        writers = {
            CFG_FILE: lambda p: srsly.write_json(p, self.cfg),
            ELEMENTS_FILE: lambda p: srsly.write_json(p, self.elements.data),
            MODEL_FILE: lambda p: self.model.to_disk(p),
        }
        to_disk(path, writers, exclude)

    def from_disk(
        self, path: str | Path, *, exclude: Iterable[str] = SimpleFrozenList()
    ) -> "TCMSyndrome":
        """RAISES ModelError: the elements cannot be used."""
        readers: dict[str, Any] = {
            ELEMENTS_FILE: lambda p: self._set_elements(SyndromeElements.read_json(p), str(p)),
            CFG_FILE: lambda p: self.cfg.update(srsly.read_json(p)),
            MODEL_FILE: lambda p: self.model.from_disk(p),
        }
        from_disk(path, readers, exclude)
        self._set_candidates()
        return self

    def to_bytes(self, *, exclude: Iterable[str] = SimpleFrozenList()) -> bytes:
        parts = {
            "cfg": lambda: srsly.json_dumps(self.cfg),
            "elements": lambda: srsly.json_dumps(self.elements.data),
            "model": lambda: self.model.to_bytes(),
        }
        return to_bytes(parts, exclude)

    def from_bytes(
        self, data: bytes, *, exclude: Iterable[str] = SimpleFrozenList()
    ) -> "TCMSyndrome":
        setters: dict[str, Any] = {
            "elements": lambda b: self._set_elements(srsly.json_loads(b)),
            "cfg": lambda b: self.cfg.update(srsly.json_loads(b)),
            "model": lambda b: self.model.from_bytes(b),
        }
        from_bytes(data, setters, exclude)
        self._set_candidates()
        return self

    # Parts

    def _rows(self, docs: Iterable[tuple[Doc, Iterable[Span]]]) -> Floats2d:
        """docs: each with the entities to use."""
        found = [read_findings(d, self.elements, ents=e, photo=self.photo) for d, e in docs]
        return hash_findings(found, self.model.get_dim("nI"))

    def _set_elements(self, data: Any, source: str | None = None) -> None:
        self.elements = SyndromeElements.from_stored(data, source)

    def _set_candidates(self) -> None:
        """What follows from the configuration and the elements."""
        self._names = [name for name, _ in self.cfg["candidates"]]
        self._parsed = [self.elements.parse(name) for name in self._names]
        place = {element: i for i, element in enumerate(self.elements.ids)}
        self._made_of = numpy.zeros((len(self._names), len(place)), dtype="float32")
        for row, found in zip(self._made_of, self._parsed, strict=True):
            row[[place[element] for element in found]] = 1.0
        counts = numpy.array([count for _, count in self.cfg["candidates"]], dtype="float32")
        self._log_prior = self.cfg["prior"] * numpy.log(counts + self.cfg["unseen"])


def make_national(elements: SyndromeElements, seen: Iterable[str]) -> list[str]:
    """Normalised national terms that are made of the elements of the seen names, one, the
    shortest, for each set of elements that no seen name has."""
    taken = {elements.parse(name) for name in seen}
    known = {element for found in taken for element in found}
    names = []
    for term in sorted(national_terms(), key=lambda term: (len(term), term)):
        found = elements.parse(term)
        whole = elements.leftover(term) <= MOST_LEFT_OVER
        if whole and found and found not in taken and known.issuperset(found):
            taken.add(found)
            names.append(elements.normalise(term))
    return names


def probabilities(scores: Any, temperature: float) -> Any:
    """Softmax over the last axis of the scores divided by the temperature."""
    scaled = scores / temperature
    scaled = numpy.exp(scaled - scaled.max(axis=-1, keepdims=True))
    return scaled / scaled.sum(axis=-1, keepdims=True)
