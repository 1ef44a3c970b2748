import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_tcm.errors import ModelError
from spacy_tcm.prescriptions.grammar import PrescriptionGrammar

WORDS = {
    "HERB": "黄芪 当归 生地黄 熟地黄 甘草 炙甘草 法半夏 制附片 白术 麻黄 柴胡 黄芩 大枣 细辛 党参 "
    "茯苓 薄荷 三七粉 生龙牡 陈皮 木香 钩藤 石膏 砂仁 火麻仁 瓜蒌仁 桂枝 北芪 元胡 苦参",
    "FORMULA": "四君子汤 逍遥散加减 补中益气汤 二陈汤 六味地黄丸 柴胡疏肝散合金铃子散化裁",
    "DRUG": "阿莫西林胶囊 二甲双胍片",
    "DOSAGE": "口服 tid",
}
LABELS = {word: label for label, words in WORDS.items() for word in words.split()}
GRAMMAR = PrescriptionGrammar.from_path()
PATTERN = re.compile("|".join(sorted(LABELS, key=len, reverse=True)))


def find_spans(text):
    return [(m.start(), m.end(), LABELS[m[0]]) for m in PATTERN.finditer(text)]


@pytest.fixture(scope="module")
def grammar():
    return GRAMMAR


@pytest.fixture(scope="module")
def read(grammar):
    return lambda text: grammar.read(find_spans(text), text)


def doses(prescription):
    return {h["name"]: (h["dose"], h["unit"]) for h in prescription["herbs"]}


def test_a_whole_prescription(read):
    text = (
        "方用补中益气汤加减：北芪30g 当归10g 生地黄15g(先煎)，炙甘草6g ×7剂 水煎服 日一剂 早晚分服"
    )
    (found,) = read(text)
    assert found["formula"]["base"] == ["补中益气汤"]
    assert found["formula"]["modification"] == ["加减"]
    assert doses(found) == {
        n: (d, "g")
        for n, d in zip(("黄芪", "当归", "生地黄", "甘草"), (30, 10, 15, 6), strict=True)
    }
    assert found["herbs"][2]["footnote"] == "先煎"
    assert found["herbs"][3]["processing"] == "炙"
    assert (found["count"], found["route"]) == (7, "oral")
    assert found["regimen"] == "水煎服，日一剂，早晚分服"
    assert text[found["start"] : found["end"]] == text[2:]
    for herb in found["herbs"]:
        assert text[herb["start"] : herb["end"]] == herb["text"]
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("黄芪、当归、白术各10g，甘草6g", (10, 10, 10, 6)),
        ("黄芪 当归（酒炒） 白术均12克；甘草 6 克", (12, 12, 12, 6)),
        ("黄芪30，当归10，白术15，甘草6", (30, 10, 15, 6)),
        ("黄芪30当归10白术15甘草6", (30, 10, 15, 6)),
        ("①黄芪30g ②当归10g ③白术15g ④甘草6g", (30, 10, 15, 6)),
        ("1.黄芪30g\n2.当归10g\n3.白术15g\n4.甘草6g", (30, 10, 15, 6)),
        ("黄芪 30g    当归 10g\n白术 15g    甘草  6g", (30, 10, 15, 6)),
        ("黄芪３０ｇ｜当归１０ｇ｜白术１５ｇ｜甘草６ｇ", (30, 10, 15, 6)),
        ("黄芪（30g） 当归（10g） 白术（15g） 甘草（6g）", (30, 10, 15, 6)),
        ("黄芪30g当归10g白术15g甘草69", (30, 10, 15, 6)),
        ("黄芪一两、当归三钱、白术五钱、甘草二钱", (1, 3, 5, 2)),
    ],
)
def test_layouts(read, text, expected):
    (found,) = read(text)
    assert tuple(h["dose"] for h in found["herbs"]) == expected


def test_old_units_beside_grams(read):
    (found,) = read("黄芪一两，当归三钱，甘草钱半，细辛五分，大枣四枚。五剂")
    assert [h["unit"] for h in found["herbs"]] == ["两", "钱", "钱", "分", "枚"]
    assert [h["grams"] for h in found["herbs"]] == [30, 9, 4.5, 1.5, None]
    assert found["count"] == 5


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("黄芪30g 当归10g×7", 7),
        ("黄芪30g 当归10g ×7剂", 7),
        ("黄芪30g 当归10g *7付", 7),
        ("黄芪30g 当归10g。七帖，日1剂", 7),
        ("黄芪30g 当归10g，每日1剂，共14剂", 14),
        ("黄芪30g 当归10g\n用法：5剂，每剂煎2次", 5),
        ("黄芪30g 当归10g，日一剂，连进廿一剂", 21),
        ("处方（7剂）：黄芪30g 当归10g", 7),
        ("黄芪30g 当归10g，每日1剂，分2次服", None),
        ("黄芪30g 当归10g，两日一剂", None),
        ("黄芪30g 当归10g ×7天", None),
        ("黄芪30g 当归10g×2袋", None),
    ],
)
def test_count(read, text, count):
    (found,) = read(text)
    assert doses(found) == {"黄芪": (30, "g"), "当归": (10, "g")}
    assert found["count"] == count


