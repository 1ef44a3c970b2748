"""The examples of docs/ and of the READMEs run, links lead somewhere, settings are told."""

import re
import zipfile
from pathlib import Path

import pytest
from spacy.language import Language

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.zh.md", *sorted(DOCS.rglob("*.md"))]


def blocks(path):
    """The Python of a page, at the lines where it stands there."""
    text = path.read_text("utf8")
    for match in re.finditer(r"```python\n(.*?)```", text, re.S):
        yield "\n" * text.count("\n", 0, match.start(1)) + match[1]


BLOCKS = [
    pytest.param(path, block, id=f"{path.stem}-{number}")
    for path in PAGES
    for number, block in enumerate(blocks(path))
]


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """What the wheel in models/ installs."""
    (wheel,) = (ROOT / "models").glob("tcm_multimodal-*.whl")
    folder = tmp_path_factory.mktemp("wheel")
    with zipfile.ZipFile(wheel) as file:
        file.extractall(folder)
    return folder


@pytest.mark.parametrize(("path", "block"), BLOCKS)
def test_example(path, block, released, monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.syspath_prepend(released)
    exec(compile(block, str(path), "exec"), {})


@pytest.mark.parametrize("name", ["README.md", "README.zh.md"])
def test_a_readme_begins_with_what_is_printed(name, released, monkeypatch, capsys):
    page = ROOT / name
    monkeypatch.syspath_prepend(released)
    exec(compile(next(blocks(page)), str(page), "exec"), {})
    _, after = page.read_text("utf8").split("```python\n", 1)
    shown = re.findall(r"\n```\n(.*?)```", after.split("```", 1)[1], re.S)[0]

    def without_scores(text):
        return re.sub(r" [01]\.\d+$", "", text, flags=re.M)

    assert without_scores(capsys.readouterr().out) == without_scores(shown)


def test_the_examples_of_the_readme_follow_each_other(released, monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.syspath_prepend(released)
    names = {}
    for block in blocks(ROOT / "README.md"):
        exec(compile(block, "README.md", "exec"), names)
    assert names["record"]["fields"]["脉象.脉"]["value"] == ["弦", "细", "数"]
    assert names["doc"]._.tongue["status"] == "ok"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_links_lead_somewhere(path):
    for target, anchor in re.findall(r"\]\((?!http)([^)#]*)(#[^)]+)?\)", path.read_text("utf8")):
        page = path.parent / target if target else path
        assert page.exists(), target
        if anchor:
            titles = re.findall(r"^#+ (.+)$", page.read_text("utf8"), re.M)
            assert anchor in {"#" + slug(title) for title in titles}, f"{target}{anchor}"


def slug(title):
    """The anchor of a heading."""
    return re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-")


@pytest.mark.parametrize(
    "name", [path.stem for path in sorted((DOCS / "components").glob("*_*.md"))]
)
def test_every_setting_is_told_with_its_default(name):
    page = (DOCS / "components" / f"{name}.md").read_text("utf8")
    for setting, default in Language.get_factory_meta(name).default_config.items():
        (row,) = re.findall(rf"^\| `{setting}` \|(.+)$", page, re.M)
        if isinstance(default, dict):
            assert next(v for k, v in default.items() if k.startswith("@")) in row
        else:
            written = {None: "null", True: "true", False: "false"}.get(default, repr(default))
            assert f"`{written}`".replace("'", '"') in row


def test_every_component_has_its_page():
    listed = {path.stem for path in (DOCS / "components").glob("*.md")}
    table = (ROOT / "pyproject.toml").read_text("utf8")
    (table,) = re.findall(r"spacy_factories\]\n(.+?)\n\n", table, re.S)
    assert {line.split(" = ")[0] for line in table.splitlines()} == listed - {"index", "tokenizer"}
