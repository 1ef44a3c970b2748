import copy
import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_tcm.errors import ModelError
from spacy_tcm.fields.tongue import DEFAULT_GRAMMAR, TongueGrammar

ROOT = Path(__file__).parents[2]
GRAMMAR = TongueGrammar.from_path()
ALLOWED = {
    field["id"]: field.get("values", ())
    for field in json.loads((ROOT / "assets" / "fields.json").read_text("utf8"))["fields"]
}


def read(marked):
    """Entities are marked: ``【舌红】，【苔黄】``."""
    spans, text = [], ""
    for part in re.split(r"(【.*?】)", marked):
        if part.startswith("【"):
            spans.append((len(text), part[1:-1]))
            part = part[1:-1]
        text += part
    return GRAMMAR.read(spans, text)


def values(marked):
    found = read(marked).fields
    return {field.removeprefix("舌象."): set(f["value"]) for field, f in found.items()}


def said(**fields):
    return {field: set(value.split()) for field, value in fields.items()}


@pytest.mark.parametrize(
    ("marked", "expected"),
    [
        ("【舌淡红】，【苔薄白】", said(舌色="淡红", 苔色="白", 苔质="薄")),
        ("【舌淡】【苔白】", said(舌色="淡白", 苔色="白")),
        ("【舌黯红】，【边见瘀斑数点】", said(舌色="暗红", 舌形="瘀斑")),
        ("【舌质淡尖红】", said(舌色="淡白 红")),
        ("【舌边尖红】，【质淡胖】", said(舌色="红 淡白", 舌形="胖大")),
        ("【舌红绛】", said(舌色="红 绛")),
        ("【舌绛红瘦小】", said(舌色="绛", 舌形="瘦薄")),
        ("【舌红偏暗】", said(舌色="暗红")),
        ("【舌淡红偏暗】", said(舌色="淡红")),
        ("【舌淡暗】", said(舌色="淡白")),
        ("【舌质紫暗】", said(舌色="青紫")),
        ("【舌淡偏紫】", said(舌色="淡紫")),
        ("【舌暗红微紫】", said(舌色="暗红 淡紫")),
        ("【舌暗】", {}),
        ("【舌颤】，【伸舌不过齿】", {}),
        # 薄 is of the coating, but not where it is said of the body.
        ("【舌体薄小】", said(舌形="瘦薄")),
        ("【舌红绛瘦薄】", said(舌色="红 绛", 舌形="瘦薄")),
        ("【舌淡胖嫩】，【边有齿印】", said(舌色="淡白", 舌形="胖大 嫩 齿痕")),
        ("【质红苍老】，【布有芒刺】", said(舌色="红", 舌形="老 点刺")),
        ("【舌面干裂】", said(舌形="裂纹")),
        ("【中央裂沟纵行】", said(舌形="裂纹")),
        ("【苔薄微黄】", said(苔色="淡黄", 苔质="薄")),
        ("【苔黄白相间】", said(苔色="黄 白")),
        ("【苔白腻罩黄】", said(苔色="白 黄", 苔质="腻")),
        ("【根灰黑】", said(苔色="灰 黑")),
        ("【苔黄褐厚腻】", said(苔色="黄 灰", 苔质="厚 腻")),
        ("【苔白水滑】", said(苔色="白", 苔质="滑")),
        ("【苔花剥】", said(苔质="剥")),
        ("【光亮如镜】，【全无苔垢】", said(苔质="无")),
        ("【舌红少苔】", said(舌色="红", 苔质="少")),
        # Dryness is a value of the coating alone.
        ("【舌红少津】，【苔薄】", said(舌色="红", 苔质="薄")),
        ("【苔薄黄少津】", said(苔色="黄", 苔质="薄 燥")),
        ("【苔黄】，【根部稍腻】，【欠津】", said(苔色="黄", 苔质="腻 燥")),
        # The veins below the tongue are of no field; what follows them is again.
        ("【舌下络脉青紫迂曲】", {}),
        ("【舌淡】，【舌下脉络紫】，【苔白】", said(舌色="淡白", 苔色="白")),
        # The word of the coating may stand before the entity.
        ("苔【干厚】", said(苔质="燥 厚")),
        ("【齒痕】【苔黃膩】", said(舌形="齿痕", 苔色="黄", 苔质="腻")),
    ],
)
def test_values(marked, expected):
    assert values(marked) == expected


