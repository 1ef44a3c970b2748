"""Looks at the tongue photo once, for every component that listens."""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy
from numpy.typing import NDArray
from spacy.language import Language
from spacy.pipeline.trainable_pipe import TrainablePipe
from spacy.tokens import Doc
from spacy.training import Example, validate_examples, validate_get_examples
from spacy.util import minibatch
from spacy.vocab import Vocab
from thinc.api import Config, Model, Optimizer, set_dropout_rate
from thinc.types import Floats2d, Floats3d

from spacy_tcm.batching import whole_batch
from spacy_tcm.errors import Errors, ModelError
from spacy_tcm.extensions import install_extensions
from spacy_tcm.fields.tongue import read_photo_map
from spacy_tcm.images.heat import share_by_zone
from spacy_tcm.models.heat_maps import check_captum, find_heat
from spacy_tcm.models.photos import Photo, tongue_alone
from spacy_tcm.models.tongue import (
    colour_distance,
    is_deployed,
    read_heads,
    set_heads,
    write_heads,
)
from spacy_tcm.models.tongue_listener import TongueListener
from spacy_tcm.pipeline.ahead import has_core_to_spare, work_ahead
from spacy_tcm.tags import COLOUR_ATTRIBUTES, TONGUE_ATTRIBUTES
from spacy_tcm.types import TongueFeatures

DEFAULT_CONFIG = Config().from_str(
    """
[component]
abstain_below = 0.5
heat_maps = false
crop_only = false

[component.model]
@architectures = "spacy_tcm.TongueResNet.v1"
"""
)["component"]


@Language.factory(
    "tongue_encoder",
    assigns=["doc._.tongue", "doc._.tongue_data", "doc._.tongue_heat"],
    default_config=DEFAULT_CONFIG,
    default_score_weights={"tongue_acc": 0.0},
)
def make_tongue_encoder(
    nlp: Language, name: str, model: Model, abstain_below: float, heat_maps: bool, crop_only: bool
) -> "TongueEncoder":
    """Factory ``tongue_encoder``. abstain_below: an attribute whose most probable value is less
    probable than this is marked as abstained, unless `calibrate` has found bounds of their own.
    heat_maps: tell also where attributes are seen. crop_only: keep no more of the photo than the
    tongue; not for training, which needs it again.
    """
    return TongueEncoder(
        nlp.vocab,
        model,
        name,
        abstain_below=abstain_below,
        heat_maps=heat_maps,
        crop_only=crop_only,
    )


