"""Each export is read back, or checked, by a library that is not ours."""

import csv
import json
from datetime import datetime, timezone

import jsonschema
import pytest
import rdflib
import rdflib.compare
import spacy
from fhir.resources.R4B.bundle import Bundle
from pyarrow import parquet
from spacy.tokens import DocBin

from spacy_tcm.errors import ModelError, RecordError
from spacy_tcm.fields.definitions import own_definitions
from spacy_tcm.record import make_record, read_schema
from spacy_tcm.records.exports import annotations, common, fhir, neo4j, rdf, tables
from spacy_tcm.records.exports.write import FORMATS, write_export
from spacy_tcm.training.conversion import TOOLS, convert_annotations

ENTITY = {"start": 0, "end": 2, "label": "SYMPTOM", "text": "便血", "codes": []}
ENTITY |= {"negation": None, "provenance": {}}
WHOLE = {
    **{"schema_version": "1.0", "text": "便血", "fields": {}, "entities": [ENTITY]},
    **{name: [] for name in ("relations", "prescriptions", "conflicts", "sections")},
}
NOW = datetime(2024, 5, 1, 12, tzinfo=timezone.utc)


def test_the_example_is_a_record(record):
    jsonschema.validate(record, read_schema())


@pytest.mark.parametrize("form", FORMATS)
def test_all_formats_are_written_and_always_the_same(folder, tmp_path, form):
    def contents(out):
        made = write_export(folder, out, form, everything=True, check=True)
        assert all(path.exists() for path in made)
        files = sorted(path for path in out.rglob("*") if path.is_file())
        return {path.relative_to(out): path.read_bytes() for path in files}

    first = contents(tmp_path / "a")
    assert first
    assert first == contents(tmp_path / "b")


def test_what_is_no_record_is_refused(tmp_path):
    with pytest.raises(RecordError, match="E580"):
        list(common.read_records(tmp_path))
    broken = {
        "schema_version": "1.0",
        "text": "便血",
        "entities": None,
        "fields": {},
        "relations": [],
    }
    outside = [{**ENTITY, "end": 99}]
    for line in (
        *("{", "[]", '{"text": "便血"}', json.dumps(broken)),
        *(
            json.dumps({**WHOLE, **wrong})
            for wrong in ({"schema_version": "0.2"}, {"entities": outside})
        ),
    ):
        (tmp_path / "records.jsonl").write_text("\n" + line, encoding="utf-8")
        with pytest.raises(RecordError, match="Line 2") as caught:
            list(common.read_records(tmp_path))
        assert "便血" not in str(caught.value)
    (tmp_path / "records.jsonl").write_text(json.dumps(WHOLE), encoding="utf-8")
    assert list(common.read_records(tmp_path)) == [WHOLE]


# FHIR


def resources(bundle, kind):
    entries = [entry["resource"] for entry in bundle["entry"]]
    return [resource for resource in entries if resource["resourceType"] == kind]


def test_fhir_says_what_the_record_says(record):
    made = fhir.make_bundle(record, NOW)
    bundle = json.loads(Bundle.model_validate(made).model_dump_json())
    observed = {o["code"]["text"]: o for o in resources(bundle, "Observation")}
    assert observed["便血"]["valueBoolean"] is True
    assert observed["发热"]["valueBoolean"] is False
    (temperature,) = (
        o
        for o in resources(bundle, "Observation")
        if o["code"].get("coding", [{}])[0].get("code") == "一般.体温"
    )
    assert float(temperature["valueQuantity"]["value"]) == 37.2
    assert temperature["valueQuantity"]["code"] == "Cel"
    assert float(observed["刻下腹泻频次"]["valueRange"]["low"]["value"]) == 5
    assert [c["valueString"] for c in observed["苔质"]["component"]] == ["薄", "腻"]
    (pattern,) = resources(bundle, "Condition")
    assert pattern["verificationStatus"]["coding"][0]["code"] == "provisional"
    assert pattern["code"]["coding"][0]["code"] == "SF8G"
    (family,) = resources(bundle, "FamilyMemberHistory")
    assert family["condition"][0]["code"]["text"] == "糖尿病"
    (request,) = resources(bundle, "MedicationRequest")
    (medication,) = request["contained"]
    names = [i["itemCodeableConcept"]["text"] for i in medication["ingredient"]]
    assert names == ["黄芪", "𠮷草"]
    assert request["note"][0]["text"] == "黄芪 先煎"
    (provenance,) = resources(bundle, "Provenance")
    assert {a["who"]["display"] for a in provenance["agent"]} == {
        "multimodal_ner 0.1.0",
        "tcm_fields 0.1.0",
    }


