"""The benchmark of de-identification puts in what it says."""

import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def benchmark_module():
    sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
    try:
        import deid

        yield deid
    finally:
        sys.path.remove(str(Path(__file__).parents[1] / "benchmarks"))


def test_gold_is_where_it_was_put(benchmark_module):
    text = "主诉：便血3天。\n舌红。脉数。"
    for seed in range(20):
        new, gold, inserted = benchmark_module.inject(text, benchmark_module.Maker(seed))
        assert len(new) == len(text) + sum(length for _, length in inserted)
        assert "{" not in new
        rest = new
        for kind, start, end in reversed(gold):
            assert kind.isupper()
            assert new[start:end].strip() == new[start:end] != ""
            rest = rest[:start] + rest[end:]
        assert len(gold) == len(set(gold)) >= 10


def test_scores(benchmark_module):
    gold = [[("NAME", 0, 2), ("BED", 5, 7)]]
    found = [[("NAME", 0, 2), ("RECORD_NO", 5, 8), ("DATE", 9, 10)]]
    scores = benchmark_module.score(gold, found)
    assert scores["all"] == {
        "gold": 2,
        "found": 3,
        "precision": 1 / 3,
        "recall": 1 / 2,
        "hidden": 1.0,
        "of_an_identifier": 2 / 3,
    }
    assert scores["BED"]["recall"] == 0
    assert scores["DATE"]["precision"] == 0
