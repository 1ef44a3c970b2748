import pytest

from spacy_tcm.errors import ModelError
from spacy_tcm.herbs import default_names
from spacy_tcm.prescriptions.cautions import Cautions


@pytest.fixture(scope="module")
def cautions():
    return Cautions.from_path()


def make(*herbs, route="oral"):
    """A prescription of (name, grams) pairs."""
    rows = []
    for text, grams in herbs:
        name = default_names().resolve(text)[0]
        rows.append(
            {
                "name": name.name,
                "processing": name.processing or None,
                "text": text,
                "dose": grams,
                "grams": grams,
                "footnote": None,
                "known": True,
            }
        )
    return {"herbs": rows, "route": route}


def found(cautions, *herbs, pregnant=False, **more):
    warnings = cautions.check(make(*herbs, **more), pregnant)
    return [(w["kind"], w["severity"], tuple(w["items"])) for w in warnings]


@pytest.mark.parametrize(
    ("a", "b", "items"),
    [
        ("炙甘草", "海藻", ("甘草", "海藻")),
        ("法半夏", "黑顺片", ("附子", "半夏")),
        ("制川乌", "浙贝母", ("川乌", "浙贝母")),
        ("藜芦", "炒白芍", ("藜芦", "白芍")),
    ],
)
def test_eighteen_incompatibles(cautions, a, b, items):
    assert ("incompatible", "high", items) in found(cautions, (a, None), (b, None))


@pytest.mark.parametrize(
    ("a", "b", "items"),
    [
        ("公丁香", "郁金", ("丁香", "郁金")),
        ("五灵脂", "人参片", ("人参", "五灵脂")),
        ("官桂", "赤石脂", ("肉桂", "赤石脂")),
        ("巴豆霜", "牵牛子", ("巴豆", "牵牛子")),
    ],
)
def test_nineteen_antagonists(cautions, a, b, items):
    assert ("antagonistic", "moderate", items) in found(cautions, (a, None), (b, None))


def test_nothing_to_warn_of(cautions):
    assert found(cautions, ("黄芪", 15), ("党参", 15), ("炙甘草", 6)) == []


def test_doses(cautions):
    assert found(cautions, ("细辛", 3)) == []
    assert found(cautions, ("细辛", 6)) == [("dose", "high", ("细辛",))]
    assert found(cautions, ("黄芪", 45)) == [("dose", "info", ("黄芪",))]
    assert found(cautions, ("黄芪", 90)) == [("dose", "moderate", ("黄芪",))]
    assert found(cautions, ("黄芪", 3)) == [("dose", "info", ("黄芪",))]
    assert found(cautions, ("制何首乌", 10)) == []
    assert found(cautions, ("何首乌", 10)) == [("dose", "info", ("何首乌",))]
    assert found(cautions, ("细辛", 30), route="topical") == []
    assert found(cautions, ("三七粉", 1.5), pregnant=None) == []  # a powder that is swallowed
    (warning,) = cautions.check(make(("细辛", 6)))
    assert "6g" in warning["message"]
    assert "1～3g" in warning["message"]
    assert "药典" in warning["source"]
    assert "不构成医疗建议" in warning["notice"]
    assert "no medical advice" in warning["notice"]


def test_pregnancy(cautions):
    herbs = (("莪术", 9), ("桃仁", 9), ("制川乌", 3), ("白术", 9))
    assert found(cautions, *herbs, pregnant=True) == [
        ("pregnancy", "high", ("莪术",)),
        ("pregnancy", "moderate", ("桃仁", "川乌")),
    ]
    assert {severity for _, severity, _ in found(cautions, *herbs)} == {"info"}
    assert found(cautions, *herbs, pregnant=None) == []
    assert ("pregnancy", "high", ("川乌",)) in found(cautions, ("川乌", None), pregnant=True)


@pytest.mark.parametrize(
    ("text", "pregnant"),
    [
        ("患者妊娠8周，阴道少量出血", True),
        ("女，28岁，孕12+周，腰酸", True),
        ("停经45天，HCG阳性", True),
        ("女，30岁，否认妊娠，月经量少", False),
        ("女，30岁，婚后3年未孕，备孕中", False),
        ("产后3月，乳汁少", False),
        ("女，55岁，便血", False),
        ("患者男，45岁，其妻妊娠", None),
    ],
)
def test_pregnant_or_not(cautions, text, pregnant):
    assert cautions.find_pregnancy(text) is pregnant


def test_every_range_has_a_source_and_an_order(cautions):
    ranges = cautions.data["dose"]["ranges"]
    assert len(ranges) > 300
    assert all(entry["source"] and 0 < entry["low"] < entry["high"] for entry in ranges)
    assert len({entry["herb"] for entry in ranges}) == len(ranges)


def test_herbs_of_the_cautions_are_known(cautions):
    names = {entry["herb"] for entry in cautions.data["dose"]["ranges"]}
    assert [name for name in names if not default_names().resolve(name)] == []


def test_bad_cautions(cautions, tmp_path):
    path = tmp_path / "own.json"
    with pytest.raises(ModelError, match=r"E621.*own\.json"):
        Cautions.from_path(path)
    for change in (
        {"disclaimer": ""},
        {"dose": {**cautions.data["dose"], "above": "{grams}"}},
        {
            "dose": {
                **cautions.data["dose"],
                "ranges": [{"herb": "黄芪", "low": 9, "high": 3, "source": "x"}],
            }
        },
    ):
        with pytest.raises(ModelError, match="E621"):
            Cautions({**cautions.data, **change})
