"""Records for Neo4j: CSV files for its bulk import, and an idempotent Cypher script.

    neo4j-admin database import full --nodes=nodes.csv --relationships=relationships.csv ...
    cypher-shell -f load.cypher

Nodes: Visit, Entity (and its label), Concept, Prescription, Herb. A prescription is a node of its
own, with the doses on its CONTAINS relationships, so that what was given together stays together.
"""

import csv
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from spacy_tcm.records.exports.common import (
    Record,
    best_code,
    concept,
    entity_id,
    is_fact,
    visit_id,
)

NODES, RELATIONSHIPS, SCRIPT = "nodes.csv", "relationships.csv", "load.cypher"
# Typed columns of each file, after those that Neo4j needs.
NODE_COLUMNS = {
    "name": "string",
    "text": "string",
    "system": "string",
    "code": "string",
    "start": "int",
    "end": "int",
    "score": "float",
    "section": "string",
    "negation": "string",
    "certainty": "string",
    "temporality": "string",
    "experiencer": "string",
    "count": "float",
    "route": "string",
    "regimen": "string",
}
RELATIONSHIP_COLUMNS = {
    "score": "float",
    "dose": "float",
    "unit": "string",
    "processing": "string",
    "footnote": "string",
}


class Node(NamedTuple):
    id: str
    labels: tuple[str, ...]
    properties: dict[str, Any]


class Relationship(NamedTuple):
    start: str
    type: str
    end: str
    properties: dict[str, Any]


def make_nodes(
    records: Iterable[Record], *, facts_only: bool = True
) -> Iterator[Node | Relationship]:
    """Nodes and relationships of all records, each node once, before what relates it.

    facts_only: without what a note denies, doubts, remembers, plans or says of the family.
    """
    seen: set[str] = set()
    for record in records:
        for item in _of_record(record, facts_only):
            if isinstance(item, Node):
                if item.id in seen:
                    continue
                seen.add(item.id)
            yield item


def _of_record(record: Record, facts_only: bool) -> Iterator[Node | Relationship]:
    visit = visit_id(record)
    yield Node(visit, ("Visit",), {"name": record["id"]})
    shown = {}
    for number, entity in enumerate(record["entities"]):
        if facts_only and not is_fact(entity):
            continue
        shown[number] = key = entity_id(record, number)
        known = {name: entity[name] for name in NODE_COLUMNS if entity.get(name) is not None}
        name = concept(entity)
        yield Node(key, ("Entity", entity["label"]), {"name": name, **known})
        yield Relationship(visit, "MENTIONS", key, {})
        code = best_code(entity) or {}
        about = f"{code.get('system', 'text')}:{code.get('code') or entity['label'] + ':' + name}"
        coded = {n: code[n] for n in ("system", "code") if code}
        yield Node(about, ("Concept",), {"name": name, **coded})
        yield Relationship(key, "INSTANCE_OF", about, {})
    for relation in record["relations"]:
        head, tail = relation["head"], relation["tail"]
        ends = [visit if end == "visit" else shown.get(end) for end in (head, tail)]
        if None not in ends:
            properties = {"score": relation["score"]}
            yield Relationship(str(ends[0]), relation["type"], str(ends[1]), properties)
    for number, found in enumerate(record["prescriptions"]):
        key = f"{visit}-prescription-{number}"
        given = {n: found[n] for n in ("count", "route", "regimen") if found[n] is not None}
        formula = (found["formula"] or {}).get("name")
        yield Node(key, ("Prescription",), {"name": formula, **given})
        yield Relationship(visit, "PRESCRIBED", key, {})
        for herb in found["herbs"]:
            yield Node(f"herb:{herb['name']}", ("Herb",), {"name": herb["name"]})
            doses = {n: herb[n] for n in RELATIONSHIP_COLUMNS if herb.get(n) is not None}
            if not isinstance(doses.get("dose", 0.0), int | float):
                doses.pop("dose")
            yield Relationship(key, "CONTAINS", f"herb:{herb['name']}", doses)


def write_csv(folder: Path, items: Iterable[Node | Relationship]) -> tuple[int, int]:
    """``nodes.csv`` and ``relationships.csv``. RETURNS: how many of each."""
    counts = [0, 0]
    with (
        (folder / NODES).open("w", encoding="utf-8", newline="") as nodes,
        (folder / RELATIONSHIPS).open("w", encoding="utf-8", newline="") as relationships,
    ):
        node_rows, relationship_rows = csv.writer(nodes), csv.writer(relationships)
        typed = [f"{name}:{kind}" for name, kind in NODE_COLUMNS.items()]
        node_rows.writerow([":ID", ":LABEL", *typed])
        typed = [f"{name}:{kind}" for name, kind in RELATIONSHIP_COLUMNS.items()]
        relationship_rows.writerow([":START_ID", ":TYPE", ":END_ID", *typed])
        for item in items:
            if isinstance(item, Node):
                values = [item.properties.get(name) for name in NODE_COLUMNS]
                node_rows.writerow([item.id, ";".join(item.labels), *values])
                counts[0] += 1
            else:
                values = [item.properties.get(name) for name in RELATIONSHIP_COLUMNS]
                relationship_rows.writerow([item.start, item.type, item.end, *values])
                counts[1] += 1
    return counts[0], counts[1]


def write_cypher(path: Path, items: Iterable[Node | Relationship]) -> None:
    """A script that can be run again and again: every statement is a MERGE by id."""
    with path.open("w", encoding="utf-8", newline="\n") as out:
        out.write("CREATE CONSTRAINT IF NOT EXISTS FOR (n:Node) REQUIRE n.id IS UNIQUE;\n")
        for item in items:
            out.write(to_cypher(item) + "\n")


def to_cypher(item: Node | Relationship) -> str:
    properties = {name: value for name, value in item.properties.items() if value is not None}
    pairs = ", ".join(f"{quote_name(name)}: {quote(v)}" for name, v in properties.items())
    if isinstance(item, Node):
        labels = "".join(f":{quote_name(label)}" for label in item.labels)
        return f"MERGE (n:Node {{id: {quote(item.id)}}}) SET n{labels}, n += {{{pairs}}};"
    return (
        f"MATCH (a:Node {{id: {quote(item.start)}}}), (b:Node {{id: {quote(item.end)}}}) "
        f"MERGE (a)-[r:{quote_name(item.type)}]->(b) SET r += {{{pairs}}};"
    )


def quote(value: Any) -> str:
    """A literal. Strings as JSON writes them in ASCII: Cypher has the same escapes, and no letter
    of a note can end the string or the line; beyond the basic plane, JSON's two halves are what
    Cypher wants too."""
    return json.dumps(value)


def quote_name(name: str) -> str:
    """A label, type or property: letters, digits and _ only, in backticks."""
    return "`" + re.sub(r"\W", "_", name) + "`"
