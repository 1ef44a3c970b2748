"""The direction of imports, and what importing the package costs."""

import ast
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import spacy_tcm

from .conftest import LIGHT, run_alone

ROOT = Path(spacy_tcm.__file__).parent

# A module imports from its own row and the rows above, never from below.
LAYERS = (
    ("errors", "types", "extensions", "record", "tags"),
    (
        "lexicon",
        "tokenizer",
        "language",
        "images",
        "meters",
        "batching",
        "decoding",
        "tables",
        "subwords",
        "fields",
        "sections",
        "context",
        "herbs",
        "linking",
        "prescriptions",
        "deid",
        "relations",
    ),
    ("nets",),
    ("models",),
    ("pipeline",),
    ("training", "records"),
    ("compress", "scale", "serve"),
    ("cli",),
    ("__main__",),
)
LAYER_OF = {name: number for number, names in enumerate(LAYERS) for name in names}

TORCH = {
    "captum",
    "torch",
    "torchvision",
    "torchcrf",
    "torch_pruning",
    "safetensors",
    "transformers",
    "spacy_transformers",
    "openvino",
    "nncf",
}
TORCH_EAGERLY = {"nets", "training", "compress"}
TORCH_LAZILY = {"models", "pipeline"}


@dataclass(frozen=True)
class Import:
    """One imported name. `lazy`: inside a function; `typing`: below `if TYPE_CHECKING`."""

    module: str
    line: int
    lazy: bool
    typing: bool


def find_imports(source: str, module: str, is_package: bool = False) -> Iterator[Import]:
    """The absolute names that a module imports, at any depth; `from a import b` gives a.b."""
    package = module if is_package else module.rpartition(".")[0]

    def walk(node: ast.AST, lazy: bool, typing: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, node.lineno, lazy, typing)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")
                parents = parents[: len(parents) - node.level + 1]
                base = ".".join([*parents, base] if base else parents)
            for alias in node.names:
                yield Import(f"{base}.{alias.name}", node.lineno, lazy, typing)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            lazy = True
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for child in node.body:
                yield from walk(child, lazy, True)
            for child in node.orelse:
                yield from walk(child, lazy, typing)
            return
        for child in ast.iter_child_nodes(node):
            yield from walk(child, lazy, typing)

    yield from walk(ast.parse(source), False, False)


def part_of(module: str) -> str | None:
    """``nets`` of ``spacy_tcm.nets.crf``; None for other packages and for spacy_tcm itself."""
    parts = module.split(".")
    return parts[1] if parts[0] == "spacy_tcm" and len(parts) > 1 else None


def find_violations(module: str, imports: list[Import]) -> list[str]:
    """What one module of spacy_tcm imports against the rules."""
    part = part_of(module)
    found = []
    for item in imports:
        top = item.module.split(".")[0]
        target = part_of(item.module)
        where = f"{module}, line {item.line}: "
        if target in LAYER_OF and (part is None or LAYER_OF[target] > LAYER_OF[part]):
            found.append(f"{where}{part or 'spacy_tcm'} must not import {target}")
        if item.typing:
            continue
        if top in TORCH and not (part in TORCH_EAGERLY or (part in TORCH_LAZILY and item.lazy)):
            found.append(f"{where}{top} may not be imported here")
        if top == "PIL" and not item.lazy:
            found.append(f"{where}PIL may be imported inside functions only")
    return found


