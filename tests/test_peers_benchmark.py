"""The comparison with other tools: a small run renders, and its sums are right."""

import json
import shutil
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NAMES = ("longest match, training entities", "longest match, our lexicon")


@pytest.fixture(scope="module")
def peers():
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        import peers

        yield peers
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))


@pytest.fixture
def corpus(tmp_path):
    records = [
        {
            "id": "a",
            "text": "患者便血3天，舌淡红。",
            "entities": [[2, 4, "SIGN"], [7, 10, "TONGUE"]],
        },
        {"id": "b", "text": "便血，口干。", "entities": [[0, 2, "SIGN"], [3, 5, "SYMPTOM"]]},
        {"id": "c", "text": "便血。", "entities": [[0, 2, "SYMPTOM"]]},
    ]
    for part in ("train", "dev"):
        lines = [json.dumps(record, ensure_ascii=False) + "\n" for record in records]
        (tmp_path / f"{part}.jsonl").write_text("".join(lines), encoding="utf8")
    return tmp_path


def run(peers, corpus, monkeypatch, *arguments):
    out = corpus / "out.json"
    command = ["", str(out), str(corpus), "--models", str(corpus / "models"), *arguments]
    monkeypatch.setattr(sys, "argv", command)
    peers.main()
    return json.loads(out.read_text(encoding="utf8"))


def test_scores(peers):
    records = [{"text": "便血口干纳差", "entities": [[0, 2, "SIGN"], [2, 4, "SYMPTOM"]]}]
    found = [[(0, 2, "SIGN"), (2, 4, "SIGN"), (4, 6, "SYMPTOM")]]
    scores = peers.score(records, found, {"便血"})
    assert (scores["precision"], scores["recall"]) == (1 / 3, 1 / 2)
    assert scores["f"] == pytest.approx(0.4)
    assert (scores["rare_recall"], scores["rare"]) == (0, 1)
    assert peers.score(records, [[]], set())["precision"] is None


def test_a_small_run_renders(peers, corpus, monkeypatch, capsys):
    report = run(peers, corpus, monkeypatch, "--rounds", "2", "--rows", *NAMES)
    # 便血 is learnt with its more frequent label: all are found but one.
    scores = report["runs"][NAMES[0]]["written dev"]
    assert (scores["precision"], scores["recall"], scores["rare"]) == (0.8, 0.8, 0)
    assert report["runs"][NAMES[1]]["written dev"]["f"] < 0.8
    for row in report["speed"]["rows"].values():
        assert len(row["processor_seconds"]) == 2
        assert row["peak_bytes"] > 1e6
    header, _, *rows = peers.render(report).splitlines()
    assert [row.split("|")[1].strip() for row in rows] == [*NAMES]
    assert "80.0 | 80.0 | 80.0 | –" in rows[0]
    assert {row.count("|") for row in rows} == {header.count("|")}
    assert rows[0] in capsys.readouterr().out

    # What is there is not computed again, and rows without their environment are skipped.
    shutil.rmtree(corpus / "models" / peers.folder_of(corpus, NAMES[1]).name)
    again = run(peers, corpus, monkeypatch, "--rounds", "0", "--rows", *NAMES, "GLiNER")
    assert again == report
    assert "Skipped, no --peers: GLiNER" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("name", ["spaCy ner (HashEmbedCNN), our tokens", "spacy-transformers ner"])
def test_a_tool_is_trained_for_its_seconds(peers, corpus, monkeypatch, name):
    report = run(peers, corpus, monkeypatch, "--seconds", "30", "--rounds", "0", "--rows", name)
    row = report["runs"][name]
    assert 30 <= row["training"]["cpu_seconds"] < 60
    # What cannot be told apart, 便血 with two labels, stays.
    assert row["written dev"]["f"] >= 0.8
