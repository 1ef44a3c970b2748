"""Relations between entities, by rules: what a finding is like, what a formula holds."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal

from spacy.language import Language
from spacy.tokens import Doc, Span
from spacy.training import Example

from spacy_tcm.errors import Errors, ModelError
from spacy_tcm.extensions import install_extensions, note_provenance
from spacy_tcm.pipeline.stored import Stored, StoringPipe, store_table
from spacy_tcm.relations import Mention, RelationRules

# Of an entity, what would make a relation untrue of this patient now; None, it was not looked at.
PLAIN = {
    "negation": ("present", "possible", None),
    "temporality": ("current", None),
    "experiencer": ("patient", None),
}
# The sections that a note begins with, and those that come after its findings.
OPENING = ("general", "chief_complaint")
CLOSING = (
    *("tcm_diagnosis", "wm_diagnosis", "diagnosis", "syndrome", "treatment_principle"),
    *("prescription", "advice", "signature"),
)
PROPERTIES = ("dose", "unit", "processing", "footnote")


@Language.factory(
    "tcm_relations",
    assigns=["doc._.relations"],
    requires=["doc.ents"],
    default_config={"polarity": "exclude"},
)
def make_tcm_relations(
    nlp: Language, name: str, polarity: Literal["exclude", "keep"]
) -> "TCMRelations":
    """Factory ``tcm_relations``. polarity: see :class:`TCMRelations`."""
    return TCMRelations(name, polarity=polarity)


class TCMRelations(StoringPipe):
    """Reads ``doc.ents``, with what ``tcm_context``, ``tcm_sections`` and the prescriptions say of
    them, if they ran; writes ``doc._.relations``.

    ``doc._.relations``: list of ``{"type", "head", "tail", "score", "rule"}``. head and tail are
    numbers of entities in ``doc.ents``, head may be "visit". rule says how they were found, and
    score ranks these ways, from 0 to 1: it is no probability. Types: HAS_SYMPTOM, HAS_SIGN,
    HAS_TONGUE, HAS_PULSE, DIAGNOSED_AS (visit -> entity); LOCATED_AT, HAS_QUALITY, HAS_SEVERITY,
    HAS_FREQUENCY, HAS_DURATION, HAS_TRIGGER (finding -> what is told of it); MEASURED_AS (test or
    finding -> value); DIFFERENTIATED_AS (disease -> syndrome); MANIFESTS_AS, CAUSED_BY,
    TREATED_BY_PRINCIPLE, PRESCRIBED (syndrome -> finding, pathogenesis, principle, formula: of the
    same numbered item, if a syndrome stands there, else of the same visit, where findings go with
    the next diagnosis and treatment with the last); CONTAINS (formula -> herb, with ``properties``
    dose, unit, processing, footnote); HAS_DOSAGE; NEEDLED_AT (procedure -> point). Where
    ``tcm_prescriptions`` ran, ``doc._.prescriptions`` tells which formula holds a herb, and no dose
    belongs to another prescription.

    polarity: "exclude": no relation of an entity that is absent, past, planned or of the family.
    "keep": they are there, with ``polarity``, of both ends what is not plain:
    ``{"tail": {"negation": "absent"}}``. What is possible counts as present.
    """

    def __init__(self, name: str = "tcm_relations", *, polarity: str = "exclude"):
        """RAISES ModelError: polarity is neither."""
        if polarity not in ("exclude", "keep"):
            raise ModelError(Errors.E641.format(name=name, value=polarity))
        install_extensions()
        self.name = name
        self.polarity = polarity
        self.rules = RelationRules.from_path()

    def __call__(self, doc: Doc) -> Doc:
        ents = list(doc.ents)
        mentions = [Mention(ent.start_char, ent.end_char, ent.label_) for ent in ents]
        known = doc._.prescriptions if "prescriptions" in doc._.provenance else None
        herbs = _read_herbs(doc)
        not_plain = [_read_polarity(ent) for ent in ents]
        doc._.relations = relations = []
        for found in self.rules.find(doc.text, mentions, _read_visits(doc), known):
            ends = {"tail": not_plain[found.tail]}
            if isinstance(found.head, int):
                ends = {"head": not_plain[found.head], **ends}
            polarity = {end: values for end, values in ends.items() if values}
            if polarity and self.polarity == "exclude":
                continue
            relation: dict[str, Any] = {
                "type": found.type,
                "head": found.head,
                "tail": found.tail,
                "score": self.rules.scores[found.rule],
                "rule": found.rule,
            }
            if polarity:
                relation["polarity"] = polarity
            if found.type == "CONTAINS" and mentions[found.tail].start in herbs:
                relation["properties"] = herbs[mentions[found.tail].start]
            relations.append(relation)
        note_provenance(doc, "relations", self.name)
        return doc

    def initialize(
        self,
        get_examples: Callable[[], Iterable[Example]] | None = None,
        *,
        nlp: Language | None = None,
        rules: str | Path | None = None,
    ) -> None:
        """rules: the file of rules of your own, instead of ``resources/relations.json``. It is
        stored in the pipeline. RAISES ModelError: it cannot be used."""
        self.rules = RelationRules.from_path(rules)

    def stored(self) -> list[Stored]:
        return [store_table(self, "rules", RelationRules, "relations.json", "rules")]


def _read_visits(doc: Doc) -> list[int]:
    """Where later visits begin: a follow-up, or the head of another note after an end of one."""
    starts, ended = [], False
    for section in doc._.sections:
        # One without a header goes on after another.
        headed = section["header_end"] > section["start"]
        opens = section["id"] in OPENING and section["kind"] == "header" and ended
        if headed and (section["id"] == "follow_up" or opens):
            starts.append(section["start"])
            ended = False
        ended = ended or section["id"] in CLOSING
    return starts


def _read_polarity(ent: Span) -> dict[str, str]:
    found = {name: ent._.get(name) for name in PLAIN}
    return {name: value for name, value in found.items() if value not in PLAIN[name]}


def _read_herbs(doc: Doc) -> dict[int, dict[str, Any]]:
    """First character of a herb -> what its prescription says of it."""
    return {
        herb["start"]: {name: herb.get(name) for name in PROPERTIES}
        for prescription in doc._.prescriptions
        for herb in prescription["herbs"]
    }