def test_modifications(read):
    (found,) = read("守上方去柴胡、黄芩，加黄芪30g、当归10g，白术减至6g，7剂")
    assert found["previous"]
    assert [h["name"] for h in found["removed"]] == ["柴胡", "黄芩"]
    assert [(h["name"], h["action"]) for h in found["herbs"]] == [
        ("黄芪", "add"),
        ("当归", "add"),
        ("白术", "change"),
    ]
    (found,) = read("原方以火麻仁易瓜蒌仁15g")
    assert doses(found) == {"火麻仁": (15, "g")}
    assert [h["name"] for h in found["removed"]] == ["瓜蒌子"]
    (found,) = read("上方柴胡改为桂枝9g")
    assert (doses(found), found["removed"][0]["name"]) == ({"桂枝": (9, "g")}, "柴胡")
    (found,) = read("上方黄芪由15g增至30g，茯苓不变")
    assert doses(found) == {"黄芪": (30, "g"), "茯苓": (None, None)}


def test_several_prescriptions(read):
    text = (
        "补中益气汤合二陈汤：黄芪20g，陈皮6g。3剂，水煎服。\n苦参30g 黄芩20g，煎汤坐浴，5剂。\n"
        "二诊：去陈皮，加木香6g。7剂。"
    )
    first, second, third = read(text)
    assert first["formula"]["base"] == ["补中益气汤", "二陈汤"]
    assert first["formula"]["modification"] == ["合"]
    assert [p["count"] for p in (first, second, third)] == [3, 5, 7]
    assert [p["route"] for p in (first, second)] == ["oral", "topical"]
    assert (second["formula"], third["removed"][0]["name"]) == (None, "陈皮")


def test_formula_parts(read):
    (found,) = read("柴胡疏肝散合金铃子散化裁：柴胡6g，元胡9g")
    assert found["formula"]["base"] == ["柴胡疏肝散", "金铃子散"]
    assert found["formula"]["modification"] == ["合", "化裁"]


def test_a_formula_alone(read):
    (found,) = read("善后予六味地黄丸6g tid")
    assert (found["herbs"], found["formula"]["base"]) == ([], ["六味地黄丸"])
    assert read("曾服六味地黄丸未效") == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("黄芪15g，白术10g，若咳甚加党参10g、桂枝6g。", [("党参", "add", 10), ("桂枝", "add", 6)]),
        ("黄芪15g，白术10g，可加用茯苓3g。", [("茯苓", "add", 3)]),
        ("黄芪15g，白术10g，水煎服。必要时加茯苓3g。", [("茯苓", "add", 3)]),
        ("黄芪15g，白术10g，便溏者去白术。", [("白术", "remove", None)]),
    ],
)
def test_herbs_on_a_condition_are_not_of_the_prescription(read, text, expected):
    (found,) = read(text + "7剂")
    assert [herb["name"] for herb in found["herbs"]] == ["黄芪", "白术"]
    assert [(h["name"], h["action"], h["dose"]) for h in found["conditional"]] == expected
    assert all(herb["condition"] for herb in found["conditional"])
    assert found["removed"] == []


def test_conditions_and_a_count_after_them_are_of_the_prescription_before(read):
    text = (
        "四君子汤。党参10g、白术10g。若汗出不止，加黄芪15g；伴口渴者，可酌加石膏10g；"
        "夜寐不安加茯苓20g；咳甚加陈皮、桂枝；便秘者忌麻黄。5剂，水煎服。"
    )
    (found,) = read(text)
    assert [herb["name"] for herb in found["herbs"]] == ["党参", "白术"]
    assert [(h["name"], h["condition"]) for h in found["conditional"]] == [
        ("黄芪", "若汗出不止"),
        ("石膏", "伴口渴者"),
        ("茯苓", "夜寐不安"),
        ("陈皮", "咳甚"),
        ("桂枝", "咳甚"),
    ]
    assert (found["count"], found["regimen"], found["route"]) == (5, "水煎服", "oral")
    assert text[found["end"] :] == "。"


