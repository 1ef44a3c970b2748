"""Typed fields of the record: what text and photo say, with the evidence, and where they differ."""

from collections.abc import Callable, Iterable
from pathlib import Path

import srsly
from spacy.language import Language
from spacy.pipeline import Pipe
from spacy.tokens import Doc
from spacy.training import Example
from spacy.util import SimpleFrozenList, from_bytes, from_disk, to_bytes, to_disk

from spacy_tcm.errors import Errors, ModelError
from spacy_tcm.extensions import install_extensions
from spacy_tcm.fields.photo import join_photo
from spacy_tcm.fields.tongue import TongueGrammar

TONGUE_FILE = "tongue.json"


@Language.factory(
    "tcm_fields",
    assigns=["doc._.fields", "doc._.conflicts"],
    requires=["doc.ents"],
    default_config={"conflict_below": 0.2},
)
def make_tcm_fields(nlp: Language, name: str, conflict_below: float) -> "TCMFields":
    """Factory ``tcm_fields``. conflict_below: see :class:`TCMFields`."""
    return TCMFields(name, conflict_below=conflict_below)


class TCMFields(Pipe):
    """Reads ``doc.ents`` and ``doc._.tongue``; writes ``doc._.fields`` and ``doc._.conflicts``.

    So far the fields of the tongue: 舌象.舌色, 舌象.舌形, 舌象.苔色, 舌象.苔质.

    ``doc._.fields``: field id -> ``{"value": [...], "evidence", "start", "end", "source"}``, the
    evidence a piece of the text with its offsets in characters. source is "text"; "both", if the
    photo agrees; or "image", if only the photo tells. Then evidence, start and end are None, and
    there is its ``probability`` (of the least sure value, if several), and ``candidates``, if what
    the photo shows may be one of several values. What it shows beyond a text that mentions the
    field is under ``unmentioned``: ``[{"value", "probability"}]``. The photo never changes a value
    that the text gives, nor adds one that the text denies.

    ``doc._.conflicts``: one ``{"field", "text", "image", "evidence", "start", "end",
    "probability", "compatible"}`` for each attribute of the photo that most probably is another
    than the text says. text: those of its values that the attribute can speak of; image: what the
    photo shows, with its probability, or None if it shows none of them; compatible: the
    probability that it shows what the text says, which is below ``conflict_below``. What else it
    shows may be abstained from; but nothing conflicts with what is ``unfamiliar``.
    """

    def __init__(self, name: str = "tcm_fields", *, conflict_below: float = 0.2):
        """RAISES ModelError: conflict_below is not from 0 to 1."""
        if not isinstance(conflict_below, int | float) or not 0 <= conflict_below <= 1:
            raise ModelError(Errors.E462.format(name=name, value=conflict_below))
        install_extensions()
        self.name = name
        self.conflict_below = conflict_below
        self.tongue = TongueGrammar.from_path()

    def __call__(self, doc: Doc) -> Doc:
        spans = [(ent.start_char, ent.text) for ent in doc.ents if ent.label_ == "TONGUE"]
        photo = doc._.tongue
        doc._.fields, doc._.conflicts = join_photo(
            self.tongue,
            self.tongue.read(spans, doc.text),
            photo["attributes"] if photo["status"] == "ok" else {},
            self.conflict_below,
        )
        return doc

    def initialize(
        self,
        get_examples: Callable[[], Iterable[Example]] | None = None,
        *,
        nlp: Language | None = None,
        tongue: str | Path | None = None,
    ) -> None:
        """tongue: the file of a grammar of your own, instead of ``resources/tongue.json``. It is
        stored in the pipeline. RAISES ModelError: it cannot be used."""
        self.tongue = TongueGrammar.from_path(tongue)

    def to_disk(self, path: str | Path, *, exclude: Iterable[str] = SimpleFrozenList()) -> None:
        """The grammar; the settings are in the pipeline's config."""
        to_disk(path, {TONGUE_FILE: lambda p: srsly.write_json(p, self.tongue.data)}, exclude)

    def from_disk(
        self, path: str | Path, *, exclude: Iterable[str] = SimpleFrozenList()
    ) -> "TCMFields":
        """RAISES ModelError: the grammar there cannot be used."""
        from_disk(
            path, {TONGUE_FILE: lambda p: self._set_tongue(TongueGrammar.from_path(p))}, exclude
        )
        return self

    def to_bytes(self, *, exclude: Iterable[str] = SimpleFrozenList()) -> bytes:
        return to_bytes({"tongue": lambda: srsly.json_dumps(self.tongue.data)}, exclude)

    def from_bytes(
        self, data: bytes, *, exclude: Iterable[str] = SimpleFrozenList()
    ) -> "TCMFields":
        setters = {"tongue": lambda b: self._set_tongue(TongueGrammar(srsly.json_loads(b)))}
        from_bytes(data, setters, exclude)
        return self

    def _set_tongue(self, grammar: TongueGrammar) -> None:
        self.tongue = grammar
