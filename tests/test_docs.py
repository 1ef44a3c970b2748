"""The examples of docs/*.md run."""

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
BLOCKS = [
    pytest.param(path, block, id=f"{path.stem}-{number}")
    for path in sorted(DOCS.glob("*.md"))
    for number, block in enumerate(re.findall(r"```python\n(.*?)```", path.read_text("utf8"), re.S))
]


@pytest.mark.parametrize(("path", "block"), BLOCKS)
def test_example(path, block):
    exec(compile(block, str(path), "exec"), {})