class TongueEncoder(TrainablePipe):
    """Reads ``doc._.tongue_image``; writes ``doc._.tongue`` and, for listeners,
    ``doc._.tongue_data``.

    ``doc._.tongue["attributes"]``: name -> ``value``, the most probable; ``term``, the word of the
    typed fields for it, or None where it is none (no fissure); ``probabilities`` by value; and
    ``abstained``, true where it is too uncertain to be used: where the value is not probable enough
    or ``unfamiliar``, a colour of a photo whose colours are further from those learned from than
    any that `calibrate` saw, so that its probabilities mean nothing.

    ``cfg["heat_maps"]`` and ``cfg["crop_only"]`` may be switched in a loaded pipeline. With the
    first, each attribute gets ``regions`` (zone of the tongue -> share of what speaks for its
    value, see `share_by_zone`; {} if nothing does), and ``doc._.tongue_heat`` has what
    `spacy_tcm.images.heat.draw_heat` draws: ``photo``, as cut out, (size, size, 3); ``mask``, bool,
    where the tongue is; ``maps``, attribute -> (size, size), 255 where most speaks for its value.
    With the second, ``doc._.tongue_image`` becomes the tongue alone, (size, size, 3) uint8 and grey
    around it, or None if the photo was rejected.

    Learns from its listeners' gradients and from ``reference._.tongue_labels`` (attribute ->
    value); an attribute that is not there is unknown, never absent.
    """

    def __init__(
        self,
        vocab: Vocab,
        model: Model[list[Doc], TongueFeatures],
        name: str = "tongue_encoder",
        *,
        abstain_below: float = 0.5,
        heat_maps: bool = False,
        crop_only: bool = False,
    ):
        if not 0 <= abstain_below <= 1:
            raise ModelError(Errors.E465.format(name=name, value=abstain_below))
        install_extensions()
        self.vocab = vocab
        self.model = model
        self.name = name
        self.cfg: dict[str, Any] = {
            "abstain_below": abstain_below,
            "heat_maps": heat_maps,
            "crop_only": crop_only,
            "attributes": {},
            "temperatures": {},
            "bounds": {},
            "most_distant": None,
        }
        self.listener_map: dict[str, list[TongueListener]] = {}
        self._pending: Callable[[], None] | None = None

    @property
    def attributes(self) -> dict[str, list[str]]:
        """Attribute -> its values, in the order of the network's scores."""
        return self.cfg["attributes"]

    @property
    def temperatures(self) -> dict[str, float]:
        """Attribute -> what its scores are divided by, so that its probabilities say how often it
        is right; 1 until `training.calibration` has set it."""
        return self.cfg["temperatures"]

    @property
    def bounds(self) -> dict[str, float]:
        """Attribute -> the probability below which it abstains; ``abstain_below`` until
        `training.calibration` has set it."""
        return self.cfg["bounds"]

    # Listeners: the protocol of spaCy's Tok2Vec.

    @property
    def listeners(self) -> list[TongueListener]:
        return [listener for found in self.listener_map.values() for listener in found]

    @property
    def listening_components(self) -> list[str]:
        return list(self.listener_map)

    def add_listener(self, listener: TongueListener, component_name: str) -> None:
        known = self.listener_map.setdefault(component_name, [])
        if listener not in known:
            known.append(listener)

    def remove_listener(self, listener: TongueListener, component_name: str) -> bool:
        known = self.listener_map.get(component_name, [])
        if listener not in known:
            return False
        known.remove(listener)
        if not known:
            del self.listener_map[component_name]
        return True

    def find_listeners(self, component: Any) -> None:
        """Called by ``Language`` for every component after this one."""
        if isinstance(getattr(component, "model", None), Model):
            for node in component.model.walk():
                if isinstance(node, TongueListener) and node.upstream_name in ("*", self.name):
                    self.add_listener(node, component.name)

    # Prediction

    def predict(self, docs: Iterable[Doc]) -> TongueFeatures:
        return self.model.predict(list(docs))

    def pipe(self, stream: Iterable[Doc], *, batch_size: int = 128) -> Iterator[Doc]:
        """As of every component. Where the pipeline is deployed and has a core to spare, the photos
        of the next batch are looked at while components further down read the texts of this one;
        so the stream is read one batch ahead."""
        if not (is_deployed(self.model) and has_core_to_spare()):
            yield from super().pipe(stream, batch_size=batch_size)
            return
        handle_error = self.get_error_handler()
        for docs, result in work_ahead(minibatch(stream, batch_size), self.predict):
            try:
                self.set_annotations(docs, result())
                yield from docs
            except Exception as error:
                handle_error(self.name, self, docs, error)

    def check_settings(self) -> None:
        """RAISES ModelError: heat_maps or crop_only is on, but impossible here."""
        if self.cfg["heat_maps"]:
            if is_deployed(self.model):
                raise ModelError(Errors.E480.format(name=self.name))
            check_captum()
        if self.cfg["crop_only"] and self.model.maybe_get_ref("segmenter") is None:
            raise ModelError(Errors.E464.format(name=self.name))

    def set_annotations(self, docs: Iterable[Doc], features: TongueFeatures) -> None:
        self.check_settings()
        to_numpy = self.model.ops.to_numpy
        regions, scores = to_numpy(features.regions), to_numpy(features.scores)
        for i, (doc, info) in enumerate(zip(docs, features.info, strict=True)):
            ok = info.status == "ok"
            doc._.tongue_data = regions[i].copy() if ok else None
            doc._.tongue = {
                "status": info.status,
                "reasons": list(info.reasons),
                "quality": dict(info.quality),
                "attributes": {},
            }
            photo = features.photos[i] if ok else None
            if photo is not None:
                distance = colour_distance(self.model, photo)
                doc._.tongue["quality"]["colour_distance"] = round(distance, 4)
                doc._.tongue["attributes"] = self.describe(scores[i], distance)
            self._add_pictures(doc, photo)

    def _add_pictures(self, doc: Doc, photo: Photo | None) -> None:
        """What the settings ask for. photo: None if it could not be used."""
        doc._.tongue_heat = image = None
        if photo is not None:
            image = tongue_alone(photo) if self.cfg["crop_only"] else photo.pixels
            if self.cfg["heat_maps"]:
                maps = self._find_heat(photo, doc._.tongue["attributes"])
                doc._.tongue_heat = {"photo": image, "mask": photo.mask, "maps": maps}
        if self.cfg["crop_only"]:
            doc._.tongue_image = image

    def _find_heat(
        self, photo: Photo, attributes: dict[str, dict[str, Any]]
    ) -> dict[str, NDArray[numpy.uint8]]:
        """The heat map of each attribute; adds their regions to the attributes."""
        told = [self.attributes[name].index(found["value"]) for name, found in attributes.items()]
        maps = dict(zip(attributes, find_heat(self.model, photo, told), strict=True))
        for name, heat in maps.items():
            attributes[name]["regions"] = share_by_zone(heat, photo.mask)
        return maps

    def describe(self, scores: Floats2d, distance: float = 0.0) -> dict[str, dict[str, Any]]:
        """The attributes of one photo, of its scores, (sum of values,). distance: of its colours,
        see `colour_distance`."""
        most = self.cfg["most_distant"]
        strange = most is not None and distance > most
        described = {}
        for name, part in self.parts():
            values = self.attributes[name]
            p = softmax(scores[part] / self.temperatures.get(name, 1.0))
            best = int(p.argmax())
            bound = self.bounds.get(name, self.cfg["abstain_below"])
            unfamiliar = strange and name in COLOUR_ATTRIBUTES
            described[name] = {
                "value": values[best],
                "term": self._term(name, values[best]),
                "probabilities": {v: float(x) for v, x in zip(values, p, strict=True)},
                "abstained": bool(p[best] < bound or unfamiliar),
                "unfamiliar": unfamiliar,
            }
        return described

    def _term(self, attribute: str, value: str) -> str | None:
        """The word of `fields.json` for what is seen, the usual one if there are several."""
        words = read_photo_map().get(attribute, {}).get("values", {})
        return next(iter(words.get(value, ())), None)

    def parts(self) -> Iterator[tuple[str, slice]]:
        """Attributes, each with its place among the scores."""
        at = 0
        for name, values in self.attributes.items():
            yield name, slice(at, at + len(values))
            at += len(values)

    # Training

    def initialize(
        self,
        get_examples: Callable[[], Iterable[Example]],
        *,
        nlp: Language | None = None,
        attributes: dict[str, list[str]] | None = None,
        heads: str | None = None,
    ) -> None:
        """attributes: attribute -> values to tell apart; None takes the attributes that the
        examples' ``tongue_labels`` mention, with the values seen there: others cannot be learned.

        heads: a file that :meth:`heads_to_disk` has written: attributes are told as by that
            pipeline, and learned no further. RAISES ModelError: it cannot be used.
        """
        validate_get_examples(get_examples, "TongueEncoder.initialize")
        if is_deployed(self.model):
            raise ModelError(Errors.E470)
        trained = about = None
        if heads is not None:
            trained, about = read_heads(Path(heads))
            attributes = about["attributes"]
            names = ("temperatures", "bounds", "most_distant")
            self.cfg.update({name: about[name] for name in names})
        elif attributes is None and not self.attributes:
            attributes = _attributes_in(get_examples())
        if attributes is not None:
            self.cfg["attributes"] = {name: list(values) for name, values in attributes.items()}
        self.model.attrs["n_values"] = [len(v) for v in self.attributes.values()]
        self.model.attrs["by_colour"] = [name in COLOUR_ATTRIBUTES for name in self.attributes]
        sample = [example.predicted for example in islice(get_examples(), 10)]
        self.model.attrs["heads_frozen"] = heads is not None
        self.model.initialize(X=sample)
        if heads is not None and about is not None:
            set_heads(self.model, trained, about, Path(heads))

    def heads_to_disk(self, path: Path) -> None:
        """Save what tells the attributes, a few kilobytes, for ``[initialize]`` of a pipeline with
        the same frozen trunk."""
        if is_deployed(self.model):
            raise ModelError(Errors.E481.format(name=self.name))
        names = ("attributes", "temperatures", "bounds", "most_distant")
        write_heads(self.model, path, {name: self.cfg[name] for name in names})

    def update(
        self,
        examples: Iterable[Example],
        *,
        drop: float = 0.0,
        sgd: Optimizer | None = None,
        losses: dict[str, float] | None = None,
    ) -> dict[str, float]:
        losses = {} if losses is None else losses
        losses.setdefault(self.name, 0.0)
        examples = list(examples)
        validate_examples(examples, "TongueEncoder.update")
        self._flush()
        docs = [example.predicted for example in examples]
        set_dropout_rate(self.model, drop)
        features, backprop_model = self._begin_update(docs)
        loss, d_scores = self.get_loss(examples, features)
        losses[self.name] += loss
        d_regions = self.model.ops.alloc3f(*features.regions.shape)

        def backprop() -> None:
            self._pending = None
            backprop_model((d_regions, d_scores))
            if sgd is not None:
                self.finish_update(sgd)

        # The gradients of all listeners are collected and taken back in one pass: by the last
        # listener; if some are frozen and never answer, at the next update.
        listeners = self.listeners
        waiting = len(listeners)

        def receive(d_features: tuple[Floats3d, Floats2d]) -> list[Doc]:
            nonlocal d_regions, waiting
            d_regions += d_features[0]
            waiting -= 1
            if not waiting:
                backprop()
            return docs

        for listener in listeners:
            listener.receive(docs, features, receive)
        self._pending = backprop
        if not listeners:
            backprop()
        return losses

    def _begin_update(self, docs: list[Doc]) -> tuple[TongueFeatures, Callable[[Any], list[Doc]]]:
        # Thinc's types know only gradients shaped like the output; ours has two of its parts.
        return self.model.begin_update(docs)

    def _flush(self) -> None:
        for listener in self.listeners:
            listener.forget()
        if self._pending is not None:
            self._pending()

    def get_loss(
        self, examples: Iterable[Example], features: TongueFeatures
    ) -> tuple[float, Floats2d]:
        """Cross-entropy over the attributes that are known, averaged over the records of the
        `whole_batch` that name a photo.

        RETURNS: the loss, and its gradient, (docs, sum of values).
        """
        scores = self.model.ops.to_numpy(features.scores)
        gradient = numpy.zeros_like(scores)
        examples = list(examples)
        named = [eg.predicted._.tongue_image is not None for eg in whole_batch(examples)]
        loss, n_photos = 0.0, max(1, sum(named))
        for i, example in enumerate(examples):
            labels = example.reference._.tongue_labels
            if not labels or not features.present[i] or self.model.attrs["heads_frozen"]:
                continue
            for name, part in self.parts():
                if name not in labels:
                    continue
                target = self._index(example, name, labels[name])
                p = softmax(scores[i, part])
                loss -= float(numpy.log(p[target] + 1e-12))
                gradient[i, part] = p
                gradient[i, part.start + target] -= 1.0
        return loss / n_photos, self.model.ops.asarray2f(gradient / n_photos)

    def _index(self, example: Example, attribute: str, value: str) -> int:
        values = self.attributes[attribute]
        if value not in values:
            raise ModelError(
                Errors.E411.format(
                    name=self.name,
                    id=example.reference._.record_id,
                    attribute=attribute,
                    value=value,
                    values=values,
                )
            )
        return values.index(value)

    def score(self, examples: Iterable[Example], **kwargs: Any) -> dict[str, Any]:
        """``tongue_acc``: share of known attributes named right; ``tongue_acc_per_type``."""
        right: dict[str, int] = {}
        total: dict[str, int] = {}
        for example in examples:
            found = example.predicted._.tongue["attributes"]
            for name, value in (example.reference._.tongue_labels or {}).items():
                if name in found:
                    total[name] = total.get(name, 0) + 1
                    right[name] = right.get(name, 0) + (found[name]["value"] == value)
        if not total:
            return {"tongue_acc": None, "tongue_acc_per_type": None}
        return {
            "tongue_acc": sum(right.values()) / sum(total.values()),
            "tongue_acc_per_type": {name: right[name] / total[name] for name in total},
        }


def softmax(x: Any) -> Any:
    """(values,) -> (values,), summing to 1."""
    e = numpy.exp(x - x.max())
    return e / e.sum()


def _attributes_in(examples: Iterable[Example]) -> dict[str, list[str]]:
    """Attributes and values mentioned in the examples, in the usual order, then any other."""
    seen: dict[str, set[str]] = {}
    for example in examples:
        for name, value in (example.reference._.tongue_labels or {}).items():
            seen.setdefault(name, set()).add(value)
    order = [*TONGUE_ATTRIBUTES, *sorted(set(seen) - set(TONGUE_ATTRIBUTES))]
    attributes = {}
    for name in order:
        if name in seen:
            usual = [v for v in TONGUE_ATTRIBUTES.get(name, ()) if v in seen[name]]
            attributes[name] = [*usual, *sorted(seen[name] - set(usual))]
    return attributes