@pytest.mark.parametrize(
    ("marked", "expected", "denied"),
    [
        ("【舌红无瘀斑】", said(舌色="红"), {"瘀斑"}),
        ("【舌红】，无【齿痕】、【裂纹】，【苔白】", said(舌色="红", 苔色="白"), {"齿痕", "裂纹"}),
        ("【舌红】，未见明显【瘀点】", said(舌色="红"), {"瘀点"}),
        ("【边略厚而齿印不显】", {}, {"齿痕"}),
        ("【舌红】，【裂纹】（－）", said(舌色="红"), {"裂纹"}),
        ("无汗【舌红】", said(舌色="红"), set()),
        ("无汗【边有齿痕】", said(舌形="齿痕"), set()),
        ("【润而不滑】", {}, set()),
        ("【苔润而不滑】", said(苔质="润"), {"滑"}),
        ("【舌尖有瘀点】，【舌边无瘀点】", said(舌形="瘀点"), set()),
    ],
)
def test_denied(marked, expected, denied):
    reading = read(marked)
    assert values(marked) == expected
    assert {value for found in reading.denied.values() for value in found} == denied


@pytest.mark.parametrize(
    ("marked", "expected"),
    [
        ("【苔由黄厚转白腻】", said(苔色="白", 苔质="腻")),
        ("苔由【黄厚腻】转为【薄腻微黄】，【舌红】", said(舌色="红", 苔色="淡黄", 苔质="薄 腻")),
        ("【舌绛转红】", said(舌色="红")),
        ("【舌红渐淡】", said(舌色="红")),
        ("【苔黄腻已化】", {}),
        ("【苔黄腻未化】", said(苔色="黄", 苔质="腻")),
        ("【苔白腻较前薄】", said(苔色="白", 苔质="腻")),
        ("【苔黄少津】（前次【苔黑燥】）", said(苔色="黄", 苔质="燥")),
        ("上次【苔白腻】，今已化；现【舌淡红】，【苔薄】", said(舌色="淡红", 苔质="薄")),
        ("前诊【舌青淡】【苔白滑】，脉弦；今【舌淡】", said(舌色="淡白")),
        # A later visit replaces what it speaks of, body and coating each.
        ("【舌红绛】，【苔薄黄】。二诊：【舌淡红】【苔少】。", said(舌色="淡红", 苔质="少")),
        ("【舌红】【有裂纹】，【苔黄】。三周后【苔转薄】", said(舌色="红", 舌形="裂纹", 苔质="薄")),
        ("【舌红】，【苔黄腻】。次诊【水滑苔退】", said(舌色="红", 苔色="黄", 苔质="腻")),
        ("【舌红】【苔黄】" + "。" * 50 + "【舌淡红】", said(舌色="淡红", 苔色="黄")),
        # The discussion of a finding is none of its own, unless there is no other.
        ("【舌红】，【苔黄】。按：患者【舌淡】，当补", said(舌色="红", 苔色="黄")),
        ("按：患者【舌淡】，当补", said(舌色="淡白")),
        ("【舌红】。辨证分析：【舌淡】。二诊：【舌绛】", said(舌色="绛")),
    ],
)
def test_visits(marked, expected):
    assert values(marked) == expected


def test_evidence():
    reading = read("患者【舌淡胖】，【边有齿痕】，【苔薄白】。")
    assert reading.fields["舌象.舌形"] == {
        "value": ["胖大", "齿痕"],
        "evidence": "舌淡胖，边有齿痕",
        "start": 2,
        "end": 10,
    }
    assert reading.fields["舌象.苔色"]["evidence"] == "苔薄白"
    # A repetition adds nothing to the evidence.
    assert read("【舌红】，脉数，【舌尖红】").fields["舌象.舌色"]["evidence"] == "舌红"


