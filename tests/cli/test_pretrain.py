import json
import os
import signal
import subprocess
import sys
import time
from itertools import product

import pytest
from typer.testing import CliRunner

from spacy_tcm.cli.app import app

TEXTS = [
    f"患者{symptom}{number}天，舌{tongue}，脉{pulse}。"
    for symptom, number, tongue, pulse in product(
        ("口干", "便血", "头晕目眩"), "二三七", ("淡红", "暗"), ("弦", "细数")
    )
]
SHAPE = ["--hidden", 24, "--layers", 2, "--heads", 4, "--feed-forward", 32]


@pytest.fixture
def files(tmp_path):
    """The options that name files, and a folder for the encoder."""
    domain, general = tmp_path / "domain.jsonl", tmp_path / "general.txt"
    lines = (json.dumps({"text": text}, ensure_ascii=False) for text in TEXTS)
    domain.write_text("\n".join(lines), encoding="utf8")
    general.write_text("黄芪甘温，纯阳，其用有五。" * 9, encoding="utf8")
    (tmp_path / "lexicon.tsv").write_text("term\tcategory\n口干\tSYMPTOM\n", encoding="utf8")
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"患者口干天舌脉淡红股票"]
    (tmp_path / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf8")
    named = {"--domain": domain, "--general": general, "--lexicon": tmp_path / "lexicon.tsv"}
    options = [part for option in named.items() for part in option]
    return tmp_path / "out", ["--vocab", tmp_path / "vocab.txt", *options]


def run(*args):
    return CliRunner().invoke(app, ["pretrain", *map(str, args)])


def test_writes_an_encoder_its_history_and_a_picture(files):
    from transformers import AutoModel, AutoTokenizer

    out, options = files
    args = (out, *options, *SHAPE, "--length", 32, "--batch-tokens", 256, "--threads", 1)
    result = run(*args, "--steps", 3)
    assert result.exit_code == 0, result.output
    assert "of up to 30 characters" in result.output
    assert AutoModel.from_pretrained(out).config.hidden_size == 24
    tokens = AutoTokenizer.from_pretrained(out).tokenize("口干，股便")
    assert tokens == ["口", "干", ",", "[UNK]", "便"]
    assert (out / "pretraining.png").read_bytes().startswith(b"\x89PNG")
    longer = run(*args, "--steps", 5)
    assert longer.exit_code == 0, longer.output
    history = json.loads((out / "pretraining.json").read_text(encoding="utf8"))["history"]
    assert [entry["step"] for entry in history] == [3, 5]
    shorter = run(*args, "--steps", 4)
    assert shorter.exit_code == 0, shorter.output
    assert "already at step 5" in shorter.output
    record = json.loads((out / "pretraining.json").read_text(encoding="utf8"))
    assert record["settings"]["steps"] == 5
    (out / "model.safetensors").unlink()  # as if it had been killed before it was written
    killed = run(*args, "--steps", 4)
    assert killed.exit_code == 1
    assert "[E438]" in killed.output
    assert "--steps 5" in killed.output
    excluding = run(*args, "--steps", 6, "--exclude", out.parent / "general.txt")
    assert excluding.exit_code == 1
    assert "--exclude dropped 2 chunks" in excluding.output
    assert "[E432]" in excluding.output
    other = run(*args, "--rate", 0.5)
    assert other.exit_code == 1
    assert "[E418]" in other.output


def test_what_cannot_be_is_said_before_anything_is_written(files, tmp_path):
    out, options = files
    (tmp_path / "vocab.csv").write_text("口干")
    before = sorted(tmp_path.iterdir())
    for arguments, code in [
        ((out, *options, "--heads", 7), "E408"),
        ((out, *options, "--device", "nonsense"), "E426"),
        ((out, *options, "--length", 600), "E425"),
        ((out, *options, "--rate", 0), "E434"),
        ((out, *options, "--domain", tmp_path / "none.txt"), "E417"),
        ((out, *options, "--exclude", tmp_path / "none.csv"), "E417"),
        ((out, *options, "--exclude", tmp_path / "vocab.csv"), "E416"),
        ((tmp_path / "vocab.txt", *options), "E533"),
    ]:
        result = run(*arguments)
        assert result.exit_code == 1, result.output
        assert f"[{code}]" in result.output
    assert sorted(tmp_path.iterdir()) == before


def test_a_vocabulary_in_the_folder_is_kept(files):
    out, options = files
    out.mkdir()
    given = (out.parent / "vocab.txt").rename(out / "vocab.txt")
    before = given.read_bytes()
    result = run(out, *options, "--vocab", given)
    assert result.exit_code == 1, result.output
    assert "[E412]" in result.output
    assert list(out.iterdir()) == [given]
    assert given.read_bytes() == before


@pytest.mark.slow
def test_killed_by_the_system_it_goes_on_to_the_same_end(files):
    out, options = files
    args = [*options, *SHAPE, "--length", 32, "--batch-tokens", 256, "--save-every", 20]
    args += ["--steps", 300]

    def start(folder):
        command = [sys.executable, "-m", "spacy_tcm", "pretrain", folder, *args]
        return subprocess.Popen(
            list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )

    with start(out) as process:
        deadline = time.monotonic() + 120
        while not (out / "checkpoint").exists() and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL, "killed before it could end"
    assert not (out / "pretraining.json").exists()
    with start(out) as process:
        errors = process.communicate(timeout=120)[1].decode()
    assert process.returncode == 0, errors
    assert "| 0/300" not in errors, "it began again"

    whole = run(out.parent / "whole", *args)
    assert whole.exit_code == 0, whole.output
    for name in ("model.safetensors", "pretraining.json"):
        assert (out / name).read_bytes() == (out.parent / "whole" / name).read_bytes(), name
