import importlib.util
import unicodedata
from pathlib import Path

import pytest

from spacy_tcm.lexicon import Lexicon, format_tsv, read_tables, read_tsv
from spacy_tcm.tags import LABELS

FOLDER = Path(__file__).parents[1] / "assets" / "lexicon"
TABLES = sorted(FOLDER.glob("*.tsv"))


@pytest.fixture(scope="module")
def compiler():
    spec = importlib.util.spec_from_file_location("compile_lexicon", FOLDER / "compile.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def entries():
    return read_tables(FOLDER)


@pytest.fixture(scope="module")
def lexicon(entries):
    return Lexicon(entries)


def test_enough_terms_of_every_label(entries):
    assert len({entry.term for entry in entries}) >= 15_000
    generated = {entry.term for entry in entries if entry.source == "spacy_tcm grammar"}
    assert len({entry.term for entry in entries} - generated) >= 15_000
    assert {entry.category for entry in entries} == set(LABELS)


def test_readme_counts_are_those_of_the_tables(compiler, entries):
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert f"<!-- counts -->\n{compiler.counts(entries)}\n<!-- end counts -->" in readme


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.stem)
def test_tables_are_sorted_as_the_compiler_writes_them(path):
    assert path.read_bytes() == format_tsv(sorted(read_tsv(path))).encode()


def test_tables_written_without_the_sources_are_reproduced(compiler):
    """Those that need no public list; the others need SOURCE_DIR."""
    for name in ("tongue", "pulse", "clinical"):
        made = format_tsv(compiler.unique(getattr(compiler, name)())).encode()
        assert made == (FOLDER / f"{name}.tsv").read_bytes()


def test_terms_are_clean(entries):
    for entry in entries:
        assert unicodedata.is_normalized("NFC", entry.term)
        assert 2 <= len(entry.term) <= 16
        assert not set("。；：？！、\ufffd?·") & set(entry.term), entry.term
        assert entry.source
        private = [c for c in entry.term if unicodedata.category(c) in ("Co", "Cn")]
        assert not private, entry.term


def test_other_names_lead_to_a_term_of_the_same_category(lexicon, entries):
    for entry in entries:
        if entry.preferred:
            targets = {e.category for e in lexicon.entries_for(entry.preferred)}
            assert entry.category in targets, entry
            assert entry.preferred != entry.term


def test_codes_are_the_verified_ones(compiler, entries):
    verified = {f"ICD11-TM1:{code}": term for code, (term,) in compiler.read_authored("codes")}
    found = {entry.code: entry for entry in entries if entry.code}
    assert found.keys() == verified.keys()
    for entry in entries:
        if entry.code:
            assert entry.term.removesuffix("证") == verified[entry.code].removesuffix("证")
            assert "nricmig/Nricm_TWCMIG" in entry.source


@pytest.mark.parametrize(
    ("term", "category", "preferred"),
    [
        ("肝肾阴虚证", "SYNDROME", ""),
        ("肝肾阴虚", "SYNDROME", "肝肾阴虚证"),
        ("泄泻", "TCM_DISEASE", ""),
        ("混合痔", "WM_DISEASE", ""),
        ("清热利湿", "PRINCIPLE", ""),
        ("拔罐疗法", "PROCEDURE", ""),
        ("四君子汤加减", "FORMULA", "四君子汤"),
        ("麻杏石甘汤", "FORMULA", "麻黄杏仁甘草石膏汤"),
        ("北芪", "HERB", "黄芪"),
        ("元胡", "HERB", "延胡索"),
        ("生地", "HERB", "生地黄"),
        ("川连", "HERB", "黄连"),
        ("双花", "HERB", "金银花"),
        ("炙黄芪", "HERB", ""),
        ("法半夏", "HERB", ""),
        ("足三里穴", "ACUPOINT", "足三里"),
        ("大肠经", "ACUPOINT", "手阳明大肠经"),
        ("舌淡红偏暗", "TONGUE", ""),
        ("苔薄黄腻", "TONGUE", ""),
        ("舌下络脉迂曲", "TONGUE", ""),
        ("脉弦细数", "PULSE", ""),
        ("左关弦", "PULSE", ""),
        ("夜寐欠安", "SYMPTOM", ""),
        ("VAS评分", "TEST", ""),
        ("水煎服", "DOSAGE", ""),
    ],
)
def test_terms_of_every_kind(lexicon, term, category, preferred):
    (entry,) = [e for e in set(lexicon.entries_for(term)) if e.category == category][:1]
    assert entry.preferred == preferred


@pytest.mark.parametrize(
    "term", ["证候", "卫分证类", "轻度证", "治则类术语", "null", "初期", "儿科癌病"]
)
def test_headings_are_left_out(lexicon, term):
    assert term not in lexicon


def test_the_whole_lexicon_survives_a_round_trip(lexicon, tmp_path):
    lexicon.to_disk(tmp_path)
    assert Lexicon().from_disk(tmp_path).entries == lexicon.entries


def test_a_note(lexicon):
    text = "患者便血3天，色鲜红，舌淡红偏暗，苔薄黄腻，脉弦细数。治以清热利湿，方用四君子汤加减"
    found = {(text[start:end], category) for start, end, category in lexicon.matches(text)}
    assert found >= {
        ("便血", "SYMPTOM"),
        ("色鲜红", "QUALITY"),
        ("舌淡红偏暗", "TONGUE"),
        ("苔薄黄腻", "TONGUE"),
        ("脉弦细数", "PULSE"),
        ("清热利湿", "PRINCIPLE"),
        ("四君子汤加减", "FORMULA"),
    }