@cache
def modules() -> dict[str, list[Import]]:
    """Every module of the package with its imports."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = ("spacy_tcm", *path.relative_to(ROOT).with_suffix("").parts)
        is_package = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if is_package else parts)
        found[name] = list(find_imports(path.read_text("utf-8"), name, is_package))
    return found


def test_every_module_has_a_layer():
    unknown = {part_of(name) for name in modules()} - {None, *LAYER_OF}
    assert not unknown, f"Give these a row in LAYERS: {sorted(unknown)}"


def test_imports_point_down():
    problems = [line for name, found in modules().items() for line in find_violations(name, found)]
    assert not problems, "\n".join(problems)


def test_no_import_cycles():
    graph = {
        name: {
            # `from .a import b` means the module a.b if there is one, else a name of module a.
            target
            for item in found
            for target in (item.module, item.module.rpartition(".")[0])
            if target in modules() and target not in (name, "spacy_tcm") and not item.typing
        }
        for name, found in modules().items()
    }
    TopologicalSorter(graph).prepare()  # raises CycleError with the cycle


@pytest.mark.parametrize(
    ("module", "source", "problem"),
    [
        ("spacy_tcm.tags", "from spacy_tcm.lexicon import Lexicon", "tags must not import lexicon"),
        ("spacy_tcm.tags", "from .lexicon import Lexicon", "tags must not import lexicon"),
        ("spacy_tcm.tags", "from . import lexicon", "tags must not import lexicon"),
        ("spacy_tcm.nets.crf", "from ..models import tongue", "nets must not import models"),
        ("spacy_tcm.nets.crf", "def f():\n  import spacy_tcm.cli.app", "nets must not import cli"),
        ("spacy_tcm.pipeline.ner", "import torch", "torch may not be imported here"),
        ("spacy_tcm.models.ner", "class A:\n  import torch.nn", "torch may not be imported here"),
        ("spacy_tcm.cli.app", "def f():\n  import torch", "torch may not be imported here"),
        ("spacy_tcm.lexicon", "def f():\n  import torch", "torch may not be imported here"),
        ("spacy_tcm.images.load", "from PIL import Image", "PIL may be imported inside functions"),
        ("spacy_tcm", "from spacy_tcm.tags import LABELS", "spacy_tcm must not import tags"),
    ],
)
def test_the_rules_catch(module, source, problem):
    imports = list(find_imports(source, module, is_package=module == "spacy_tcm"))
    assert [line for line in find_violations(module, imports) if problem in line]


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("spacy_tcm.pipeline.ner", "def f():\n  import torch"),
        ("spacy_tcm.pipeline.ner", "from ..models.tongue import build\nfrom ..tags import LABELS"),
        ("spacy_tcm.models.ner", "if TYPE_CHECKING:\n  import torch"),
        ("spacy_tcm.nets.crf", "import torch\nfrom torchcrf import CRF"),
        ("spacy_tcm.images.load", "def f():\n  from PIL import Image"),
        ("spacy_tcm.tokenizer", "from .lexicon import Lexicon"),
    ],
)
def test_the_rules_allow(module, source):
    assert find_violations(module, list(find_imports(source, module))) == []


# What follows runs in fresh interpreters.
PRELUDE = """
import importlib, json, sys

def loaded():
    names = {name.partition(".")[0] for name, module in sys.modules.items() if module}
    return {name for name in names if not name.startswith("_")} - sys.stdlib_module_names

entry_points = json.loads(sys.argv[1])
text = "患者便血3天，色鲜红，舌淡红。"
"""

BASE = """
import spacy, spacy_tcm
doc = spacy.blank("tcm")(text)
after_blank = loaded()
for name in entry_points:
    importlib.import_module(name)
from typer.testing import CliRunner
from spacy_tcm.cli.app import app
listing = CliRunner().invoke(app, ["--help"])
print(json.dumps({
    "text": doc.text,
    "after_blank": sorted(after_blank),
    "after_all": sorted(loaded()),
    "exit": listing.exit_code,
    "help": listing.output,
}))
"""

# The full installation: what we add to what spaCy and the other installed plugins load anyway.
FULL = """
import spacy
before = loaded()
import spacy_tcm
for name in entry_points:
    importlib.import_module(name)
ours = loaded() - before
spacy.blank("xx")
before = loaded()
assert spacy.blank("tcm")(text).text == text
print(json.dumps({"ours": sorted(ours), "blank": sorted(loaded() - before)}))
"""


def entry_point_modules() -> list[str]:
    """The modules named by the entry points of this project, as pyproject.toml lists them."""
    from importlib.metadata import distribution

    return sorted({point.module for point in distribution("spacy-tcm").entry_points})


def test_light_installation_needs_no_torch():
    """Without the training packages all entry points import, and so does the command line."""
    found = json.loads(run_alone(LIGHT + PRELUDE + BASE, json.dumps(entry_point_modules())))
    assert found["text"] == "患者便血3天，色鲜红，舌淡红。"
    assert found["exit"] == 0, found["help"]
    assert "structure" in found["help"]
    assert not TORCH & set(found["after_all"])
    assert "PIL" not in found["after_blank"]


def test_full_installation_loads_nothing_beyond_spacy():
    """`spacy_factories` are imported by every spacy.blank() of every user: ours add nothing."""
    found = json.loads(run_alone(PRELUDE + FULL, json.dumps(entry_point_modules())))
    assert set(found["ours"]) <= {"spacy_tcm", "ahocorasick_rs"}
    assert found["blank"] == []
