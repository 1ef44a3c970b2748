import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_tcm.errors import ModelError
from spacy_tcm.herbs import RESOURCES
from spacy_tcm.linking import CodeTables, best_id, make_id, read_code_table
from spacy_tcm.tags import LABELS

TABLES = CodeTables()


def first(label, surface, tables=TABLES):
    code = tables.link(label, surface)[0]
    return code["system"], code["code"], code["display"], code["method"]


@pytest.mark.parametrize(
    ("label", "surface", "code", "display", "method"),
    [
        ("SYNDROME", "脾气虚证", "SF70", "脾气虚证", "exact"),
        ("SYNDROME", "脾气虚", "SF70", "脾气虚证", "normalised"),
        ("SYNDROME", "脾氣虛證", "SF70", "脾气虚证", "normalised"),
        ("SYNDROME", "脾气虚型", "SF70", "脾气虚证", "normalised"),
        ("TCM_DISEASE", "泄泻", "SA55", "泄泻病", "alias"),
        ("ACUPOINT", "足三里", "ST36", "足三里", "exact"),
        ("ACUPOINT", "双侧内关穴", "PC6", "内关", "normalised"),
        ("ACUPOINT", "人中", "GV26", "水沟", "alias"),
    ],
)
def test_codes(label, surface, code, display, method):
    system = "WHO-acupoint" if label == "ACUPOINT" else "ICD-11-TM1"
    assert first(label, surface) == (system, code, display, method)
    codes = TABLES.link(label, surface)
    assert [c["system"] for c in codes] == [system, "spacy_tcm"]  # the same concept
    assert best_id(codes) == f"{system}:{code}"


@pytest.mark.parametrize(
    ("label", "surface", "display", "method"),
    [
        ("HERB", "北芪", "黄芪", "alias"),
        ("HERB", "元胡", "延胡索", "alias"),
        ("HERB", "炙黄芪", "黄芪", "normalised"),
        ("FORMULA", "四君子汤加减", "四君子汤", "normalised"),
        ("FORMULA", "小柴胡", "小柴胡汤", "normalised"),
        ("FORMULA", "六味地黄汤", "六味地黄丸", "alias"),
        ("SYMPTOM", "食欲不振", "纳差", "alias"),
        ("SYMPTOM", "偶有头晕", "头晕", "normalised"),
        ("DRUG", "二甲双胍缓释片", "二甲双胍", "normalised"),
        ("WM_DISEASE", "甲状腺功能亢进症", "甲状腺功能亢进", "fuzzy"),
    ],
)
def test_own_ids(label, surface, display, method):
    assert first(label, surface) == ("spacy_tcm", make_id(label, display), display, method)


def test_ids_are_stable():
    """They are stored in records and graphs: never change how they are made."""
    assert make_id("HERB", "黄芪") == "HERB-64b55a5c5b"


def test_several_parts_have_no_single_id():
    codes = TABLES.link("FORMULA", "真武汤合五苓散加减")
    assert [(c["part"], c["display"]) for c in codes] == [
        ("真武汤", "真武汤"),
        ("五苓散加减", "五苓散"),
    ]
    assert best_id(codes) == ""
    assert [c["display"] for c in TABLES.link("HERB", "生龙牡")] == ["龙骨", "牡蛎"]
    assert [c["display"] for c in TABLES.link("SYNDROME", "脾气虚兼血瘀证")] == ["脾气虚证"] * 2 + [
        "血瘀证"
    ] * 2


@pytest.mark.parametrize(
    ("label", "surface"),
    [("TIME", "3天"), ("SYMPTOM", ""), ("SYMPTOM", "，"), ("HERB", "无此药名"), ("DOSAGE", "10g")],
)
def test_unlinked_is_empty(label, surface):
    assert TABLES.link(label, surface) == []
    assert best_id([]) == ""


