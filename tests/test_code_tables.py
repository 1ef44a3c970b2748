"""The tables of codes are those that the script makes of the lexicon."""

import importlib.util
from pathlib import Path

from spacy_tcm.herbs import RESOURCES

SCRIPT = Path(__file__).parents[1] / "assets" / "lexicon" / "compile_codes.py"


def test_compiled_again_they_are_the_same(tmp_path):
    spec = importlib.util.spec_from_file_location("compile_codes", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.compile_codes(tmp_path, with_characters=False)
    made = sorted(tmp_path.iterdir())
    assert len(made) == 14
    for path in made:
        assert path.read_bytes() == (RESOURCES / "codes" / path.name).read_bytes(), path.name
