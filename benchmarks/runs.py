"""Many trainings, each in a process of its own, whose results one JSON file collects; and the
labels of photos that are no part of this repository."""

import csv
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from typing import Any


def run_missing(
    out: Path,
    keys: Sequence[str],
    script: str,
    arguments: Sequence[str],
    summarize: Callable[[dict[str, Any]], dict[str, Any]],
    describe: Callable[[dict[str, Any]], str],
    jobs: int,
) -> None:
    """`script PART.json *arguments --one KEY` for each key that out does not hold, jobs at a time.

    Each writes its result to PART.json; out is written anew after each. describe: a result in a
    line.
    """
    report = json.loads(out.read_text(encoding="utf8")) if out.exists() else {"runs": {}}
    lock = Lock()

    def run(key: str) -> None:
        with TemporaryDirectory() as folder:
            part = Path(folder) / "result.json"
            command = [sys.executable, script, str(part), *arguments, "--one", key]
            env = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
            subprocess.run(command, check=True, env=env)
            result = json.loads(part.read_text(encoding="utf8"))
        with lock:
            keep(out, report, key, result, summarize)
        print(f"{key}: {describe(result)}", flush=True)

    missing = [key for key in keys if key not in report["runs"]]
    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(run, missing))


def keep(
    out: Path,
    report: dict[str, Any],
    key: str,
    result: dict[str, Any],
    summarize: Callable[[dict[str, Any]], dict[str, Any]],
) -> None:
    """Into the report, and this into the file; killed while it writes, it leaves that of before."""
    report["runs"][key] = result
    report["summary"] = summarize(report["runs"])
    report["system"] = {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        **{p: version(p) for p in ("spacy-tcm", "spacy", "thinc", "torch", "numpy")},
    }
    new = out.with_name(f"{out.name}.new")
    new.write_text(dump(report), encoding="utf8")
    os.replace(new, out)


_LINES = re.compile(r"\n *")


def dump(report: Any) -> str:
    """As JSON with a line for each value, but the innermost lists in one."""
    text = json.dumps(report, indent=1, ensure_ascii=False)
    return re.sub(r"\[\n[^][{}]*\]", lambda found: _LINES.sub("", found[0]), text)


def train_last(config: Any, out: Path, steps: int | None) -> Any:
    """Train by `spacy train`'s loop. RETURNS: the pipeline of the last checkpoint.

    steps: other than the config's.
    """
    import spacy
    import torch
    from spacy.training.initialize import init_nlp
    from spacy.training.loop import train

    torch.set_num_threads(1)
    if steps:
        config["training"]["max_steps"] = steps
    train(init_nlp(config), out, stdout=sys.stderr)
    return spacy.load(out / "model-last")


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """The records of a file, one JSON object a line."""
    with path.open(encoding="utf8") as lines:
        return [json.loads(line) for line in lines]


def read_labels(folder: Path) -> list[dict[str, str]]:
    """The rows of a photo folder's labels.csv."""
    with (folder / "labels.csv").open(encoding="utf8", newline="") as file:
        return list(csv.DictReader(file))


def require_labels(folder: Path) -> None:
    """Ends the script with a word where there are no labelled photos."""
    if not (folder / "labels.csv").is_file():
        raise SystemExit(f"Skipped: there is no labels.csv in {folder}.")
