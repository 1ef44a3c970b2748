"""The sections of a note: ``doc._.sections`` and ``span._.section``."""

from collections.abc import Callable, Iterable
from pathlib import Path

from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example

from spacy_tcm.extensions import install_extensions, note_provenance
from spacy_tcm.pipeline.stored import Stored, StoringPipe, store_table
from spacy_tcm.sections import SectionGrammar


@Language.factory("tcm_sections", assigns=["doc._.sections", "span._.section"])
def make_tcm_sections(nlp: Language, name: str) -> "TCMSections":
    """Factory ``tcm_sections``."""
    return TCMSections(name)


class TCMSections(StoringPipe):
    """Reads the text alone; writes ``doc._.sections``, of which ``span._.section`` tells.

    ``doc._.sections``: list of ``{"id", "start", "end", "header_start", "header_end", "kind"}``
    in characters, see :meth:`SectionGrammar.find`. ids: ``spacy_tcm.sections.SECTION_IDS``.
    """

    def __init__(self, name: str = "tcm_sections"):
        install_extensions()
        self.name = name
        self.grammar = SectionGrammar.from_path()

    def __call__(self, doc: Doc) -> Doc:
        doc._.sections = self.grammar.find(doc.text)
        note_provenance(doc, "sections", self.name)
        return doc

    def initialize(
        self,
        get_examples: Callable[[], Iterable[Example]] | None = None,
        *,
        nlp: Language | None = None,
        sections: str | Path | None = None,
    ) -> None:
        """sections: a file of your own, instead of ``resources/sections.json``. It is stored in
        the pipeline. RAISES ModelError: it cannot be used."""
        self.grammar = SectionGrammar.from_path(sections)

    def stored(self) -> list[Stored]:
        return [store_table(self, "grammar", SectionGrammar, "sections.json", "sections")]
