import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_tcm.errors import ModelError
from spacy_tcm.relations import TYPES, VISIT, Mention, RelationRules
from spacy_tcm.tags import LABELS

SHORT = {label[:4]: label for label in LABELS}
RULES = RelationRules.from_path()


def read(marked):
    """Text and mentions of "[便血 SYMP]，[色鲜红 QUAL]"."""
    text, mentions, at = "", [], 0
    for match in re.finditer(r"\[(\S+) (\w{4})\]", marked):
        text += marked[at : match.start()]
        mentions.append(Mention(len(text), len(text) + len(match[1]), SHORT[match[2]]))
        text += match[1]
        at = match.end()
    return text + marked[at:], mentions


def find(marked, local=True):
    """Of "[便血 SYMP]，[色鲜红 QUAL]": "便血 HAS_QUALITY 色鲜红", and so on."""
    text, mentions = read(marked)
    words = [text[m.start : m.end] for m in mentions]
    return {
        f"{VISIT if r.head == VISIT else words[r.head]} {r.type} {words[r.tail]}"
        for r in RULES.find(text, mentions)
        if not local or r.rule != "visit"
    }


@pytest.mark.parametrize(
    ("marked", "expected"),
    [
        (
            "[便血 SYMP]，[色鲜红 QUAL]，[量多 QUAL]",
            {"便血 HAS_QUALITY 色鲜红", "便血 HAS_QUALITY 量多"},
        ),
        ("[咳嗽 SYMP]、[咽痛 SYMP][3天 TIME]", {"咳嗽 HAS_DURATION 3天", "咽痛 HAS_DURATION 3天"}),
        ("[咳嗽 SYMP]，[3天前 TIME]起[发热 SYMP]", {"发热 HAS_DURATION 3天前"}),
        ("[头痛 SYMP]，[夜间 TIME][加重 SEVE]", {"头痛 HAS_SEVERITY 加重"}),
        (
            "[腰痛 SYMP][1年 TIME]，[遇寒 TRIG][加重 SEVE]，[得温 TRIG][稍舒 SEVE]",
            {
                "腰痛 HAS_DURATION 1年",
                "腰痛 HAS_TRIGGER 遇寒",
                "腰痛 HAS_SEVERITY 加重",
                "腰痛 HAS_TRIGGER 得温",
                "腰痛 HAS_SEVERITY 稍舒",
            },
        ),
        ("[胃痛 SYMP]，[食冷 TRIG]则[腹泻 SYMP]", {"腹泻 HAS_TRIGGER 食冷"}),
        ("[头晕 SYMP]，平素[嗜酒 TRIG]", set()),
        ("[腹泻 SYMP]，[每日5次 FREQ]", {"腹泻 HAS_FREQUENCY 每日5次"}),
        ("[纳差 SYMP]，大便[日2次 FREQ]", set()),  # of another thing
        ("[便血 SYMP]。[色鲜红 QUAL]", set()),
        (
            "[体温 TEST]：[37.8℃ VALU]，[VAS TEST][6分 VALU]",
            {"体温 MEASURED_AS 37.8℃", "VAS MEASURED_AS 6分"},
        ),
        (
            "[血常规 TEST]、[尿常规 TEST][正常 VALU]",
            {"血常规 MEASURED_AS 正常", "尿常规 MEASURED_AS 正常"},
        ),
        ("[双膝 BODY][肿胀 SIGN]、[压痛 SIGN]", {"肿胀 LOCATED_AT 双膝", "压痛 LOCATED_AT 双膝"}),
        (
            "[针刺 PROC]：[足三里 ACUP]、[内关 ACUP]",
            {"针刺 NEEDLED_AT 足三里", "针刺 NEEDLED_AT 内关"},
        ),
        (
            "[痔病 TCM_]（[湿热下注证 SYND]）；[混合痔 WM_D]",
            {"痔病 DIFFERENTIATED_AS 湿热下注证"},
        ),
    ],
)
def test_local(marked, expected):
    assert find(marked) == expected


def test_prescription():
    marked = (
        "[四君子汤 FORM]：[党参 HERB]、[白术 HERB][各10g DOSA]，"
        "[附子 HERB][6g DOSA]（[先煎 DOSA]）。"
        "[7剂 DOSA]，[水煎服 DOSA]。去[桂枝 HERB]、[干姜 HERB]，加[黄芪 HERB][30g DOSA]。"
    )
    assert find(marked) == {
        "四君子汤 CONTAINS 党参",
        "四君子汤 CONTAINS 白术",
        "四君子汤 CONTAINS 附子",
        "四君子汤 CONTAINS 黄芪",
        "党参 HAS_DOSAGE 各10g",
        "白术 HAS_DOSAGE 各10g",
        "附子 HAS_DOSAGE 6g",
        "附子 HAS_DOSAGE 先煎",
        "四君子汤 HAS_DOSAGE 7剂",
        "四君子汤 HAS_DOSAGE 水煎服",
        "黄芪 HAS_DOSAGE 30g",
    }


