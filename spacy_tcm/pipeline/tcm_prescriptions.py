"""Prescriptions: formula, herbs with doses, number of doses, route, regimen, and cautions."""

from collections.abc import Callable, Iterable
from pathlib import Path

from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example

from spacy_tcm.extensions import install_extensions, note_provenance
from spacy_tcm.pipeline.stored import Stored, StoringPipe, store_table
from spacy_tcm.prescriptions.cautions import Cautions
from spacy_tcm.prescriptions.grammar import PrescriptionGrammar

LABELS = ("FORMULA", "HERB", "DOSAGE", "DRUG")


@Language.factory(
    "tcm_prescriptions",
    assigns=["doc._.prescriptions", "doc._.drugs"],
    requires=["doc.ents"],
    default_config={"cautions": True},
)
def make_tcm_prescriptions(nlp: Language, name: str, cautions: bool) -> "TCMPrescriptions":
    """Factory ``tcm_prescriptions``. cautions: see :class:`TCMPrescriptions`."""
    return TCMPrescriptions(name, cautions=cautions)


class TCMPrescriptions(StoringPipe):
    """Reads FORMULA, HERB, DOSAGE and DRUG of ``doc.ents`` and the text between them; writes
    ``doc._.prescriptions`` and ``doc._.drugs``. **The warnings are no medical advice**: they point
    a pharmacist to what is to be looked up.

    ``doc._.prescriptions``: a list in text order of

    - ``formula``: ``{"name", "base": [...], "modification": [...], "start", "end"}`` or None, the
      base the formulas' names without 加减, 化裁 and the like, which are in modification, with 合
      if there are several; ``previous``: whether it changes an earlier prescription (守上方去…加…);
    - ``herbs``: ``{"name", "processing", "text", "start", "end", "dose", "unit", "dose_text",
      "grams", "footnote", "action", "known"}`` each. name: the one in use; dose: a number of the
      unit as written (g for 克, and for a bare number, which ``unit_implied`` tells), or None
      (少许, or not stated); ``dose_high``: the upper end of 6~10g; grams: the dose in g,
      by the modern convention 1钱 = 3 g, 1两 = 30 g, or None; action: "add", "change" or None;
      known: whether the name was found. A joined name (生龙牡) gives several herbs of one span;
    - ``removed``: the herbs that are taken out (去柴胡), likewise;
    - ``conditional``: the herbs that are to be added, changed or taken out ("remove") only if
      something is so (若咳甚加杏仁), likewise, with the words of the ``condition`` (若咳甚): they
      are no part of the prescription, and nothing is warned of them;
    - ``count``: number of doses (7剂) or None; ``route``: "oral", "topical", "rectal",
      "nasogastric", "gargle", "nasal", "eye", "inhaled" or None; ``regimen``: the words on
      preparation and intake, joined by ，, or None; ``start``, ``end``: characters;
    - ``warnings``: see :meth:`Cautions.check`.

    ``doc._.drugs``: ``{"text", "start", "end", "dose", "unit", "dose_text"}`` for each DRUG, with
    the DOSAGE entities after it: western and patent medicines are never herbs of a prescription.
    """

    def __init__(self, name: str = "tcm_prescriptions", *, cautions: bool = True):
        """cautions: whether warnings are given."""
        install_extensions()
        self.name = name
        self.with_cautions = cautions
        self.grammar = PrescriptionGrammar.from_path()
        self.cautions = Cautions.from_path()

    def __call__(self, doc: Doc) -> Doc:
        spans = [(e.start_char, e.end_char, e.label_) for e in doc.ents if e.label_ in LABELS]
        found = self.grammar.read(spans, doc.text)
        if self.with_cautions and found:
            pregnant = self.cautions.find_pregnancy(doc.text)
            for prescription in found:
                prescription["warnings"] = self.cautions.check(prescription, pregnant)
        doc._.prescriptions = found
        doc._.drugs = self.grammar.read_drugs(spans, doc.text)
        for part in ("prescriptions", "drugs"):
            note_provenance(doc, part, self.name)
        return doc

    def initialize(
        self,
        get_examples: Callable[[], Iterable[Example]] | None = None,
        *,
        nlp: Language | None = None,
        words: str | Path | None = None,
        cautions: str | Path | None = None,
    ) -> None:
        """words, cautions: files of your own, instead of ``resources/prescriptions.json`` and
        ``resources/cautions.json``. They are stored in the pipeline. RAISES ModelError: one of
        them cannot be used."""
        self.grammar = PrescriptionGrammar.from_path(words)
        self.cautions = Cautions.from_path(cautions)

    def stored(self) -> list[Stored]:
        return [
            store_table(self, "grammar", PrescriptionGrammar, "prescriptions.json", "words"),
            store_table(self, "cautions", Cautions, "cautions.json", "cautions"),
        ]
