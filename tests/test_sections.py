import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_tcm.errors import ModelError
from spacy_tcm.sections import DEFAULT_SECTIONS, SECTION_IDS, SectionGrammar, default_sections

RECORDS = Path(__file__).parents[1] / "assets" / "records"


def find(text):
    return [(s["id"], text[s["header_end"] : s["end"]]) for s in default_sections().find(text)]


@pytest.mark.parametrize(
    "header",
    [
        "主诉：",
        "主　诉:",
        "主  诉：",
        "一、主诉：",
        "1．主诉：",
        "（一）主诉：",
        "⑴主诉：",
        "【主诉】",
        "〔主诉〕",
        "[主诉] ",
        "【主诉】：",
        "主诉 ",
        "主诉\n",
        "- 主诉：",
    ],
)
def test_variants_of_a_header(header):
    text = f"{header}咳嗽3天。\n现病史：3天前受凉。"
    assert [i for i, _ in find(text)] == ["chief_complaint", "present_illness"]
    assert find(text)[0][1].strip() == "咳嗽3天。"


def test_headers_in_one_line():
    text = "主诉：咳嗽3天。现病史：受凉后起。既往史：高血压。舌脉：舌红，脉数。【诊断】咳嗽。"
    assert find(text) == [
        ("chief_complaint", "咳嗽3天。"),
        ("present_illness", "受凉后起。"),
        ("past_history", "高血压。"),
        ("tongue_pulse", "舌红，脉数。"),
        ("diagnosis", "咳嗽。"),
    ]


def test_header_words_in_the_text_are_none():
    assert [i for i, _ in find("主诉：家属代诉主诉不清。方知处方有误，再议。")] == [
        "chief_complaint"
    ]
    assert [i for i, _ in find("体格检查：T：36.5℃ P：78次/分 R：18次/分。")] == [
        "physical_examination"
    ]


def test_two_names_and_a_bracket():
    assert find("既往史、个人史：无。")[0] == ("past_history", "无。")
    assert find("专科检查（截石位）：痔核。")[0] == ("specialist_examination", "痔核。")


def test_inner_headers_only_in_their_section():
    assert [i for i, _ in find("诊断：\n中医：咳嗽。\n西医：支气管炎。")] == [
        "diagnosis",
        "tcm_diagnosis",
        "wm_diagnosis",
    ]
    assert [i for i, _ in find("鉴别诊断：\n中医：与喘证相鉴。")] == ["differential_diagnosis"]


def test_cues_without_headers():
    text = (
        "患者男，34岁，咳嗽3天。刻下痰黄。既往高血压5年。查体见咽红。舌红，苔黄，脉数。"
        "心肺正常。诊断为咳嗽，证属风热犯肺证。治以疏风清热，方用桑菊饮加减：桑叶10g。嘱多饮水。"
    )
    assert [i for i, _ in find(text)] == [
        "present_illness",
        "current_symptoms",
        "past_history",
        "physical_examination",
        "tongue_pulse",
        "physical_examination",
        "diagnosis",
        "syndrome",
        "treatment_principle",
        "prescription",
        "advice",
    ]
    assert ("tongue_pulse", "红，苔黄，脉数。") in find(text)
    assert {s["kind"] for s in default_sections().find(text)} == {"cue"}


def test_headers_of_the_written_records():
    """Nearly every record that is said to have sections shows them; most others show few."""
    with_sections, without = [], []
    for path in RECORDS.glob("*.jsonl"):
        for line in path.read_text(encoding="utf8").splitlines():
            record = json.loads(line)
            has_sections = record.get("meta", {}).get("has_sections")
            if has_sections is None:
                continue
            sections = default_sections().find(record["text"])
            ids = {s["id"] for s in sections if s["kind"] == "header"}
            (with_sections if has_sections else without).append(len(ids))
    assert len(with_sections) > 80
    assert sum(n >= 3 for n in with_sections) / len(with_sections) > 0.95
    assert sum(with_sections) / len(with_sections) > 3 * sum(without) / len(without)


@given(
    st.text(
        alphabet=st.sampled_from("主诉：现病史既往，。\n 一、【】舌红脉数查体证属"), max_size=60
    )
)
def test_sections_are_in_order_and_inside(text):
    at = 0
    for s in default_sections().find(text):
        assert at <= s["start"] == s["header_start"] <= s["header_end"] <= s["end"] <= len(text)
        assert s["start"] < s["end"]
        assert s["id"] in SECTION_IDS
        at = s["end"]


def test_a_grammar_of_ones_own(tmp_path):
    data = json.loads(DEFAULT_SECTIONS.read_text(encoding="utf8"))
    data["headers"]["advice"].append("出院带药")
    path = tmp_path / "sections.json"
    path.write_text(json.dumps(data), encoding="utf8")
    grammar = SectionGrammar.from_path(path)
    assert [s["id"] for s in grammar.find("出院带药：麻仁丸。")] == ["advice"]
    assert grammar.priors["family_history"] == {"experiencer": "family"}


@pytest.mark.parametrize(
    "change",
    [
        {"headers": {"recipe": ["方"]}},
        {"headers": {"advice": ["医嘱"], "general": ["医嘱"]}},
        {"cues": {"advice": ["("]}},
        {"priors": {"past_history": {"temporality": "long ago"}}},
        {"lead": {}},
    ],
)
def test_what_cannot_be_used(change):
    with pytest.raises(ModelError, match="E600"):
        SectionGrammar({**default_sections().data, **change})


def test_no_such_file(tmp_path):
    with pytest.raises(ModelError, match=r"E600.*none\.json"):
        SectionGrammar.from_path(tmp_path / "none.json")
