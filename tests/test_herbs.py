import pytest

from spacy_tcm.herbs import default_names


@pytest.mark.parametrize(
    ("surface", "name", "processing"),
    [
        ("黄芪", "黄芪", ""),
        ("北芪", "黄芪", ""),
        ("元胡", "延胡索", ""),
        ("炙黄芪", "黄芪", "炙"),
        ("醋元胡", "延胡索", "醋"),
        ("土炒白术", "白术", "土炒"),
        ("炙草", "甘草", "炙"),
        ("法夏", "半夏", "法"),
        ("制川乌", "川乌", "制"),
        ("三七粉", "三七", "粉"),
        ("熟大黄炭", "大黄", "熟炭"),
        ("黑顺片", "附子", ""),
        ("生地", "生地黄", ""),  # a piece of its own, not 地黄 unprocessed
        ("生姜", "生姜", ""),
        ("姜黄", "姜黄", ""),
        ("淡竹叶", "淡竹叶", ""),
        ("川郁金", "郁金", ""),
        ("煅 牡蛎", "牡蛎", "煅"),
    ],
)
def test_names(surface, name, processing):
    (herb,) = default_names().resolve(surface)
    assert (herb.name, herb.processing) == (name, processing)


def test_joined_and_unknown_names():
    names = default_names()
    assert [(h.name, h.processing) for h in names.resolve("煅龙牡")] == [
        ("龙骨", "煅"),
        ("牡蛎", "煅"),
    ]
    assert [h.name for h in names.resolve("焦三仙")] == ["山楂", "麦芽", "六神曲"]
    assert [h.name for h in names.resolve("煅龙骨煅牡蛎")] == ["龙骨", "牡蛎"]
    for unknown in ("", "术", "阿莫西林", "炙", "炒炒炒炒炒炒炒炒白"):
        assert names.resolve(unknown) == []
