"""The README says what the benchmarks measured."""

import importlib.util
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf8")


@pytest.fixture(scope="module")
def readme():
    spec = importlib.util.spec_from_file_location("readme", ROOT / "benchmarks" / "readme.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_figures_are_those_of_the_json_files(readme):
    assert readme.render(README) == README, "run: python benchmarks/readme.py"


def test_every_figure_has_its_file(readme):
    for name, (file, _) in readme.BLOCKS.items():
        body = README.split(f"<!-- {name} -->")[1].split(f"<!-- /{name} -->")[0]
        if body.strip():
            assert json.loads((ROOT / "benchmarks" / file).read_text(encoding="utf8")), name


def test_a_changed_figure_is_noticed(readme):
    row = next(line for line in README.splitlines() if "jieba |" in line)
    assert readme.render(README.replace(row, row.replace(".", "9."))) == README


def test_links_lead_somewhere():
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