WORDS = sorted(
    {
        *GRAMMAR._roles,
        *(word for words in GRAMMAR._values.values() for word in words),
        *"，。、；：（）\n 无黯患者脉弦细数",
        *("二诊：", "按：", "三周后", "出院"),
    }
)


@given(st.lists(st.tuples(st.sampled_from(WORDS) | st.text(max_size=4), st.booleans())))
def test_any_text(parts):
    text, spans = "", []
    for word, is_entity in parts:
        if is_entity:
            spans.append((len(text), word))
        text += word
    reading = GRAMMAR.read(spans, text)
    inside = {at for start, word in spans for at in range(start, start + len(word))}
    for field, found in reading.fields.items():
        assert text[found["start"] : found["end"]] == found["evidence"] != ""
        assert {found["start"], found["end"] - 1} <= inside
        assert len(set(found["value"])) == len(found["value"]) > 0
        assert set(found["value"]) <= set(ALLOWED[field])
        assert not reading.denied.get(field, set()) & set(found["value"])
    assert GRAMMAR.read(reversed(spans), text) == reading


def test_every_value_is_one_of_the_fields():
    for fields in GRAMMAR.data["wordings"].values():
        for field, named in fields.items():
            assert set(named) <= set(ALLOWED[field])
    for entry in GRAMMAR.photo.values():
        for named in (entry["values"], entry.get("also_fits", {})):
            assert {v for listed in named.values() for v in listed} <= set(ALLOWED[entry["field"]])


def test_photo_map_knows_the_attributes():
    from spacy_tcm.tags import TONGUE_ATTRIBUTES

    assert set(GRAMMAR.photo) == set(TONGUE_ATTRIBUTES)
    for name, entry in GRAMMAR.photo.items():
        assert set(entry["values"]) <= set(TONGUE_ATTRIBUTES[name])


def test_a_grammar_of_ones_own(tmp_path):
    data = copy.deepcopy(GRAMMAR.data)
    data["wordings"]["anywhere"]["舌象.舌色"]["绛"].append("猪肝色")
    path = tmp_path / "own.json"
    path.write_text(json.dumps(data, ensure_ascii=False), "utf8")
    own = TongueGrammar.from_path(path)
    assert own.read([(0, "舌如猪肝色")], "舌如猪肝色").fields["舌象.舌色"]["value"] == ["绛"]
    assert TongueGrammar(own.data).data == own.data
    assert not values("【舌如猪肝色】")


def change(**changes):
    return {**copy.deepcopy(GRAMMAR.data), **changes}


@pytest.mark.parametrize(
    "data",
    [
        [],
        {},
        {key: value for key, value in GRAMMAR.data.items() if key != "wordings"},
        change(parts={"body": ["舌象.舌色"]}),
        change(wordings={"somewhere": {}}),
        change(wordings={"body": {"舌象.舌色": {"红": "红"}}}),
        change(wordings={"body": {"舌象.舌色": {"红": [""]}}}),
        change(wordings={"body": {"舌象.舌色": {"红": ["苔"]}}}),
        change(context={"lips": ["唇"]}),
        change(visits=["("]),
        change(turns=[1]),
        change(photo={"body_color": {"field": "舌象.舌色", "values": {"dark": []}}}),
        change(photo={"body_color": {"field": "唇色", "values": {}}}),
        change(same_characters={"黯红": "暗"}),
        change(same_characters={"黯": "暗红"}),
    ],
)
def test_malformed(data):
    with pytest.raises(ModelError, match=r"^\[E461\] the grammar: .* cannot be used"):
        TongueGrammar(data)


@pytest.mark.parametrize("content", [None, "{", "\udcff"])
def test_unreadable_file(tmp_path, content):
    path = tmp_path / "own.json"
    if content is not None:
        path.write_text(content, encoding="utf8", errors="surrogateescape")
    with pytest.raises(ModelError, match=r"^\[E461\] .*own\.json: "):
        TongueGrammar.from_path(path)


def test_default_is_beside_its_description():
    assert DEFAULT_GRAMMAR.is_file()
    text = DEFAULT_GRAMMAR.with_name("README.md").read_text("utf8")
    assert all(f"`{key}`" in text for key in GRAMMAR.data if key != "version")
