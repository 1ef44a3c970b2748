"""The sections of a note: ``doc._.sections`` and ``span._.section``."""

from collections.abc import Callable, Iterable
from pathlib import Path

import srsly
from spacy.language import Language
from spacy.pipeline import Pipe
from spacy.tokens import Doc
from spacy.training import Example
from spacy.util import SimpleFrozenList, from_bytes, from_disk, to_bytes, to_disk

from spacy_tcm.extensions import install_extensions, note_provenance
from spacy_tcm.sections import SectionGrammar

SECTIONS_FILE = "sections.json"


@Language.factory("tcm_sections", assigns=["doc._.sections", "span._.section"])
def make_tcm_sections(nlp: Language, name: str) -> "TCMSections":
    """Factory ``tcm_sections``."""
    return TCMSections(name)


class TCMSections(Pipe):
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

    def to_disk(self, path: str | Path, *, exclude: Iterable[str] = SimpleFrozenList()) -> None:
        to_disk(path, {SECTIONS_FILE: lambda p: srsly.write_json(p, self.grammar.data)}, exclude)

    def from_disk(
        self, path: str | Path, *, exclude: Iterable[str] = SimpleFrozenList()
    ) -> "TCMSections":
        """RAISES ModelError: the sections there cannot be used."""
        setters = {SECTIONS_FILE: lambda p: self._set_grammar(SectionGrammar.from_path(p))}
        from_disk(path, setters, exclude)
        return self

    def to_bytes(self, *, exclude: Iterable[str] = SimpleFrozenList()) -> bytes:
        return to_bytes({"sections": lambda: srsly.json_dumps(self.grammar.data)}, exclude)

    def from_bytes(
        self, data: bytes, *, exclude: Iterable[str] = SimpleFrozenList()
    ) -> "TCMSections":
        setters = {"sections": lambda b: self._set_grammar(SectionGrammar(srsly.json_loads(b)))}
        from_bytes(data, setters, exclude)
        return self

    def _set_grammar(self, grammar: SectionGrammar) -> None:
        self.grammar = grammar