def test_references_in_a_bundle_lead_to_its_entries(record):
    bundle = fhir.make_bundle(record, NOW)
    known = {entry["fullUrl"] for entry in bundle["entry"]}
    assert len(known) == len(bundle["entry"])

    def references(value):
        if isinstance(value, dict):
            if "reference" in value:
                yield value["reference"]
            for item in value.values():
                yield from references(item)
        elif isinstance(value, list):
            for item in value:
                yield from references(item)

    assert set(references(bundle)) <= known | {"#medication"}


def test_an_invalid_bundle_is_told_without_the_text(record):
    bundle = fhir.make_bundle(record, NOW)
    bundle["entry"][0]["resource"]["birthDate"] = "便血"
    with pytest.raises(ModelError, match="E582") as caught:
        fhir.validate_bundle(bundle)
    assert "便血" not in str(caught.value)


# RDF


@pytest.mark.filterwarnings("ignore:ConjunctiveGraph")  # in rdflib's own reader
@pytest.mark.parametrize("form", rdf.FORMATS)
def test_rdf_is_read_back(record, form):
    graph = rdf.make_graph([record])
    rdf.validate_graph(graph)
    back = rdflib.Graph().parse(data=rdf.to_text(graph, form), format=form)
    assert rdflib.compare.isomorphic(graph, back)


def test_a_graph_of_facts_leaves_out_the_rest(record):
    query = "SELECT ?t WHERE { ?v tcm:HAS_SYMPTOM ?e . ?e tcm:text ?t }"
    for facts_only, found in ((True, {"便血"}), (False, {"便血", "发热"})):
        graph = rdf.make_graph([record], facts_only=facts_only)
        assert {str(row.t) for row in graph.query(query)} == found
        rdf.validate_graph(graph)


def test_shapes_refuse(record):
    record["entities"][0]["negation"] = "perhaps"
    with pytest.raises(ModelError, match="negation"):
        rdf.validate_graph(rdf.make_graph([record]))


# Neo4j


def test_neo4j_csv_is_complete_and_closed(record, tmp_path):
    for facts_only in (True, False):
        neo4j.write_csv(tmp_path, neo4j.make_nodes([record, record], facts_only=facts_only))
        with (tmp_path / neo4j.NODES).open(encoding="utf-8", newline="") as file:
            nodes = list(csv.DictReader(file))
        with (tmp_path / neo4j.RELATIONSHIPS).open(encoding="utf-8", newline="") as file:
            relationships = list(csv.DictReader(file))
        ids = [node[":ID"] for node in nodes]
        assert len(set(ids)) == len(ids)
        assert {r[end] for r in relationships for end in (":START_ID", ":END_ID")} <= set(ids)
        texts = {node["text:string"] for node in nodes} - {""}
        facts = {e["text"] for e in record["entities"] if not facts_only or common.is_fact(e)}
        assert texts == facts
    (doses,) = ({r["dose:float"] for r in relationships if r[":TYPE"] == "CONTAINS"},)
    assert doses == {"30", "6.5"}


@pytest.mark.parametrize(
    "text", ["'; MATCH (n) DETACH DELETE n; //", 'a"b\\', "a\nb\u2028c", "𠮷草", "`x`"]
)
def test_no_text_leaves_its_literal(text):
    node = neo4j.Node(text, (text,), {"name": text})
    line = neo4j.to_cypher(node)
    assert "\n" not in line
    quoted = json.dumps(text)
    name = neo4j.quote_name(text)
    assert name[1:-1].replace("_", "x").isalnum()
    # Without its literals and quoted names, nothing of the text is left.
    rest = line.replace(quoted, "?").replace(name, "?")
    assert rest == "MERGE (n:Node {id: ?}) SET n:?, n += {`name`: ?};"
    assert json.loads(quoted) == text


# Tables


def test_tables_have_one_row_a_visit(folder, tmp_path):
    write_export(folder, tmp_path, "csv", everything=False, check=True)
    write_export(folder, tmp_path, "parquet", everything=False, check=True)
    with (tmp_path / "visits.csv").open(encoding="utf-8-sig", newline="") as file:
        first, second = csv.DictReader(file)
    assert (first["舌象.苔质"], first["呼吸内科.有无发热"]) == ("薄、腻", "否")
    assert (first["一般.体温.low"], first["一般.体温.unit"]) == ("37.2", "℃")
    assert (first["消化内科.刻下腹泻频次.low"], first["消化内科.刻下腹泻频次.high"]) == ("5", "")
    assert (first["SYMPTOM"], first["WM_DISEASE"]) == ("便血", "")
    assert second["舌象.苔质"] == ""
    rows = parquet.read_table(tmp_path / "visits.parquet").to_pylist()
    assert [{k: "" if v is None else v for k, v in row.items()} for row in rows] == [
        {k: float(v) if v and k.endswith((".low", ".high")) else v for k, v in row.items()}
        for row in (first, second)
    ]


