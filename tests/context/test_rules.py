import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_tcm.context.rules import DEFAULT_CONTEXT, ContextRules, read_defaults
from spacy_tcm.errors import ModelError

RULES = ContextRules.from_path()
LABELS = {
    "S": "SYMPTOM",
    "G": "SIGN",
    "D": "WM_DISEASE",
    "H": "HERB",
    "R": "DRUG",
    "P": "PROCEDURE",
}
LABELS |= {
    "T": "TEST",
    "V": "VALUE",
    "M": "TIME",
    "C": "TCM_DISEASE",
    "X": "TRIGGER",
    "L": "TONGUE",
}


def read(marked):
    """``否认[D高血压]``: entity -> what is not present, certain, current and of the patient."""
    text, entities, found = "", [], {}
    for piece in marked.split("["):
        inside, _, rest = piece.rpartition("]")
        if inside:
            entities.append((len(text), len(text) + len(inside) - 1, LABELS[inside[0]]))
            text += inside[1:]
        text += rest
    for (start, end, _), q in zip(entities, RULES.read(text, entities), strict=True):
        kinds = {q["negation"], q["certainty"], q["temporality"], q["experiencer"]}
        found[text[start:end]] = kinds - {"present", "certain", "current", "patient"}
    return found


@pytest.mark.parametrize(
    "text",
    [
        "无[S发热]、[S咳嗽]及[S胸痛]。",
        "否认[S发热]、[S咳嗽]、[S胸痛]。",
        "不伴[S发热]、[S咳嗽]或[S胸痛]。",
        "未诉[S发热]、[S咳嗽]和[S胸痛]",
        "[S发热]、[S咳嗽]、[S胸痛]均阴性。",
        "[S发热](-) [S咳嗽](－) [S胸痛]（-）。",
        "没有[S发热]、[S咳嗽]，没有[S胸痛]。",
        "未见明显[S发热][S咳嗽][S胸痛]。",
    ],
)
def test_lists_of_what_is_denied(text):
    assert read(text) == {"发热": {"absent"}, "咳嗽": {"absent"}, "胸痛": {"absent"}}


@pytest.mark.parametrize(
    "text",
    [
        "无[S发热]，[S咳嗽]。",
        "无[S发热]，但[S咳嗽]。",
        "无[S发热]而[S咳嗽]。",
        "无[S发热]，可见[S咳嗽]。",
        "无[S发热]伴[S咳嗽]。",
        "无[S发热]。[S咳嗽]。",
        "[S咳嗽]，[S发热]未见。",
        "[S咳嗽]，[S发热]消失。",
        "[S咳嗽]，[S发热]已除外。",
    ],
)
def test_where_a_list_stops(text):
    assert read(text) == {"发热": {"absent"}, "咳嗽": set()}


@pytest.mark.parametrize(
    "text",
    [
        "[S无汗]，[S乏力]，[S不寐]，[S纳差]。",
        "无不[S乏力]。",
        "并非没有[S乏力]。",
        "无明显诱因出现[S乏力]。",
        "[S乏力]不减。",
        "[S乏力]（+）。",
    ],
)
def test_what_is_no_negation(text):
    assert not any(read(text).values())


@pytest.mark.parametrize(
    "text",
    [
        "否认[S发热]，[S咳嗽]，[S胸痛]。",
        "未诉[S发热]、[S咳嗽]，[S胸痛]；",
        "denies [S发热], [S咳嗽], [S胸痛].",
        "否认[S发热]，[S咳嗽][S胸痛]。",
        "否认[S发热][S咳嗽]，[S胸痛]。",
    ],
)
def test_a_denying_verb_goes_on_over_commas(text):
    assert read(text) == {"发热": {"absent"}, "咳嗽": {"absent"}, "胸痛": {"absent"}}


@pytest.mark.parametrize(
    "text",
    [
        "否认[S发热]，[S咳嗽]3天，[S胸痛]。",
        "否认[S发热]，[S咳嗽]明显，[S胸痛]。",
        "否认[S发热]，[S咳嗽][S胸痛]3天。",
        "否认[S发热]，有[S咳嗽]，[S胸痛]。",
        "否认[S发热]，但[S咳嗽]，[S胸痛]。",
        "未诉[S发热]。[S咳嗽]，[S胸痛]。",
        "无[S发热]，[S咳嗽]3天，[S胸痛]。",
    ],
)
def test_where_a_denying_verb_stops(text):
    assert read(text) == {"发热": {"absent"}, "咳嗽": set(), "胸痛": set()}


def test_another_topic_is_not_denied():
    assert read("否认[S发热]，[S纳差]。") == {"发热": {"absent"}, "纳差": set()}


@pytest.mark.parametrize(
    "after", ["已除", "已止", "已退", "退尽", "未作", "未再发作", "消失", "已愈"]
)
def test_what_is_over_is_absent(after):
    assert read(f"[S便血]{after}，[S腹痛]。") == {"便血": {"absent"}, "腹痛": set()}