def test_the_count_of_another_visit_is_not_that_of_the_prescription(read):
    (found,) = read("党参10g、白术10g。二诊：若咳甚加陈皮。5剂。")
    assert (found["count"], len(found["conditional"])) == (None, 1)


@pytest.mark.parametrize(
    "text",
    ["如上方加党参10g，白术6g", "黄芪15g，咳甚，加党参10g", "守方，患者加党参10g，白术6g"],
)
def test_what_is_no_condition(read, text):
    (found,) = read(text)
    assert len(found["herbs"]) == 2
    assert found["conditional"] == []


def test_a_condition_alone_is_no_prescription(read):
    assert read("若咳甚加党参10g。") == []


def test_traditional_characters():
    (found,) = GRAMMAR.read([(0, 2, "HERB"), (6, 8, "HERB")], "黃芪15g，當歸10g，七劑，水煎服")
    assert [herb["name"] for herb in found["herbs"]] == ["黄芪", "当归"]
    assert [herb["text"] for herb in found["herbs"]] == ["黃芪", "當歸"]
    assert found["count"] == 7


@pytest.mark.parametrize("after", ["、", ")", ".", " ", "） "])
def test_the_number_of_the_next_entry_is_no_footnote(after):
    text = f"1{after}党参15g 2{after}白术12g 3{after}茯苓15g，7剂"
    numbers = [(m.start(), m.end(), "DOSAGE") for m in re.finditer(r"\b[23](?=\W)", text)]
    (found,) = GRAMMAR.read(find_spans(text) + numbers, text)
    assert len(numbers) == 2
    assert [(h["dose"], h["footnote"]) for h in found["herbs"]] == [
        (15, None),
        (12, None),
        (15, None),
    ]


def test_footnotes(read):
    (found,) = read(
        "薄荷（后下）6g，钩藤后下15g，石膏30g先煎20分钟，茯苓、白术（均先煎）各10g，三七粉3g^冲服"
    )
    assert [h["footnote"] for h in found["herbs"]] == [
        "后下",
        "后下",
        "先煎20分钟",
        "先煎",
        "先煎",
        "冲服",
    ]
    assert [h["dose"] for h in found["herbs"]] == [6, 15, 30, 10, 10, 3]
    (found,) = read("熟地黄12g（砂仁3g拌），甘草6g")
    assert doses(found) == {"熟地黄": (12, "g"), "砂仁": (3, "g"), "甘草": (6, "g")}


def test_joined_names(read):
    (found,) = read("生龙牡各30g先煎，法半夏9g")
    rows = [(h["name"], h["processing"], h["dose"]) for h in found["herbs"]]
    assert rows == [("龙骨", "生", 30), ("牡蛎", "生", 30), ("半夏", "法", 9)]
    assert found["herbs"][0]["start"] == found["herbs"][1]["start"]


@pytest.mark.parametrize(
    "text", ["禁食甘草、党参", "茯苓伐肾邪，黄芪补气", "", "停用麻黄", "黄芪过敏"]
)
def test_mentions_are_no_prescription(read, text):
    assert read(text) == []


def test_drugs_are_no_herbs(read, grammar):
    text = "阿莫西林胶囊0.5g口服tid；二甲双胍片 0.25g。黄芪30g 当归10g"
    (found,) = read(text)
    assert [h["name"] for h in found["herbs"]] == ["黄芪", "当归"]
    first, second = grammar.read_drugs(find_spans(text), text)
    assert (first["text"], first["dose"], first["unit"]) == ("阿莫西林胶囊", 0.5, "g")
    assert (second["dose"], second["dose_text"]) == (0.25, "0.25g")


@given(
    st.lists(
        st.sampled_from(
            [*LABELS, *"，。、；：（）()\n ×7剂各10g去加减至钱两 一十半日服", "二诊", "外治"]
        ),
        max_size=30,
    )
)
def test_any_order_of_such_pieces(pieces):
    text = "".join(pieces)
    last = 0
    for found in GRAMMAR.read(find_spans(text), text):
        assert last <= found["start"] < found["end"] <= len(text)
        last = found["start"]
        for herb in (*found["herbs"], *found["removed"]):
            assert text[herb["start"] : herb["end"]] == herb["text"]


def test_bad_words(tmp_path):
    path = tmp_path / "words.json"
    with pytest.raises(ModelError, match=r"E620.*words\.json.*No such file"):
        PrescriptionGrammar.from_path(path)
    path.write_text("{}", "utf8")
    with pytest.raises(ModelError, match=r"E620.*missing: herbs, units"):
        PrescriptionGrammar.from_path(path)
    data = PrescriptionGrammar.from_path().data
    with pytest.raises(ModelError, match=r"E620.*a word is empty"):
        PrescriptionGrammar({**data, "regimen": [""]})
