"""The trained rows of the published tables: hospitals held out, intervals, configs, their page."""

import json
import random
import sys
from pathlib import Path

import pytest
from spacy.util import registry

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def modules():
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        import benchmarks_page
        import experiments
        import hospitals
        import intervals

        yield experiments, hospitals, intervals, benchmarks_page
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))


@pytest.fixture(scope="module")
def records():
    paths = sorted((ROOT / "assets" / "records").glob("*.jsonl"))
    return [json.loads(line) for path in paths for line in path.read_text("utf8").splitlines()]


def test_there_are_21_hospitals_in_five_folds_of_about_one_size(modules, records):
    _, hospitals, _, _ = modules
    names = {hospitals.hospital(record) for record in records} - {None}
    assert len(names) == 21
    folds = hospitals.make_folds(records)
    assert sorted(name for fold in folds for name in fold) == sorted(names)
    sizes = [sum(len(r["entities"]) for r in hospitals.hold_out(records, n)[1]) for n in range(5)]
    assert max(sizes) < 1.1 * min(sizes)


def test_no_hospital_is_both_trained_on_and_held_out(modules, records):
    _, hospitals, _, _ = modules
    seen = set()
    for number in range(5):
        training, held = hospitals.hold_out(records, number)
        assert len(training) + len(held) == len(records)
        names = {hospitals.hospital(record) for record in held}
        assert None not in names
        assert not names & {hospitals.hospital(record) for record in training}
        assert not seen & {record["id"] for record in held}
        seen |= {record["id"] for record in held}
    books = sum(record["source"] == "public-domain case book" for record in records)
    assert len(seen) + books == len(records)


def test_results_are_kept_as_they_are(modules, tmp_path):
    import runs

    path = tmp_path / "results.json"
    result = {"counts": [[3, 4], [5, 6]], "text": "[\n 1\n]", "none": [], "names": ["a, b", "c"]}
    runs.keep(path, {"runs": {}}, "ours", result, lambda found: {"runs": len(found)})
    report = json.loads(path.read_text("utf8"))
    assert (report["runs"], report["summary"]) == ({"ours": result}, {"runs": 1})
    assert "[3,4]" in path.read_text("utf8")


def test_sums_are_micro_scores(modules):
    _, _, intervals, _ = modules
    found = intervals.sums([(4, 2, 2, 1, 0), (0, 2, 1, 0, 0)])
    assert (found["precision"], found["recall"], found["f"]) == (0.75, 0.75, 0.75)
    assert (found["rare_gold"], found["rare_recall"]) == (1, 0)
    assert intervals.sums([(0, 0, 0, 0, 0)])["f"] == 0


def test_an_interval_narrows_with_more_records(modules):
    _, _, intervals, _ = modules
    draw = random.Random(0)
    many = [(10, 10, draw.randint(6, 10), 0, 0) for _ in range(400)]
    low, high = intervals.interval(many)
    assert low < intervals.sums(many)["f"] < high
    few = intervals.interval(many[:25])
    assert few[1] - few[0] > 2 * (high - low)
    assert intervals.interval([(5, 5, 5, 0, 0)] * 9) == (1, 1)


def test_a_difference_is_found_and_none_is_not(modules):
    _, _, intervals, _ = modules
    draw = random.Random(1)
    some = [(10, 10, draw.randint(5, 9), 0, 0) for _ in range(200)]
    better = [(g, p, r + 1, 0, 0) for g, p, r, _, _ in some]
    found = intervals.compare(better, some)
    assert found["difference"] == pytest.approx(0.1)
    assert (found["low"], found["high"]) == pytest.approx((0.1, 0.1))
    assert found["p"] < 0.01
    shuffled = [(g, p, draw.randint(5, 9), 0, 0) for g, p, _, _, _ in some]
    chance = intervals.compare(shuffled, some)
    assert chance["low"] < 0 < chance["high"]
    assert chance["p"] > 0.05
    assert intervals.compare(some, some)["p"] == 1
    with pytest.raises(ValueError, match="not the same records"):
        intervals.compare([(9, 1, 1, 0, 0)], [(8, 1, 1, 0, 0)])


def test_configs_of_all_rows_hold_together(modules, tmp_path):
    experiments, _, _, _ = modules
    path = tmp_path / "train.jsonl"
    path.write_text('{"id": "a", "text": "便血", "entities": []}\n', encoding="utf8")
    for name, row in experiments.ROWS.items():
        # Any folder will do in place of the large encoders, which would be made on disk.
        weights = str(ROOT / "assets" / "encoder") if row.encoder else None
        config = experiments.make_config(name, path, tmp_path, 3, tmp_path, weights).interpolate()
        assert config["system"]["seed"] == 3, name
        assert ("tongue_encoder" in config["nlp"]["pipeline"]) == row.photo, name
        model = config["components"]["multimodal_ner"]["model"]
        assert (model["tongue"] is not None) == row.photo, name
        for key, value in row.changes.items():
            at = config
            for part in key.split("."):
                at = at[part]
            assert at == value, name
        assert registry.resolve({"m": model})["m"] is not None, name


@pytest.mark.slow
def test_a_small_run_is_kept_summed_and_rendered(modules, tmp_path, monkeypatch):
    experiments, _, _, page = modules
    lines = (ROOT / "assets" / "records" / "terse_outpatient.jsonl").read_text("utf8").splitlines()
    for name, part in (("train", lines[:24]), ("tune", lines[24:32]), ("dev", lines[32:])):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(part) + "\n", encoding="utf8")
    out = tmp_path / "experiments.json"
    arguments = ["experiments.py", str(out), str(tmp_path), "--folds", "1", "--steps", "3"]
    arguments += ["--rows", "ours", "CNN-BiLSTM"]
    monkeypatch.setattr(sys, "argv", arguments)
    experiments.main()
    data = json.loads(out.read_text("utf8"))
    assert sorted(data["runs"]) == ["CNN-BiLSTM | fold 1 | seed 0", "ours | fold 1 | seed 0"]
    held = data["summary"]["ours"]["held-out hospitals"]
    counts = data["runs"]["ours | fold 1 | seed 0"]["counts"]["held-out hospitals"]
    assert held["gold"] == sum(count[0] for count in counts["counts"]) > 0
    monkeypatch.setattr(page, "_read", lambda name: {})
    shown = page.table_1(data)
    assert f"{100 * held['f']:.1f} [" in shown
    assert "Steps of training: 3" in shown
    assert page.hospitals(data).count("\n") == 1 + len(held["hospitals"])
    again = out.stat().st_mtime_ns
    experiments.main()  # nothing is missing
    assert out.stat().st_mtime_ns == again
