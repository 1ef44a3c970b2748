"""The README and the other pages say what the benchmarks measured."""

import importlib.util
import json
import re
import sys
from pathlib import Path
from unittest.mock import patch

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf8")


def load_module():
    spec = importlib.util.spec_from_file_location("readme", ROOT / "benchmarks" / "readme.py")
    module = importlib.util.module_from_spec(spec)
    with patch.object(sys, "path", [str(ROOT / "benchmarks"), *sys.path]):
        spec.loader.exec_module(module)
    return module


MODULE = load_module()
PAGES = [page for page in MODULE.PAGES if page.exists()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.parent.name)
def test_figures_are_those_of_the_json_files(page):
    text = page.read_text(encoding="utf8")
    assert MODULE.render(text) == text, "run: python benchmarks/readme.py"


def test_every_figure_has_its_place_and_its_file():
    texts = "".join(page.read_text(encoding="utf8") for page in PAGES)
    for name in re.findall(r"<!-- ([a-z-]+) -->", texts):
        file, _ = MODULE.BLOCKS[name]
        body = texts.split(f"<!-- {name} -->")[1].split(f"<!-- /{name} -->")[0]
        if body.strip():
            assert json.loads((ROOT / "benchmarks" / file).read_text(encoding="utf8")), name
    for name, (file, _) in MODULE.BLOCKS.items():
        if (ROOT / "benchmarks" / file).exists():
            assert f"<!-- {name} -->" in texts, f"no page shows {file}"


def test_a_changed_figure_is_noticed():
    row = next(line for line in README.splitlines() if "| F1 of entities |" in line)
    assert MODULE.render(README.replace(row, row.replace(".", "9."))) == README


def test_the_chinese_table_has_no_english_left():
    page = (ROOT / "README.zh.md").read_text(encoding="utf8")
    body = page.split("<!-- headline-zh -->")[1].split("<!-- /headline-zh -->")[0]
    rows = README.split("<!-- headline -->")[1].split("<!-- /headline -->")[0]
    assert body.count("\n") == rows.count("\n")
    names = {"BERT", "Large", "Taylor"}
    assert set(re.findall(r"[A-Za-z]{4,}", body)) <= names


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.parent.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", page.read_text(encoding="utf8")):
        assert (page.parent / target).exists(), target
