"""De-identification: who the patient is does not leave the front of the pipeline."""

from collections.abc import Callable, Iterable
from pathlib import Path

from spacy.language import Language
from spacy.tokenizer import Tokenizer
from spacy.tokens import Doc, Span
from spacy.training import Example
from spacy.util import filter_spans

from spacy_tcm.deid.find import IdentifierFinder, count_kinds
from spacy_tcm.deid.replace import Deidentified, Deidentifier, OffsetMap, read_key
from spacy_tcm.extensions import install_extensions
from spacy_tcm.pipeline.stored import Stored, StoringPipe, store_table


@Language.factory(
    "tcm_deid",
    assigns=["doc._.deid"],
    default_config={"action": "placeholder", "replace": False, "key_file": None},
)
def make_tcm_deid(
    nlp: Language, name: str, action: str, replace: bool, key_file: str | None
) -> "TCMDeid":
    """Factory ``tcm_deid``. action, replace, key_file: see :class:`TCMDeid`."""
    return TCMDeid(nlp.tokenizer, name, action=action, replace=replace, key_file=key_file)


class TCMDeid(StoringPipe):
    """Finds identifiers in the text; writes ``doc._.deid``. It has to be the first component.

    ``doc._.deid``: ``{"action", "replaced", "counts": {kind: count}, "items": [{"kind", "start",
    "end"}]}``, the items in order with offsets in characters; never the values. With ``replace``
    the component returns another Doc, of the masked copy, so that what comes after it never sees
    the text that went in, and the items have ``new_start`` and ``new_end``, too: those are of
    ``doc.text``, start and end of the text that went in. See `get_offset_map`.

    The other Doc keeps the context, the custom attributes, ``tongue_image`` and ``record_id`` among
    them, and the entities. Of what else stood in the Doc, only what has no place in the text is
    kept. Record ids and names of photos are not looked at: give none that tell who it is.

    action, key_file: see :class:`~spacy_tcm.deid.replace.Deidentifier`; the key is read from the
    file whenever the component is made, and is never saved. The patient is ``doc._.patient_id``, or
    else ``doc._.record_id``.
    """

    def __init__(
        self,
        tokenizer: Tokenizer | Callable[[str], Doc],
        name: str = "tcm_deid",
        *,
        action: str = "placeholder",
        replace: bool = False,
        key_file: str | Path | None = None,
    ):
        """RAISES ModelError: there is no such action, or the key cannot be used."""
        install_extensions()
        self.name = name
        self.replace = replace
        self._tokenizer = tokenizer
        key = None if key_file is None else read_key(key_file)
        self.deidentifier = Deidentifier(IdentifierFinder.from_path(), action, key)

    def deidentify(self, doc: Doc | str) -> Deidentified:
        """The masked copy of a Doc's text, or of a text, with its offsets; nothing is changed."""
        if isinstance(doc, str):
            return self.deidentifier(doc)
        patient = doc._.record_id if doc._.patient_id is None else doc._.patient_id
        return self.deidentifier(doc.text, None if patient is None else str(patient))

    def __call__(self, doc: Doc) -> Doc:
        if not self.replace:
            found = self.deidentifier.finder.find(doc.text)
            items = [{"kind": x.kind, "start": x.start, "end": x.end} for x in found]
            doc._.deid = self._report(count_kinds(found), items)
            return doc
        result = self.deidentify(doc)
        new = self._tokenizer(result.text)
        _carry_over(doc, new, result.map)
        new._.deid = self._report(result.counts, [piece._asdict() for piece in result.map.pieces])
        return new

    def _report(self, counts: dict[str, int], items: list[dict]) -> dict:
        return {
            "action": self.deidentifier.action,
            "replaced": self.replace,
            "counts": counts,
            "items": items,
        }

    def initialize(
        self,
        get_examples: Callable[[], Iterable[Example]] | None = None,
        *,
        nlp: Language | None = None,
        table: str | Path | None = None,
    ) -> None:
        """table: the file of a table of your own, instead of ``resources/deid.json``. It is stored
        in the pipeline. RAISES ModelError: it cannot be used."""
        self.deidentifier.finder = IdentifierFinder.from_path(table)

    def stored(self) -> list[Stored]:
        """The table; the key is nowhere."""
        return [store_table(self.deidentifier, "finder", IdentifierFinder, "deid.json", "table")]


def get_offset_map(doc: Doc) -> OffsetMap:
    """Between the text that went into a pipeline whose ``tcm_deid`` replaces, and ``doc.text``:
    ``get_offset_map(doc).to_old(ent.start_char, ent.end_char)``. Maps nothing for other Docs."""
    if not doc._.deid or not doc._.deid["replaced"]:
        return OffsetMap()
    names = ("kind", "start", "end", "new_start", "new_end")
    return OffsetMap([item[name] for name in names] for item in doc._.deid["items"])


def _carry_over(old: Doc, new: Doc, offsets: OffsetMap) -> None:
    """What holds for another text as well."""
    new._context = old._context
    new.cats = dict(old.cats)
    for key, value in old.user_data.items():
        of_a_span = isinstance(key, tuple) and len(key) == 4 and key[2] is not None
        if not of_a_span and key not in new.user_data:
            new.user_data[key] = value
    ents: list[Span] = []
    for ent in old.ents:
        start, end = offsets.to_new(ent.start_char, ent.end_char)
        span = new.char_span(start, end, label=ent.label_, alignment_mode="expand")
        if span is not None:
            ents.append(span)
    new.set_ents(filter_spans(ents))
