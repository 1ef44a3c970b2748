"""Negation, certainty, temporality and experiencer of the entities."""

from collections.abc import Callable, Iterable
from pathlib import Path

from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example

from spacy_tcm.context.rules import ContextRules
from spacy_tcm.extensions import install_extensions, note_provenance
from spacy_tcm.pipeline.stored import Stored, StoringPipe, store_table


@Language.factory(
    "tcm_context",
    assigns=["span._.negation", "span._.certainty", "span._.temporality", "span._.experiencer"],
    requires=["doc.ents"],
)
def make_tcm_context(nlp: Language, name: str) -> "TCMContext":
    """Factory ``tcm_context``."""
    return TCMContext(name)


class TCMContext(StoringPipe):
    """Reads ``doc.ents`` and ``doc._.sections``; writes the four qualifiers of each entity.

    ``span._.negation``: "present", "absent" or "possible"; ``span._.certainty``: "certain" or
    "possible"; ``span._.temporality``: "current", "past" (before this illness or visit) or
    "future" (planned, or if needed); ``span._.experiencer``: "patient" or "family".

    Where ``tcm_sections`` did not run, the sections are looked for with the package's own table.
    """

    def __init__(self, name: str = "tcm_context"):
        install_extensions()
        self.name = name
        self.rules = ContextRules.from_path()

    def __call__(self, doc: Doc) -> Doc:
        entities = [(ent.start_char, ent.end_char, ent.label_) for ent in doc.ents]
        found = self.rules.read(doc.text, entities, doc._.sections or None)
        for ent, qualifiers in zip(doc.ents, found, strict=True):
            for name, value in qualifiers.items():
                ent._.set(name, value)
        note_provenance(doc, "qualifiers", self.name)
        return doc

    def initialize(
        self,
        get_examples: Callable[[], Iterable[Example]] | None = None,
        *,
        nlp: Language | None = None,
        context: str | Path | None = None,
    ) -> None:
        """context: a file of cues of your own, instead of ``resources/context.json``. It is stored
        in the pipeline. RAISES ModelError: it cannot be used."""
        self.rules = ContextRules.from_path(context)

    def stored(self) -> list[Stored]:
        # All keys of its objects are needed, too.
        return [store_table(self, "rules", ContextRules, "context.json", "context", depth=2)]