@pytest.mark.parametrize("after", ["已退大半", "渐止", "止后复作", "未除", "减"])
def test_what_is_not_quite_over_is_present(after):
    assert read(f"[S便血]{after}。") == {"便血": set()}


def test_once():
    assert read("曾有[S便血]、[S腹痛]，现已愈。[S口渴]。") == {
        "便血": {"past"},
        "腹痛": {"past"},
        "口渴": set(),
    }
    assert read("未曾[S头痛]。") == {"头痛": {"absent"}}


def test_an_earlier_visit_retold():
    assert read("[S不寐]8月，首诊见[S便秘]、[S口渴]，今诉[S腹胀]。") == {
        "不寐": set(),
        "便秘": {"past"},
        "口渴": {"past"},
        "腹胀": set(),
    }
    assert read("不寐，初诊见[S便秘]，[L舌红]。") == {
        "便秘": set(),
        "舌红": set(),
    }  # no other visit
    assert read("初诊女，30岁，[S便秘]。") == {"便秘": set()}  # the heading of a visit
    assert read("初诊：[S便秘]。较首诊[S腹胀]。") == {"便秘": set(), "腹胀": set()}


def test_a_trigger_that_is_none():
    assert read("无[X明显诱因]出现[S乏力]。") == {"明显诱因": {"absent"}, "乏力": set()}


def test_herbs_taken_out():
    assert read("上方去[H苍术]、[H陈皮]，加[H丹参]，减[H桂枝]为6g。") == {
        "苍术": {"absent"},
        "陈皮": {"absent"},
        "丹参": set(),
        "桂枝": set(),
    }


@pytest.mark.parametrize(
    "text",
    [
        "[D肺炎]待排",
        "[D肺炎]？",
        "考虑[D肺炎]。",
        "疑似[D肺炎]",
        "不除外[D肺炎]。",
        "[D肺炎]不除外",
        "警惕[D肺炎]",
    ],
)
def test_possible(text):
    assert read(f"西医诊断：{text}") == {"肺炎": {"possible"}}


def test_both_say_possible():
    (found,) = RULES.read("肺炎？", [(0, 2, "WM_DISEASE")])
    assert (found["negation"], found["certainty"]) == ("possible", "possible")


def test_past_history():
    assert read("既往史：[D高血压]5年，2016年行[P阑尾切除术]。否认[D糖尿病]、[D肝炎]病史。") == {
        "高血压": {"past"},
        "阑尾切除术": {"past"},
        "糖尿病": {"past", "absent"},
        "肝炎": {"past", "absent"},
    }
    assert read("现病史：[S咳嗽]3天，曾服[R阿莫西林]无效。[D哮喘]病史。") == {
        "咳嗽": set(),
        "阿莫西林": {"past"},
        "哮喘": {"past"},
    }


def test_earlier_values():
    assert read("[TVAS]由[V8分]降至[V3分]。") == {"VAS": set(), "8分": {"past"}, "3分": set()}


def test_onset_before_the_present():
    note = "现病史：患者[M5年前]出现[S便血]，[M1周前][S肛痛]。\n刻下：[S口渴]。"
    assert read(note)["便血"] == {"past"}
    assert read(note)["肛痛"] == read(note)["口渴"] == set()


def test_future():
    assert read("医嘱：[M1周后]复查[T血常规]、[T肝功能]，择期行[P肠镜]。") == {
        "1周后": {"future"},
        "血常规": {"future"},
        "肝功能": {"future"},
        "肠镜": {"future"},
    }
    assert read("医嘱：必要时行[P肠镜]。") == {"肠镜": {"future", "possible"}}


def test_advice_without_a_header():
    """What follows a prescription."""
    herbs = "[H黄芪]15g，[H白术]10g，[H防风]6g。"
    note = f"[S咳嗽]3天。{herbs}若[S发热]、[S喘促]速诊，[M2周]后复查[T血常规]。"
    assert read(note) == {
        "咳嗽": set(),
        "黄芪": set(),
        "白术": set(),
        "防风": set(),
        "发热": {"future", "possible"},
        "喘促": {"future", "possible"},
        "2周": {"future"},
        "血常规": {"future"},
    }
    done = read(f"[S咳嗽]3天。{herbs}[M3月]后复查[T胸片]，[S咳嗽]愈。")
    assert done["3月"] == done["胸片"] == set()


@pytest.mark.parametrize(
    "text",
    [
        "家族史：父亲[D哮喘]。",
        "其父有[D哮喘]。",
        "[S咳嗽]。母亲患[D哮喘]。",
        "既往史：体健。祖父死于[D哮喘]。",
    ],
)
def test_family(text):
    assert read(text)["哮喘"] == {"family"}


