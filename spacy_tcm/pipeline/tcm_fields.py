"""Typed fields of the record: what text and photo say, with the evidence, and where they differ."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example

from spacy_tcm.errors import Errors, ModelError
from spacy_tcm.extensions import install_extensions, note_provenance
from spacy_tcm.fields.definitions import merge, own_definitions, read_file
from spacy_tcm.fields.document import is_told, make_scene, read_fields
from spacy_tcm.fields.photo import join_photo
from spacy_tcm.fields.pulse import PulseGrammar
from spacy_tcm.fields.scene import Cues
from spacy_tcm.fields.tongue import TongueGrammar
from spacy_tcm.pipeline.stored import Stored, StoringPipe, store_table


@Language.factory(
    "tcm_fields",
    assigns=["doc._.fields", "doc._.conflicts"],
    requires=["doc.ents"],
    default_config={"conflict_below": 0.2},
)
def make_tcm_fields(nlp: Language, name: str, conflict_below: float) -> "TCMFields":
    """Factory ``tcm_fields``. conflict_below: see :class:`TCMFields`."""
    return TCMFields(name, conflict_below=conflict_below)


class TCMFields(StoringPipe):
    """Reads ``doc.ents`` and ``doc._.tongue``; writes ``doc._.fields`` and ``doc._.conflicts``.

    The fields are those of ``resources/fields.json`` and of the user. One that the text does not
    mention has no entry: it is never "no". Of several visits, the one that the note is of counts.

    ``doc._.fields``: field id -> ``{"value", "evidence", "start", "end", "source", "raw", "fuzzy",
    "rule", "confidence"}``, and where there are any ``unit``, ``candidates``, ``modifier``,
    ``mixed``, ``exclusive`` (an end of a range is not included), ``bins`` and ``parts`` (of the
    pulse). The
    evidence is a piece of the text with its offsets in characters; confidence is an order of how
    sure a value is, no probability. Of the tongue, source is "text"; "both", if the
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
        self.pulse = PulseGrammar.from_path()
        self._set_fields(own_definitions())

    def __call__(self, doc: Doc) -> Doc:
        photo = doc._.tongue
        scene = make_scene(doc, self.cues)
        tongue = [ent for ent in doc.ents if ent.label_ == "TONGUE" and is_told(ent)]
        visits = [scene.place(ent.start_char).visit for ent in tongue]
        if scene.has_full_visit and scene.current in visits:
            pairs = zip(tongue, visits, strict=True)
            tongue = [ent for ent, visit in pairs if visit == scene.current]
        of_tongue, doc._.conflicts = join_photo(
            self.tongue,
            self.tongue.read([(ent.start_char, ent.text) for ent in tongue], doc.text),
            photo["attributes"] if photo["status"] == "ok" else {},
            self.conflict_below,
        )
        doc._.fields = read_fields(doc, scene, self.fields["fields"], of_tongue, self.pulse)
        for part in ("fields", "conflicts"):
            note_provenance(doc, part, self.name)
        return doc

    def initialize(
        self,
        get_examples: Callable[[], Iterable[Example]] | None = None,
        *,
        nlp: Language | None = None,
        fields: str | Path | None = None,
        tongue: str | Path | None = None,
        pulse: str | Path | None = None,
    ) -> None:
        """The files are stored in the pipeline.

        fields: definitions of your own, JSON or YAML, added to ``resources/fields.json``; one of
            the same id replaces ours key by key.
        tongue, pulse: grammars of your own, instead of ``tongue.json`` and ``pulse.json`` there.
        RAISES ModelError: one cannot be used.
        """
        self.tongue = TongueGrammar.from_path(tongue)
        self.pulse = PulseGrammar.from_path(pulse)
        own = own_definitions()
        self._set_fields(own if fields is None else merge(own, read_file(fields), str(fields)))

    def stored(self) -> list[Stored]:
        """Grammars and definitions."""
        return [
            store_table(self, "tongue", TongueGrammar, "tongue.json", "tongue"),
            store_table(self, "pulse", PulseGrammar, "pulse.json", "pulse", optional=True),
            Stored(
                *("fields.json", "fields", lambda: self.fields, self._set_fields),
                read=read_file,
                optional=True,
            ),
        ]

    def _set_fields(self, definitions: dict[str, Any], source: str | None = None) -> None:
        self.fields = merge(definitions, {"fields": []}, source or "the definitions")
        self.cues = Cues(self.fields["cues"])
