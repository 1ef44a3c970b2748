"""Links entities to codes and preferred terms."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example

from spacy_tcm.errors import Errors, ModelError
from spacy_tcm.extensions import install_extensions, note_provenance
from spacy_tcm.linking import CodeTables, best_id, read_code_table
from spacy_tcm.pipeline.stored import Stored, StoringPipe


@Language.factory(
    "tcm_linker",
    assigns=["span._.codes", "doc.ents"],
    requires=["doc.ents"],
    default_config={"fuzzy_above": 85.0},
)
def make_tcm_linker(nlp: Language, name: str, fuzzy_above: float) -> "TCMLinker":
    """Factory ``tcm_linker``. fuzzy_above: see :class:`TCMLinker`."""
    return TCMLinker(name, fuzzy_above=fuzzy_above)


class TCMLinker(StoringPipe):
    """Reads ``doc.ents``; writes ``span._.codes`` (see :meth:`CodeTables.link`) and
    ``ent.kb_id_``: ``system:code`` of the best code, "" where nothing or several things fit, or a
    term is only similar.

    method: "exact" (a preferred term), "alias" (another name of it), "normalised" (width,
    traditional characters, 证/症/型, 加减, processing), "fuzzy" (similar enough, and no character
    differs that a meaning turns on). A term without a verified code has the project's own id, of
    the system "spacy_tcm". Entities of times, values, doses and other attributes are not linked,
    nor those of tongue and pulse, which ``tcm_fields`` reads.
    """

    def __init__(self, name: str = "tcm_linker", *, fuzzy_above: float = 85.0):
        """fuzzy_above: the similarity, 0 to 100, from which a term may be meant; above 100 nothing
        is linked so. RAISES ModelError: it is no such number."""
        valid = isinstance(fuzzy_above, int | float) and 0 <= fuzzy_above <= 101
        if not valid or isinstance(fuzzy_above, bool):
            raise ModelError(Errors.E632.format(name=name, value=fuzzy_above))
        install_extensions()
        self.name = name
        self.tables = CodeTables(fuzzy_above=fuzzy_above)

    def __call__(self, doc: Doc) -> Doc:
        for ent in doc.ents:
            codes = self.tables.link(ent.label_, ent.text)
            ent._.codes = codes
            best = best_id(codes)
            for token in ent:
                token.ent_kb_id_ = best
        note_provenance(doc, "codes", self.name)
        return doc

    def add_codes(self, rows: Iterable[dict[str, str]]) -> None:
        """Merge rows of a code table: see :class:`CodeTables`. RAISES ModelError: one is not
        well-formed."""
        rows = [*self.tables.user_rows, *rows]
        self.tables = CodeTables(rows, self.tables.fuzzy_above)

    def initialize(
        self,
        get_examples: Callable[[], Iterable[Example]] | None = None,
        *,
        nlp: Language | None = None,
        tables: str | Path | Sequence[str | Path] = (),
    ) -> None:
        """tables: files with the columns system, code, term, aliases (joined by |) and label. They
        are merged with ours, win, and are stored in the pipeline. RAISES ModelError: one cannot be
        used."""
        paths = [tables] if isinstance(tables, str | Path) else tables
        rows = [row for path in paths for row in read_code_table(path)]
        self.tables = CodeTables(rows, self.tables.fuzzy_above)

    def stored(self) -> list[Stored]:
        """The user's codes."""
        return [Stored("user_codes.json", "codes", lambda: self.tables.user_rows, self._set)]

    def _set(self, rows: list[dict[str, str]], source: str | None = None) -> None:
        self.tables = CodeTables(rows, self.tables.fuzzy_above)