@pytest.mark.parametrize(
    "text",
    [
        "家族史：母亲[D哮喘]。患者诉[S头痛]，[S咳嗽]。",
        "家族史：父亲体健，母亲[D哮喘]，患儿[S头痛]。[S咳嗽]。",
        "家族史：母亲[D哮喘]。其诉[S头痛]，[S咳嗽]。",
        "家族史：母亲[D哮喘]。[L舌暗红]。\n[S头痛]，[S咳嗽]。",
        "家族史：母亲[D哮喘]。[L舌暗红]，[S头痛]，[S咳嗽]。",
        "家族史：母亲[D哮喘]。\n[S头痛]，[S咳嗽]。",
        "家族史：\n患者母亲[D哮喘]\n[S头痛]，[S咳嗽]。",
    ],
)
def test_where_a_family_history_ends(text):
    found = read(text)
    assert found["哮喘"] == {"family"}
    assert found["头痛"] == found["咳嗽"] == set()


@pytest.mark.parametrize(
    "text",
    [
        "家族史：\n父患[D高血压]。\n母患[D哮喘]。",
        "家族史：父患[D高血压]，\n[D哮喘]。",
        "家族史：父患[D高血压]。患者哥哥[D哮喘]。",
        "家族史：父患[D高血压]，患者体健，哥哥患[D哮喘]。",
    ],
)
def test_where_a_family_history_goes_on(text):
    assert read(text) == {"高血压": {"family"}, "哮喘": {"family"}}


def test_family_is_denied():
    assert read("家族史：否认[D哮喘]。") == {"哮喘": {"family", "absent"}}
    assert read("与母亲争执后[S头痛]。") == {"头痛": set()}


def test_differential_diagnosis():
    note = "鉴别诊断：1.[C泄泻]：[S便下稀薄]而无[S脓血]；患者[S里急后重]。2.[D肠癌]：待活检除外。"
    assert read(note) == {
        "泄泻": {"absent"},
        "便下稀薄": {"absent"},
        "脓血": set(),
        "里急后重": set(),
        "肠癌": {"possible"},
    }


@given(
    st.text(
        alphabet=st.sampled_from("无否认未见、，。发热曾服必要时行父亲患？（-)及"), max_size=40
    ),
    st.lists(st.integers(0, 40), max_size=8),
)
def test_any_text_and_entities(text, cuts):
    cuts = sorted({c for c in cuts if c <= len(text)})
    entities = [(a, b, "SYMPTOM") for a, b in zip(cuts[::2], cuts[1::2], strict=False)]
    found = RULES.read(text, entities)
    assert len(found) == len(entities)
    assert all((q["negation"] == "possible") <= (q["certainty"] == "possible") for q in found)


def test_cues_of_ones_own(tmp_path):
    data = json.loads(DEFAULT_CONTEXT.read_text(encoding="utf8"))
    data["negation"]["before"].append("冇")
    path = tmp_path / "context.json"
    path.write_text(json.dumps(data), encoding="utf8")
    (found,) = ContextRules.from_path(path).read("冇发热", [(1, 3, "SYMPTOM")])
    assert found["negation"] == "absent"


@pytest.mark.parametrize(
    "data", [{}, {**read_defaults(), "stops": "但"}, {**read_defaults(), "no_cue": ["("]}]
)
def test_what_cannot_be_used(data):
    with pytest.raises(ModelError, match="E601"):
        ContextRules(data)


def test_a_table_of_an_earlier_release():
    """It lacks the keys that came later, and ours hold for them."""
    data = json.loads(json.dumps(read_defaults()))
    del data["negation"]["own_subject"], data["possible"]["if"], data["past"]["retold"]
    assert ContextRules.from_stored(data, depth=2).data == read_defaults()


def test_no_such_file(tmp_path):
    with pytest.raises(ModelError, match=r"E601.*none\.json"):
        ContextRules.from_path(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("text", "surface", "key", "value"),
    [
        ("如出现发热、便血，立即就诊。", "便血", "negation", "possible"),
        ("舌红。如出现发热，立即就诊。", "发热", "negation", "possible"),
        ("患者如常，咳嗽，及时来诊。", "咳嗽", "negation", "present"),
        ("妻子近期发热。", "发热", "experiencer", "family"),
        ("父亲有高血压，患者本人无糖尿病。", "糖尿病", "experiencer", "patient"),
        ("無發熱、嘔吐。", "嘔吐", "negation", "absent"),
        ("denies 恶心, no 发热", "发热", "negation", "absent"),
    ],
)
def test_wordings_of_other_hands(text, surface, key, value):
    start = text.index(surface)
    label = "WM_DISEASE" if surface == "糖尿病" else "SYMPTOM"
    others = [
        ("发热", "SYMPTOM"),
        ("發熱", "SYMPTOM"),
        ("高血压", "WM_DISEASE"),
        ("恶心", "SYMPTOM"),
    ]
    entities = [
        (text.index(word), text.index(word) + len(word), kind)
        for word, kind in others
        if word in text and word != surface
    ]
    entities = sorted([*entities, (start, start + len(surface), label)])
    found = ContextRules.from_path().read(text, entities)
    assert found[[e[0] for e in entities].index(start)][key] == value