def test_tables_of_two_exports_have_the_same_columns(record, tmp_path):
    own = [field["id"] for field in own_definitions()["fields"]]
    columns = []
    for number, fields in enumerate(({}, {"我的.字段": {"value": True}, own[-1]: {"value": True}})):
        source = tmp_path / f"{number}.jsonl"
        source.write_text(json.dumps({**record, "fields": fields}), "utf8")
        write_export(source, tmp_path, "csv", everything=False, check=True)
        with (tmp_path / "visits.csv").open(encoding="utf-8-sig", newline="") as file:
            (row,) = csv.DictReader(file)
        columns.append([name for name in row if name in own or name.startswith("我的")])
    assert columns == [
        own,
        [*own, *(f"我的.字段{part}" for part in ("", ".low", ".high", ".unit"))],
    ]


def test_a_spreadsheet_computes_nothing(tmp_path):
    tables.write_csv(tmp_path / "x.csv", [{"id": "=1+1"}])
    with (tmp_path / "x.csv").open(encoding="utf-8-sig", newline="") as file:
        assert next(csv.DictReader(file))["id"] == "'=1+1"


# Annotation tools


@pytest.mark.parametrize("tool", TOOLS)
def test_annotations_come_back(folder, record, tmp_path, tool):
    (made,) = write_export(folder, tmp_path / "out", tool, everything=False, check=True)
    first, *_ = sorted(TOOLS[tool](made), key=lambda r: -len(r["text"]))
    assert first["text"] == record["text"]
    wanted = annotations.to_annotated(record)
    assert first["entities"] == sorted(wanted["entities"])
    if tool == "brat":
        assert first["qualifiers"] == sorted(wanted["qualifiers"])


def test_corrected_annotations_are_converted(folder, record, tmp_path):
    record["entities"].pop()  # it overlaps others, which records to train on must not
    text = json.dumps(annotations.to_doccano(record), ensure_ascii=False)
    file = tmp_path / "export.jsonl"
    file.write_text(text, encoding="utf-8")
    written = convert_annotations("doccano")([file], tmp_path / "corpus")
    ((path, (found,)),) = written.items()
    assert path.name == "export.jsonl"
    assert found["entities"] == [[e["start"], e["end"], e["label"]] for e in record["entities"]]
    file.write_text(text.replace("TONGUE", "TONGE"), encoding="utf-8")
    with pytest.raises(RecordError) as caught:
        convert_annotations("doccano")([file], tmp_path / "corpus")
    assert str(file) in str(caught.value)


@pytest.mark.parametrize("tool", TOOLS)
def test_broken_annotations_are_told(tmp_path, tool):
    path = tmp_path / ("x" if tool == "brat" else "x.json")
    if tool == "brat":
        path.mkdir()
        with pytest.raises(RecordError, match="E583"):
            list(TOOLS[tool](path))
        (path / "a.txt").write_text("便血", encoding="utf-8")
        with pytest.raises(RecordError, match="E584"):
            list(TOOLS[tool](path))
        (path / "a.ann").write_text("T1\tSYMPTOM zero 2\t便血", encoding="utf-8")
    else:
        path.write_text('[{"data": {}}]', encoding="utf-8")
    with pytest.raises(RecordError, match=r"E58[56]"):
        list(TOOLS[tool](path))
    target = path / "a.ann" if tool == "brat" else path
    target.write_bytes("便血".encode("gb18030"))
    with pytest.raises(RecordError, match="E587"):
        list(TOOLS[tool](path))


# spaCy


def test_docbin_has_the_record(folder, record, tmp_path):
    (path,) = write_export(folder, tmp_path / "out", "docbin", everything=False, check=True)
    nlp = spacy.blank("tcm")
    doc, empty = DocBin(store_user_data=True).from_disk(path).get_docs(nlp.vocab)
    back = make_record(doc)
    assert len(empty) == 0
    for key in ("id", "text", "sections", "tongue", "conflicts"):
        assert back[key] == record[key]
    parts = ("start", "end", "label", "text", "score", "negation", "experiencer", "codes")
    known = {tuple(json.dumps(e[p]) for p in parts) for e in record["entities"]}
    assert {tuple(json.dumps(e[p]) for p in parts) for e in back["entities"]} <= known
    # What overlaps is dropped, and relations follow the others.
    named = [
        (r["type"], *(e if e == "visit" else back["entities"][e]["text"] for e in ends))
        for r in back["relations"]
        for ends in [(r["head"], r["tail"])]
    ]
    assert named == [
        ("HAS_SYMPTOM", "visit", "便血"),
        ("HAS_DURATION", "便血", "3天"),
        ("HAS_QUALITY", "便血", "色鲜红"),
        ("HAS_SYMPTOM", "visit", "发热"),
    ]
