"""Hands the photo features of the ``tongue_encoder`` to a component further down."""

from collections.abc import Callable
from typing import Any

from spacy.tokens import Doc
from thinc.api import Model

from spacy_tcm.errors import Errors, ModelError, Warnings, warn_once
from spacy_tcm.types import PhotoInfo, TongueFeatures


class TongueListener(Model):
    """Like spaCy's ``Tok2VecListener``: in training it is sent the encoder's output and sends
    back the gradient; else it reads what the encoder left on the docs."""

    def __init__(self, upstream: str, width: int):
        super().__init__("tongue_listener", _forward, dims={"nO": width})
        self.upstream_name = upstream
        self.forget()

    def forget(self) -> None:
        """Drop what was sent, so that the next call reads the docs."""
        self._docs: list[Doc] | None = None
        self._features: TongueFeatures | None = None
        self._backprop: Callable[[Any], list[Doc]] = _no_gradient

    def receive(self, docs: list[Doc], features: TongueFeatures, backprop) -> None:
        """Called by the encoder's update with the batch that this listener will be given next."""
        self._docs, self._features, self._backprop = docs, features, backprop


def build_tongue_listener(width: int, upstream: str = "*") -> Model[list[Doc], TongueFeatures]:
    """Architecture ``spacy_tcm.TongueListener.v1``.

    width: of the encoder's region vectors. upstream: name of the encoder component, ``"*"`` any.
    """
    return TongueListener(upstream, width)


def _forward(model: TongueListener, docs: list[Doc], is_train: bool):
    if is_train and model._docs is not None:
        sent, features, backprop_encoder = model._docs, model._features, model._backprop
        if len(sent) != len(docs) or any(a is not b for a, b in zip(sent, docs, strict=True)):
            raise ModelError(Errors.E405.format(name=model.upstream_name))

        def backprop(d_features):
            model.forget()
            return backprop_encoder(d_features)

        return features, backprop
    found = [doc._.tongue_data for doc in docs]
    info = []
    for doc, data in zip(docs, found, strict=True):
        tongue = doc._.tongue
        if tongue["status"] == "not_run":
            if is_train:
                raise ModelError(Errors.E406.format(id=doc._.record_id))
            warn_once(Warnings.W402)
        info.append(
            PhotoInfo("ok" if data is not None else tongue["status"], tuple(tongue["reasons"]))
        )
    ops, width = model.ops, model.get_dim("nO")
    n_regions = max((len(data) for data in found if data is not None), default=1)
    regions: Any = ops.alloc3f(len(docs), n_regions, width)
    for i, data in enumerate(found):
        if data is not None:
            regions[i] = ops.asarray(data)
    present = ops.xp.asarray([data is not None for data in found], dtype=bool)
    read = TongueFeatures(regions, present, ops.alloc2f(len(docs), 0), info)
    return read, _no_gradient


def _no_gradient(d_features: Any) -> list[Doc]:
    return []
