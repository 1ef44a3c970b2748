"""project.yml: its paths exist, its checksums hold, and its smoke workflow runs to the end."""

import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from weasel.util import load_project_config
from weasel.util.hashing import get_checksum

ROOT = Path(__file__).parents[1]
# What commands make; none of it is in a clean clone.
MADE_IN = {"corpus", "training", "metrics", "out"}


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    """project.yml as spaCy reads it: validated, its variables filled in."""
    return load_project_config(ROOT)


def commands_of(project: dict[str, Any], workflow: str) -> list[dict[str, Any]]:
    by_name = {command["name"]: command for command in project["commands"]}
    return [by_name[name] for name in project["workflows"][workflow]]


def paths_in(script: str) -> set[str]:
    """The files and folders that a command line names."""
    return {word for word in shlex.split(script) if "/" in word or word in MADE_IN}


def is_within(path: str, others: set[str]) -> bool:
    """Whether a path is one of the others, or in one, or a folder of one."""
    return any(f"{path}/".startswith(f"{o}/") or f"{o}/".startswith(f"{path}/") for o in others)


def test_every_data_file_is_an_asset_with_its_checksum(project):
    patterns = (
        "records/*.json*",
        "lexicon/*.tsv",
        "fields.json",
        "encoder/*.safetensors",
        "examples/*.jsonl",
    )
    found = {
        path.relative_to(ROOT).as_posix(): get_checksum(path)
        for pattern in patterns
        for path in (ROOT / "assets").glob(pattern)
    }
    listed = {asset["dest"]: asset["checksum"] for asset in project["assets"]}
    wrong = {dest: checksum for dest, checksum in found.items() if listed.get(dest) != checksum}
    assert not wrong, f"project.yml should say: {json.dumps(wrong, indent=2)}"
    assert set(listed) == set(found), "an asset of project.yml does not exist"


def test_workflows(project):
    order = ["convert", "check", "render", "train", "evaluate", "structure"]
    assert project["workflows"]["all"] == order
    used = {name for names in project["workflows"].values() for name in names}
    # These take texts, and hours, and photos, which are no part of the repository.
    assert used | {"pretrain", "tongue"} == {command["name"] for command in project["commands"]}


@pytest.mark.parametrize("workflow", ["all", "smoke"])
def test_every_path_is_there_or_made_before(project, workflow):
    made: set[str] = set()
    for command in commands_of(project, workflow):
        name, outputs = command["name"], set(command.get("outputs", []))
        for path in command["deps"]:
            there = path in made if path.split("/")[0] in MADE_IN else (ROOT / path).exists()
            assert there, f"{name} depends on {path}"
        for script in command["script"]:
            paths = paths_in(script)
            for path in paths:
                if path.split("/")[0] not in MADE_IN:
                    assert (ROOT / path).exists(), f"{name} names {path}"
            made |= {path for path in outputs if is_within(path, paths)}
        assert outputs <= made, f"{name} does not write {outputs - made}"


def test_every_path_is_a_dependency_or_an_output(project):
    """Else a changed input would not run the command again."""
    for command in project["commands"]:
        known = {*command["deps"], *command.get("outputs", [])}
        for script in command["script"]:
            for path in paths_in(script):
                assert is_within(path, known), f"{command['name']} must depend on {path}"


@pytest.mark.slow
def test_smoke_workflow(tmp_path):
    """Every command works on the ones before it, from the repository alone."""
    for name in ("assets", "configs"):
        shutil.copytree(ROOT / name, tmp_path / name)
    shutil.copy(ROOT / "project.yml", tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "spacy", "project", "run", "smoke"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    metrics = json.loads((tmp_path / "metrics" / "smoke.json").read_text("utf-8"))
    assert metrics["records"] == 40
    assert metrics["images"] == {"ok": 40}
    assert metrics["exact"]["gold"] == 1438
    lines = (tmp_path / "out" / "smoke" / "records.jsonl").read_text("utf-8").splitlines()
    assert len(lines) == 10
    assert (tmp_path / "out" / "smoke" / "page.html").stat().st_size > 10_000
