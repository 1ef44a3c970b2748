"""Trained pipelines that teach the entity recognizer of another."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy
import spacy
from spacy.language import Language
from spacy.tokens import Doc

from spacy_tcm.errors import Errors, ModelError
from spacy_tcm.tags import tag_names

if TYPE_CHECKING:
    from spacy_tcm.pipeline.multimodal_ner import MultimodalNER

# Posteriors kept for the next epoch, in tokens: about 0.2 GB with 23 labels.
KEPT_TOKENS = 1_000_000


class Teachers:
    """The mean of what several pipelines believe of each token."""

    def __init__(self, paths: Sequence[str | Path], labels: Sequence[str]):
        """labels: the student's. RAISES ModelError: a pipeline cannot be loaded or has no NER."""
        self.names = tag_names(labels)
        self.teachers = [_load(path) for path in paths]
        self._kept: dict[tuple[str, str | None], numpy.ndarray] = {}
        self._room = KEPT_TOKENS

    def posteriors(self, docs: Sequence[Doc]) -> list[numpy.ndarray]:
        """(tokens, tags) of each doc; each row sums to 1, or less where a teacher knows labels that
        the student does not.

        RAISES ModelError: a teacher cuts the text into other tokens.
        """
        keys = [(doc.text, _path(doc)) for doc in docs]
        new = {key: doc for key, doc in zip(keys, docs, strict=True) if key not in self._kept}
        found = dict(zip(new, self._predict(list(new.values())), strict=True))
        for key, array in found.items():
            if len(array) <= self._room:
                self._room -= len(array)
                self._kept[key] = array.astype("float16")
        return [(found[key] if key in found else self._kept[key]).astype("float32") for key in keys]

    def _predict(self, docs: Sequence[Doc]) -> list[numpy.ndarray]:
        total = [numpy.zeros((len(doc), len(self.names)), dtype="float32") for doc in docs]
        for nlp, name in self.teachers:
            ner = cast("MultimodalNER", nlp.get_pipe(name))
            column = {tag: i for i, tag in enumerate(tag_names(ner.labels))}
            shared = [i for i, tag in enumerate(self.names) if tag in column]
            columns = [column[self.names[i]] for i in shared]
            copies = [_copy(nlp, doc) for doc in docs]
            for before, pipe in nlp.pipeline:
                if before == name:
                    break
                copies = list(cast(Any, pipe).pipe(copies))
            for i, found in enumerate(ner.posteriors(copies)):
                if len(found) != len(docs[i]):
                    raise ModelError(Errors.E440.format(id=docs[i]._.record_id))
                total[i][:, shared] += found[:, columns] / len(self.teachers)
        return total


def _load(path: str | Path) -> tuple[Language, str]:
    """The pipeline and the name of its entity recognizer."""
    try:
        nlp = spacy.load(path)
    except (OSError, ValueError) as error:
        cause = type(error).__name__
        if not Path(path).exists():
            cause = "no such folder"
        elif not Path(path, "config.cfg").exists():
            cause = "it holds no config.cfg"
        raise ModelError(Errors.E441.format(path=path, cause=cause)) from None
    for name in nlp.pipe_names:
        if nlp.get_pipe_meta(name).factory == "multimodal_ner":
            return nlp, name
    raise ModelError(Errors.E441.format(path=path, cause="no multimodal_ner"))


def _copy(nlp: Language, doc: Doc) -> Doc:
    copy = nlp.make_doc(doc.text)
    copy._.tongue_image = doc._.tongue_image
    copy._.record_id = doc._.record_id
    return copy


def _path(doc: Doc) -> str | None:
    image = doc._.tongue_image
    return image if image is None or isinstance(image, str) else f"<{id(image)}>"
