import json

import numpy
import pytest
import spacy
from typer.testing import CliRunner

from spacy_tcm.cli.app import app
from spacy_tcm.errors import ModelError
from spacy_tcm.training import calibration
from spacy_tcm.training.calibration import GRID, calibrate
from spacy_tcm.training.evaluation import reliability

from .conftest import RECORDS as LEARNT

RECORDS = [
    ({"id": str(i), "text": text, "entities": [list(entity) for entity in entities]}, None)
    for i, (text, entities, _) in enumerate(LEARNT)
]
# As if the gold of every second entity were another: half of what is found is wrong.
DOUBTFUL = [({**record, "entities": record["entities"][::2]}, image) for record, image in RECORDS]


def test_reliability():
    sure = [(0.95, True)] * 19 + [(0.95, False)]
    assert reliability(sure)["expected_calibration_error"] == pytest.approx(0)
    mixed = [(0.95, False)] * 5 + [(0.15, True)] * 5
    found = reliability(mixed)
    assert found["expected_calibration_error"] == pytest.approx(0.5 * 0.95 + 0.5 * 0.85)
    assert [b["entities"] for b in found["bins"]] == [5, 5]
    assert reliability([(1.0, True)])["bins"][0]["mean_score"] == 1.0


@pytest.fixture
def pipeline(trained, tmp_path):
    trained.to_disk(tmp_path / "model")
    return spacy.load(tmp_path / "model")


def test_an_overconfident_pipeline_becomes_less_sure(pipeline, tmp_path):
    text = LEARNT[0][0]
    before = [(e.text, e.label_, e._.score) for e in pipeline(text).ents]
    found = calibrate(pipeline, DOUBTFUL)
    after = [(e.text, e.label_, e._.score) for e in pipeline(text).ents]
    assert [e[:2] for e in before] == [e[:2] for e in after], "the entities stay the same"
    assert numpy.mean([e[2] for e in after]) < numpy.mean([e[2] for e in before])
    assert found["temperature"] > 1
    # What is fitted is the log loss: the error's bins say little of so few entities.
    assert found["after"]["log_loss"] < found["before"]["log_loss"]
    # The temperature is saved with the pipeline.
    pipeline.to_disk(tmp_path / "calibrated")
    again = spacy.load(tmp_path / "calibrated")(text)
    assert [e._.score for e in again.ents] == pytest.approx([e[2] for e in after])


def test_the_net_runs_once_for_all_temperatures(pipeline, monkeypatch):
    """And its scores are those of `predict` with each temperature set."""
    ner = pipeline.get_pipe("multimodal_ner")
    docs = list(
        pipeline.pipe([text for text, _, _ in LEARNT] + ["便血3天，脉弦细数，口干。" * 400])
    )
    temperatures = [0.5, 1.0, 4.0]
    runs = []
    forward = ner.model._func

    def note(model, docs, is_train):
        runs.append(len(docs))
        return forward(model, docs, is_train)

    monkeypatch.setattr(ner.model, "_func", note)
    found = ner.predict_at(docs, temperatures)
    assert sum(runs) == sum(1 for doc in docs if len(doc))
    for i, temperature in enumerate(temperatures):
        ner.cfg["temperature"] = temperature
        expected = ner.predict(docs)
        assert [[(*e[:4], e[4][i]) for e in some] for some in found] == expected


def test_a_doubtful_temperature_is_said(pipeline, monkeypatch):
    # Of so few entities, all of them right, no score is too sure.
    found = calibrate(pipeline, RECORDS)
    assert found["temperature"] == pytest.approx(GRID[0])
    assert [warning[:6] for warning in found["warnings"]] == ["[W403]", "[W404]"]
    monkeypatch.setattr(calibration, "LEAST", 3)
    some_wrong = [*RECORDS[1:], *DOUBTFUL] * 3
    warnings = calibrate(pipeline, some_wrong)["warnings"]
    assert not any(code in warning for warning in warnings for code in ("W403", "W404"))


def test_errors(pipeline):
    with pytest.raises(ModelError, match="E443"):
        calibrate(pipeline, [({"id": "1", "text": "", "entities": [[0, 2, "SIGN"]]}, None)])
    with pytest.raises(ModelError, match="E445"):
        calibrate(pipeline, [({**record, "entities": []}, image) for record, image in RECORDS])
    with pytest.raises(ModelError, match="E442"):
        calibrate(spacy.blank("tcm"), RECORDS)


def test_an_error_that_does_not_fall_is_said(pipeline, monkeypatch):
    ordinary = calibration.reliability
    errors = iter([0.05, 0.06])
    monkeypatch.setattr(
        calibration,
        "reliability",
        lambda scored: {**ordinary(scored), "expected_calibration_error": next(errors)},
    )
    assert "[W405]" in calibrate(pipeline, DOUBTFUL)["warnings"][-1]


def test_command(pipeline, tmp_path):
    corpus = tmp_path / "tune.jsonl"
    corpus.write_text("".join(json.dumps(record) + "\n" for record, _ in DOUBTFUL))
    arguments = ["calibrate", str(tmp_path / "model"), str(corpus), str(tmp_path / "out")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "Temperature" in result.output
    assert "W404" in result.output
    for taken in (tmp_path / "out", tmp_path / "model"):
        again = CliRunner().invoke(app, [*arguments[:3], str(taken)])
        assert again.exit_code == 1
        assert "E412" in again.output
    corpus.write_text("\n")
    empty = CliRunner().invoke(app, [*arguments[:3], str(tmp_path / "more")])
    assert empty.exit_code == 1
    assert "E352" in empty.output
    assert spacy.load(tmp_path / "out").get_pipe("multimodal_ner").temperature > 1