def test_of_visits_and_syndromes():
    marked = (
        "[便血 SYMP]。[舌红 TONG]，[脉数 PULS]。[湿热下注证 SYND]，[湿热内生 PATH]。"
        "[清热利湿 PRIN]，[地榆散 FORM]。"
        "二诊：[乏力 SYMP]。[脾气虚证 SYND]。"
    )
    found = find(marked, local=False)
    assert found >= {
        "visit HAS_SYMPTOM 便血",
        "visit HAS_TONGUE 舌红",
        "visit HAS_PULSE 脉数",
        "湿热下注证 MANIFESTS_AS 便血",
        "湿热下注证 MANIFESTS_AS 脉数",
        "湿热下注证 CAUSED_BY 湿热内生",
        "湿热下注证 TREATED_BY_PRINCIPLE 清热利湿",
        "湿热下注证 PRESCRIBED 地榆散",
        "脾气虚证 MANIFESTS_AS 乏力",
    }
    assert not found & {"湿热下注证 MANIFESTS_AS 乏力", "脾气虚证 MANIFESTS_AS 便血"}


@pytest.mark.parametrize(
    ("marked", "expected", "unexpected"),
    [
        (  # each numbered item has its own, treatment too
            "1.[肝郁证 SYND]：[胃胀 SYMP]。[疏肝 PRIN]。"
            "2.[脾虚证 SYND]：[乏力 SYMP]。[健脾 PRIN]。",
            {
                "肝郁证 MANIFESTS_AS 胃胀",
                "肝郁证 TREATED_BY_PRINCIPLE 疏肝",
                "脾虚证 MANIFESTS_AS 乏力",
                "脾虚证 TREATED_BY_PRINCIPLE 健脾",
            },
            {"脾虚证 MANIFESTS_AS 胃胀", "肝郁证 MANIFESTS_AS 乏力"},
        ),
        (  # a list of diagnoses is of all findings before it
            "[胃胀 SYMP]，[乏力 SYMP]。诊断：1.[肝郁证 SYND]\n2.[脾虚证 SYND]\n[疏肝 PRIN]",
            {
                "肝郁证 MANIFESTS_AS 胃胀",
                "脾虚证 MANIFESTS_AS 乏力",
                "肝郁证 TREATED_BY_PRINCIPLE 疏肝",
                "脾虚证 TREATED_BY_PRINCIPLE 疏肝",
            },
            set(),
        ),
        (
            "[咳嗽 SYMP]，[风热证 SYND]\n2024-05-03 查房\n[乏力 SYMP]，[气虚证 SYND]",
            {"风热证 MANIFESTS_AS 咳嗽", "气虚证 MANIFESTS_AS 乏力"},
            {"风热证 MANIFESTS_AS 乏力", "气虚证 MANIFESTS_AS 咳嗽"},
        ),
        (  # an appointment is no visit
            "[风热证 SYND]，1周后复诊，[乏力 SYMP]仍在[气虚证 SYND]",
            {"气虚证 MANIFESTS_AS 乏力"},
            {"风热证 MANIFESTS_AS 乏力"},
        ),
        (
            "[痔病 TCM_]，[湿热证 SYND]。二诊：[便血病 TCM_]，[气虚证 SYND]。三诊：[血虚证 SYND]",
            {
                "痔病 DIFFERENTIATED_AS 湿热证",
                "便血病 DIFFERENTIATED_AS 气虚证",
                "便血病 DIFFERENTIATED_AS 血虚证",
            },
            set(),
        ),
        (  # a wash is another prescription
            "1.[四君汤 FORM]：[党参 HERB][9g DOSA]。2.外洗：[苦参 HERB][30g DOSA]，[7剂 DOSA]。",
            {"四君汤 CONTAINS 党参", "苦参 HAS_DOSAGE 30g"},
            {"四君汤 CONTAINS 苦参", "四君汤 HAS_DOSAGE 7剂"},
        ),
        (
            "1.选方：[四君汤 FORM]\n2.药物：[党参 HERB][9g DOSA]\n"
            "3.[白术 HERB][9g DOSA]\n4.[7剂 DOSA]",
            {"四君汤 CONTAINS 党参", "四君汤 CONTAINS 白术", "四君汤 HAS_DOSAGE 7剂"},
            set(),
        ),
        (
            "[四君汤 FORM]：[党参 HERB][9g DOSA]。二诊：[黄芪 HERB][30g DOSA]。",
            {"四君汤 CONTAINS 党参", "黄芪 HAS_DOSAGE 30g"},
            {"四君汤 CONTAINS 黄芪"},
        ),
    ],
)
def test_nothing_reaches_into_another_visit_or_item(marked, expected, unexpected):
    found = find(marked, local=False)
    assert found >= expected
    assert not found & unexpected


