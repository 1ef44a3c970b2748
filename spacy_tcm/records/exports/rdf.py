"""Records as RDF: Turtle, N-Triples and JSON-LD, with SHACL shapes to check them by."""

from collections.abc import Iterable
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from spacy_tcm.errors import Errors, ModelError
from spacy_tcm.records.exports.common import (
    BASE,
    Record,
    best_code,
    concept,
    entity_id,
    is_fact,
    visit_id,
)

if TYPE_CHECKING:
    from rdflib import Graph

TERMS = BASE + "terms#"  # classes and properties
DATA = BASE + "data/"  # visits, entities, ...
PROV = "http://www.w3.org/ns/prov#"
FORMATS = {"turtle": "ttl", "nt": "nt", "json-ld": "jsonld"}
QUALIFIERS = ("negation", "certainty", "temporality", "experiencer")

CONTEXT: dict[str, Any] = {
    "tcm": TERMS,
    "data": DATA,
    "prov": PROV,
    "rdfs": "http://www.w3.org/2000/01/rdf-schema#",
    "xsd": "http://www.w3.org/2001/XMLSchema#",
}


def make_graph(records: Iterable[Record], *, facts_only: bool = False) -> "Graph":
    """All of them in one graph. A visit tcm:hasEntity what its note names, each with label, text,
    offsets, qualifiers, and its concept; what relates two entities, or the visit and one, is a
    property; a prescription has ingredients as nodes of their own.

    facts_only: without what the note denies, doubts, remembers, plans or says of the family.
    RAISES ModelError: rdflib is not there.
    """
    try:
        from rdflib import Graph
    except ModuleNotFoundError as error:
        raise ModelError(Errors.E590.format(package=error.name)) from None
    graph = Graph()
    for prefix, iri in CONTEXT.items():
        graph.bind(prefix, iri)
    for record in records:
        _Visit(graph, record, facts_only).add()
    return graph


def to_text(graph: "Graph", form: str) -> str:
    """form: one of FORMATS. In an order that is the same for the same graph."""
    if form == "nt":
        return "".join(sorted(graph.serialize(format="nt").splitlines(keepends=True)))
    if form == "json-ld":
        return graph.serialize(format="json-ld", context=CONTEXT, use_native_types=False)
    return graph.serialize(format=form)


def read_shapes() -> str:
    """The SHACL shapes of `make_graph`, in Turtle."""
    path = files("spacy_tcm") / "records" / "exports" / "shapes.ttl"
    return path.read_text(encoding="utf8")


def validate_graph(graph: "Graph") -> None:
    """By pyshacl. RAISES ModelError: it is not there, or a node is not as `read_shapes` wants; the
    message names the property, no values."""
    try:
        from pyshacl import validate
    except ModuleNotFoundError as error:
        raise ModelError(Errors.E590.format(package=error.name)) from None
    from rdflib import Graph
    from rdflib.namespace import SH

    shapes = Graph().parse(data=read_shapes(), format="turtle")
    conforms, report, _ = validate(graph, shacl_graph=shapes)
    if not conforms:
        node = next(report.subjects(SH.resultPath), None)
        path = report.value(node, SH.resultPath)
        cause = report.value(node, SH.sourceConstraintComponent)
        raise ModelError(Errors.E588.format(path=path, cause=str(cause).rpartition("#")[2]))


class _Visit:
    def __init__(self, graph: "Graph", record: Record, facts_only: bool):
        from rdflib import Namespace

        self.graph, self.record = graph, record
        self.terms, self.data, self.prov = Namespace(TERMS), Namespace(DATA), Namespace(PROV)
        self.visit = self.data[visit_id(record)]
        self.shown = [not facts_only or is_fact(e) for e in record["entities"]]

    def add(self) -> None:
        from rdflib import RDF

        self._set(self.visit, RDF.type, self.terms.Visit)
        self._tell(self.visit, "recordId", self.record["id"])
        for number, shown in enumerate(self.shown):
            if shown:
                self._add_entity(number)
        for relation in self.record["relations"]:
            self._relate(relation)
        for field, found in self.record["fields"].items():
            self._add_field(field, found)
        for number, prescription in enumerate(self.record["prescriptions"]):
            self._add_prescription(number, prescription)

    def _set(self, subject: Any, name: Any, value: Any) -> None:
        self.graph.add((subject, name, value))

    def _tell(self, subject: Any, name: str, value: Any) -> None:
        """A literal, if there is something to tell."""
        from rdflib import Literal

        if value is not None and value != "":
            self._set(subject, self.terms[name], Literal(value))

    def _node(self, number: int | str) -> Any:
        return self.visit if number == "visit" else self.data[entity_id(self.record, int(number))]

    def _add_entity(self, number: int) -> None:
        from rdflib import RDF, RDFS, Literal, URIRef

        entity, node = self.record["entities"][number], self._node(number)
        self._set(node, RDF.type, self.terms.Entity)
        self._set(node, RDF.type, self.terms[entity["label"]])
        self._set(self.visit, self.terms.hasEntity, node)
        for name in ("text", "start", "end", "score", "section", *QUALIFIERS):
            self._tell(node, name, entity[name])
        code = best_code(entity)
        name = concept(entity)
        iri = f"code/{code['system']}/{code['code']}" if code else f"term/{entity['label']}/{name}"
        about = URIRef(DATA + _quoted(iri))
        self._set(about, RDF.type, self.terms.Concept)
        self._set(about, RDFS.label, Literal(name, lang="zh"))
        self._set(node, self.terms.concept, about)
        component = entity["provenance"]["component"]
        if component:
            agent = URIRef(DATA + _quoted(f"component/{component}"))
            self._set(node, self.prov.wasAttributedTo, agent)

    def _relate(self, relation: Any) -> None:
        ends = relation["head"], relation["tail"]
        if all(end == "visit" or self.shown[end] for end in ends):
            head, tail = map(self._node, ends)
            self._set(head, self.terms[relation["type"]], tail)

    def _add_field(self, field: str, found: Any) -> None:
        from rdflib import RDF, URIRef

        node = URIRef(DATA + _quoted(f"{visit_id(self.record)}-field-{field}"))
        self._set(node, RDF.type, self.terms.Field)
        self._set(self.visit, self.terms.hasField, node)
        self._tell(node, "field", field)
        value = found["value"]
        if isinstance(value, list) and any(not isinstance(item, str) for item in value):
            for name, item in zip(("low", "high"), value, strict=False):
                self._tell(node, name, item)
        else:
            for item in value if isinstance(value, list) else [value]:
                self._tell(node, "value", item)
        for name in ("unit", "evidence", "source", "start", "end"):
            self._tell(node, name, found.get(name))

    def _add_prescription(self, number: int, found: Any) -> None:
        from rdflib import RDF

        node = self.data[f"{visit_id(self.record)}-prescription-{number}"]
        self._set(node, RDF.type, self.terms.Prescription)
        self._set(self.visit, self.terms.hasPrescription, node)
        self._tell(node, "formula", (found["formula"] or {}).get("name"))
        for name in ("count", "route", "regimen"):
            self._tell(node, name, found[name])
        for k, herb in enumerate(found["herbs"]):
            part = self.data[f"{visit_id(self.record)}-prescription-{number}-{k}"]
            self._set(part, RDF.type, self.terms.Ingredient)
            self._set(node, self.terms.hasIngredient, part)
            for name in ("name", "dose", "unit", "processing", "footnote"):
                self._tell(part, name, herb.get(name))


def _quoted(path: str) -> str:
    from urllib.parse import quote

    return quote(path, safe="/-._~")
