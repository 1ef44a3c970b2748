import pytest

from spacy_tcm.errors import ModelError
from spacy_tcm.fields.pulse import PulseGrammar

GRAMMAR = PulseGrammar.from_path()


def read(*surfaces):
    text, spans = "", []
    for surface in surfaces:
        spans.append((len(text), len(text) + len(surface)))
        text += surface + "，"
    return GRAMMAR.read(spans, text)


@pytest.mark.parametrize(
    ("surfaces", "value"),
    [
        (["脉弦细数"], ["弦", "细", "数"]),
        (["左脉弦", "右脉滑"], ["弦", "滑"]),
        (["脉沉细无力"], ["沉", "细"]),
        (["脉浮而无力", "沉取弱"], ["浮", "弱"]),
        (["右寸浮而不实"], ["浮"]),
        (["脉沉弦", "紧象渐缓", "左关略细"], ["沉", "弦", "细"]),
        (["脉细涩", "趺阳脉弱"], ["细", "涩"]),
        (["脉微细欲绝"], ["微", "细"]),
        (["脉弦滑", "脉弦"], ["弦", "滑"]),
        (["脈絃緊"], ["弦", "紧"]),
    ],
)
def test_values(surfaces, value):
    assert read(*surfaces)["value"] == value


def test_side_place_and_strength():
    found = read("左关弦有力", "右尺沉")
    assert [(p["side"], p["positions"], p["strength"]) for p in found["parts"]] == [
        ("左", ["关"], "有力"),
        ("右", ["尺"], None),
    ]


def test_alternatives():
    found = read("脉细或弱")
    assert (found["value"], found["candidates"], found["fuzzy"]) == (
        ["细", "弱"],
        ["细", "弱"],
        True,
    )


def test_nothing():
    assert GRAMMAR.read([], "") is None
    assert read("脉象平和") is None


def test_a_grammar_that_cannot_be_used_is_named(tmp_path):
    (tmp_path / "own.json").write_text("{}", "utf8")
    with pytest.raises(ModelError, match=r"E612.*own\.json"):
        PulseGrammar.from_path(tmp_path / "own.json")