NOTE = (
    "[便血 SYMP][3天 TIME]，[舌红 TONG]。"
    "[痔病 TCM_]（[湿热证 SYND]、[血瘀证 SYND]），[湿热内生 PATH]。"
    "[清热 PRIN]，[地榆散 FORM]：[地榆 HERB][9g DOSA]，[黄芩 HERB][6g DOSA]。[7剂 DOSA]。"
)


@pytest.mark.parametrize("between", ["", "\n", "\n2024-05-03 查房\n", "二诊：", "1."])
def test_a_note_that_is_repeated_has_no_more_relations_each_time(between):
    once = len(RULES.find(*read(NOTE)))
    assert len(RULES.find(*read((NOTE + between) * 60))) <= 60 * (once + 1)


@given(
    st.lists(
        st.tuples(st.sampled_from(LABELS), st.text("，。、 \n1.:：二诊", max_size=3)), max_size=9
    )
)
def test_relations_grow_as_the_text(parts):
    marked = "".join(f"{gap}[{label}3 {label[:4]}]" for label, gap in parts)
    twice, often = (len(RULES.find(*read(marked * n))) for n in (2, 16))
    assert often <= 16 * twice


def test_prescriptions_that_were_read_tell_what_a_formula_holds():
    text, mentions = read(
        "[四君汤 FORM]、[二陈汤 FORM]：[党参 HERB][9g DOSA]。[苦参 HERB][30g DOSA]"
    )
    herbs = [{"start": mentions[2].start}]
    formula = {"start": 0, "end": mentions[1].end}
    first = {"start": 0, "end": mentions[3].end, "formula": formula, "herbs": herbs}
    second = {
        "start": mentions[4].start,
        "end": mentions[5].end,
        "formula": None,
        "herbs": [{"start": mentions[4].start}],
    }
    found = {r[:3] for r in RULES.find(text, mentions, (), [first, second])}
    assert found == {
        *(("CONTAINS", 0, 2), ("CONTAINS", 1, 2)),
        *(("HAS_DOSAGE", 2, 3), ("HAS_DOSAGE", 4, 5)),
    }
    assert ("CONTAINS", 1, 4) in {r[:3] for r in RULES.find(text, mentions)}


@given(
    st.lists(st.tuples(st.sampled_from(LABELS), st.text("痛3天。，、 \n去各剂年", max_size=3))),
    st.lists(st.integers(0, 40)),
)
def test_any_order_of_entities(parts, starts):
    text, mentions = "", []
    for label, gap in parts:
        text += gap
        mentions.append(Mention(len(text), len(text) + 2, label))
        text += "3年"
    found = RULES.find(text, mentions, starts)
    assert len({r[:3] for r in found}) == len(found)
    for relation in found:
        assert relation.type in TYPES
        assert relation.rule in RULES.scores
        assert relation.head == VISIT or relation.head != relation.tail


def test_rules_of_ones_own(tmp_path):
    data = json.loads(json.dumps(RULES.data))
    assert RelationRules(data).data == data
    del data["scores"]["visit"]
    with pytest.raises(ModelError, match=r"E640.*scores: visit missing"):
        RelationRules(data)
    path = tmp_path / "own.json"
    path.write_text("{", "utf8")
    with pytest.raises(ModelError, match=r"E640.*own\.json"):
        RelationRules.from_path(path)


def test_the_annotations_of_the_benchmark():
    path = Path(__file__).parents[1] / "benchmarks" / "data" / "relations.jsonl"
    entries = [json.loads(line) for line in path.read_text("utf8").splitlines()]
    assert len({entry["id"] for entry in entries}) == len(entries) >= 40
    for entry in entries:
        assert entry["part"] in ("train", "dev")
        assert {type_ for type_, *_ in entry["relations"]} <= set(TYPES)
        assert len({tuple(r) for r in entry["relations"]}) == len(entry["relations"])
