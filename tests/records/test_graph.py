"""The embedded graph, asked in SPARQL; `folder` and `record` are those of the exports."""

import copy
import inspect

import pytest

from spacy_tcm.cli.graph import query
from spacy_tcm.errors import RecordError
from spacy_tcm.records.exports.common import read_records
from spacy_tcm.records.graph import FILTERS, ask, build_graph, describe, saved_queries


@pytest.fixture
def graph(record, tmp_path):
    other = copy.deepcopy(record)
    other["id"] = "second"
    for entity in (*record["entities"], *other["entities"]):
        entity["certainty"] = "certain"
    other["prescriptions"][0]["herbs"].pop()
    build_graph([record, other], tmp_path / "graph")
    return tmp_path / "graph"


def test_counts(graph, record):
    names, rows = ask(graph, "counts")
    assert names == ["kind", "count"]
    counts = {kind.rpartition("#")[2]: count for kind, count in rows}
    facts = [e for e in record["entities"] if e["negation"] != "absent"]
    facts = [e for e in facts if e["experiencer"] != "family"]
    assert counts == {
        "Visit": 2,
        "Entity": 2 * len(facts),
        "Concept": len(facts),
        "Field": 2 * len(record["fields"]),
        "Prescription": 2,
    }


@pytest.mark.parametrize(
    ("name", "values", "wanted"),
    [
        ("herbs_of_pattern", {"pattern": "大肠湿热"}, ["大肠湿热", "黄芪", 2, 30.0]),
        ("findings_of_pattern", {"finding": "便血"}, ["大肠湿热", "便血", 2]),
        ("herb_pairs", {"first": "黄芪"}, ["黄芪", "𠮷草", 1]),
        ("similar_visits", {"record": "second"}, ["second", "门诊/2024 号", 8]),
    ],
)
def test_saved_queries_answer(graph, name, values, wanted):
    _, rows = ask(graph, name, values)
    assert rows[0] == wanted
    wrong = dict.fromkeys(values, 'x"} UNION { ?a ?b ?c } #')
    assert ask(graph, name, wrong)[1] == []


def test_every_saved_query_runs_and_describes_itself(graph):
    for name, text in saved_queries().items():
        names, _ = ask(graph, name)
        assert names
        assert describe(text)
        assert FILTERS in text or name == "counts"


def test_a_query_of_ones_own(graph):
    names, rows = ask(graph, 'SELECT ?e WHERE { ?v tcm:HAS_SYMPTOM ?e . ?e tcm:text "便血" }')
    assert (names, len(rows)) == (["e"], 2)


def test_rows_left_out_are_told(graph, tmp_path, capsys):
    question = tmp_path / "some.rq"
    for limit, told in ((2, "Only the first 2 rows"), (1000, "")):
        question.write_text(f"SELECT ?s WHERE {{ ?s ?p ?o }} LIMIT {limit}\n", "utf8")
        query(graph, str(question), [])
        error = capsys.readouterr().err
        assert told in error if told else not error


def test_what_cannot_be_asked(graph, tmp_path):
    with pytest.raises(RecordError, match="E593"):
        ask(graph, "SELECT nonsense")
    with pytest.raises(RecordError, match="E593"):
        ask(graph, "ASK { ?s ?p ?o }")
    with pytest.raises(RecordError, match="E594"):
        ask(graph, "SELECT ?s WHERE { ?s ?p ?o }", {"s": "x"})
    with pytest.raises(RecordError, match=r"E598.*'foo'.*herb"):
        ask(graph, "herbs_of_pattern", {"foo": "x"})
    with pytest.raises(RecordError, match="E592"):
        ask(tmp_path, "counts")
    for place, question, blamed in [
        (tmp_path, "counts", "E592"),
        (tmp_path, "no_such_question", "E592"),
        (graph, "no_such_question", "E593.*no saved query or file"),
    ]:
        with pytest.raises(RecordError, match=blamed):
            inspect.unwrap(query)(place, question, [])


def test_building_replaces_a_graph_and_nothing_else(folder, graph, tmp_path):
    build_graph(read_records(folder), graph)
    assert ask(graph, "SELECT ?id WHERE { ?v tcm:recordId ?id }")[1] == [["门诊/2024 号"]]
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("x")
    with pytest.raises(RecordError, match="E591"):
        build_graph([], tmp_path / "notes")
    assert (tmp_path / "notes" / "a.txt").exists()