def test_similar_is_not_the_opposite():
    assert first("WM_DISEASE", "双下肢静脉曲张")[2:] == ("下肢静脉曲张", "fuzzy")
    assert best_id(TABLES.link("WM_DISEASE", "双下肢静脉曲张")) == ""
    assert TABLES.link("WM_DISEASE", "上肢静脉曲张") == []  # differs by 上 and 下 alone
    strict = CodeTables(fuzzy_above=101)
    assert strict.link("WM_DISEASE", "甲状腺功能亢进症") == []


def row(system, code, term, aliases="", label=""):
    return {"system": system, "code": code, "term": term, "aliases": aliases, "label": label}


def test_user_codes_win():
    tables = CodeTables(
        [
            row("ours", "P1", "脾气虚证", "脾虚气弱", "SYNDROME"),
            row("ours", "H1", "鳖血柴胡", "鳖柴", "HERB"),
            row("ours", "S1", "饭量小", "食欲不振", "SYMPTOM"),
        ]
    )
    codes = tables.link("SYNDROME", "脾气虚")
    assert [c["system"] for c in codes] == ["ours", "ICD-11-TM1", "spacy_tcm"]
    assert best_id(codes) == "ours:P1"
    assert first("SYNDROME", "脾虚气弱", tables)[:2] == ("ours", "P1")
    assert first("HERB", "鳖柴", tables)[:2] == ("ours", "H1")
    assert first("SYMPTOM", "食欲不振", tables)[:3] == ("ours", "S1", "饭量小")
    assert first("SYMPTOM", "纳呆", tables)[2] == "纳差"


def test_ambiguous_stays_a_list():
    tables = CodeTables(
        [
            row("ours", "A", "甲甲病", "某某", "TCM_DISEASE"),
            row("ours", "B", "乙乙病", "某某", "TCM_DISEASE"),
        ]
    )
    codes = tables.link("TCM_DISEASE", "某某")
    assert {c["code"] for c in codes if c["system"] == "ours"} == {"A", "B"}
    assert best_id(codes) == ""


def test_code_tables_from_files(tmp_path):
    tsv, csv = tmp_path / "a.tsv", tmp_path / "b.csv"
    tsv.write_text("system\tcode\tterm\taliases\tlabel\nx\t1\t甲\t乙|丙\tHERB\n", "utf8")
    csv.write_text('\ufeffsystem,code,term\nx,2,"丁"\n', "utf8")
    assert read_code_table(tsv) == [row("x", "1", "甲", "乙|丙", "HERB")]
    assert read_code_table(csv) == [row("x", "2", "丁")]
    csv.write_text("system,term\n", "utf8")
    with pytest.raises(ModelError, match=r"E630.*b\.csv.*code"):
        read_code_table(csv)
    with pytest.raises(ModelError, match="E630"):
        read_code_table(tmp_path / "none.tsv")
    with pytest.raises(ModelError, match=r"E631.*row 2: 'code' is empty"):
        CodeTables([row("x", "1", "甲"), row("x", "", "甲")])
    with pytest.raises(ModelError, match=r"E631.*'label'"):
        CodeTables([row("x", "1", "甲", "", "HERBS")])


def test_our_tables():
    ids, size = set(), 0
    for path in (RESOURCES / "codes").iterdir():
        size += path.stat().st_size
        if path.suffix == ".tsv":
            label = path.stem.upper()
            assert label in LABELS
            rows = [line.split("\t") for line in path.read_text("utf8").splitlines()[1:]]
            terms = [r[0] for r in rows]
            assert terms == sorted(set(terms))
            assert not ids & {make_id(label, term) for term in terms}
            ids |= {make_id(label, term) for term in terms}
    assert size < 600_000
    points = (RESOURCES / "codes" / "acupoint.tsv").read_text("utf8")
    assert points.count("WHO-acupoint:") == 361


def test_pickle_keeps_the_users_codes():
    tables = pickle.loads(pickle.dumps(CodeTables([row("x", "1", "甲乙", "", "HERB")])))
    assert first("HERB", "甲乙", tables)[:2] == ("x", "1")


@given(st.sampled_from(LABELS), st.text(max_size=12))
def test_any_text(label, surface):
    for code in TABLES.link(label, surface):
        assert 0 < code["score"] <= 1
        assert code["code"]
