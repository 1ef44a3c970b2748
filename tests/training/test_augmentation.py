import copy
import json
import re
import sys
from collections import Counter
from itertools import product
from pathlib import Path
from random import Random

import pytest
import spacy
from hypothesis import given, settings
from hypothesis import strategies as st
from spacy.util import registry

from spacy_tcm.errors import RecordError
from spacy_tcm.tags import LABELS
from spacy_tcm.training.alignment import align_entities
from spacy_tcm.training.augmentation.combination import create_augment
from spacy_tcm.training.augmentation.edits import arrange_text, replace_text
from spacy_tcm.training.augmentation.replacement import NAMES, create_entity_replacement
from spacy_tcm.training.augmentation.sections import create_section_shuffle
from spacy_tcm.training.augmentation.traditional import create_traditional_characters
from spacy_tcm.training.augmentation.typos import SHAPES, create_typos
from spacy_tcm.training.augmentation.width import create_width_variants
from spacy_tcm.training.reading import read_records
from spacy_tcm.training.validation import find_problems

pytest.importorskip("opencc")
pytest.importorskip("pypinyin")

LEXICON = Path(__file__).parents[2] / "assets" / "lexicon"
RECORDS = Path(__file__).parents[2] / "assets" / "records"
NLP = spacy.blank("tcm")

NOTE = {
    "id": "n1",
    "text": "主诉：便血3天，色鲜红。\n舌脉：舌红，苔黄腻，脉弦数。\n处方：黄芪30g、当归10g，黄芪。",
    "entities": [
        [3, 5, "SYMPTOM"],
        [5, 7, "TIME"],
        [8, 11, "QUALITY"],
        [16, 18, "TONGUE"],
        [19, 22, "TONGUE"],
        [23, 26, "PULSE"],
        [31, 33, "HERB"],
        [33, 36, "DOSAGE"],
        [37, 39, "HERB"],
        [39, 42, "DOSAGE"],
        [43, 45, "HERB"],
    ],
    "labels": list(LABELS),
}
EMPTY = {"id": "e", "text": "", "entities": []}

# With settings under which much changes.
AUGMENTERS = {
    "replacement": create_entity_replacement(LEXICON, share=1.0),
    "width": create_width_variants(0.9),
    "sections": create_section_shuffle(drop=0.3, shuffle=1.0),
    "traditional": create_traditional_characters(),
    "typos": create_typos(LEXICON, rate=0.5),
}
AUGMENTERS["augment"] = create_augment(dict(AUGMENTERS), dict.fromkeys(AUGMENTERS, 0.5))

DROPPING = ("sections", "augment")
SAME_LENGTH = ("traditional", "typos")


@st.composite
def records(draw) -> dict:
    """Valid records of text where every augmenter finds something to do."""
    words = [
        "主诉：",
        "舌脉：",
        "【处方】",
        "发热",
        "黄芪",
        "脉弦数",
        "１２",
        "3",
        "345",
        "mg",
        "Ａb",
    ]
    words += list("，,。.．：:、；\n （(）)症干头后\U00020000é☯")
    text = "".join(draw(st.lists(st.sampled_from(words), max_size=25)))
    cuts = st.integers(0, len(text))
    places = sorted(draw(st.sets(cuts, max_size=10)))
    entities = [
        [start, end, draw(st.sampled_from(NAMES))]
        for start, end in zip(places[::2], places[1::2], strict=False)
    ]
    record = {"id": "h", "text": text, "entities": draw(st.permutations(entities))}
    if entities and draw(st.booleans()):
        record["qualifiers"] = [[*entities[0][:2], "absent"]]
    if draw(st.booleans()):
        pairs = draw(st.lists(st.tuples(cuts, cuts), max_size=3))
        record["missing"] = [sorted(pair) for pair in pairs if pair[0] != pair[1]]
    if draw(st.booleans()):
        record |= {"image": "a.jpg", "tongue": {"body_color": "dark"}, "labels": list(NAMES)}
    return record


def surfaces(record: dict) -> list:
    return [[record["text"][start:end], label] for start, end, label in record["entities"]]


def labels_of(record: dict) -> list[str]:
    return [label for _, _, label in record["entities"]]


def n_misaligned(record: dict) -> int:
    return len(align_entities(NLP.make_doc(record["text"]), record["entities"])[1])


def texts(augmenter, record: dict, times: int = 40) -> list[str]:
    return [augmenter(record, Random(seed))["text"] for seed in range(times)]


@pytest.mark.parametrize("name", AUGMENTERS)
@settings(max_examples=150)
@given(record=records(), seed=st.integers(0, 2**32))
def test_every_result_is_a_new_valid_record(name, record, seed):
    before = copy.deepcopy(record)
    new = AUGMENTERS[name](record, Random(seed))
    assert list(find_problems(new, "here", LABELS)) == []
    assert record == before
    assert new is not record
    assert new["entities"] is not record["entities"]
    for key in ("id", "image", "labels", "tongue"):
        assert new.get(key) == record.get(key)
    assert new == AUGMENTERS[name](record, Random(seed))

    if name not in DROPPING:
        assert labels_of(new) == labels_of(record)
    if name == "augment":
        assert Counter(labels_of(new)) <= Counter(labels_of(record))
    if name == "sections":
        assert Counter(map(tuple, surfaces(new))) <= Counter(map(tuple, surfaces(record)))
        assert bool(new["text"]) == bool(record["text"])
    if name in SAME_LENGTH:
        assert len(new["text"]) == len(record["text"])
        assert new["entities"] == record["entities"]
        assert new["missing"] == record.get("missing", [])
    # No letters or digits grow together, so no entity comes to end inside a token.
    assert n_misaligned(new) <= n_misaligned(record)


@pytest.mark.parametrize("name", AUGMENTERS)
def test_the_written_records_change_and_stay_valid(name):
    changed = 0
    for record in read_records(RECORDS / "tongue_pulse.jsonl"):
        new = AUGMENTERS[name](record, Random(0))
        assert list(find_problems(new, record["id"], LABELS)) == []
        assert n_misaligned(new) <= n_misaligned(record)
        changed += new["text"] != record["text"]
    assert changed > 5  # of 36, some of one line


@pytest.mark.parametrize("name", AUGMENTERS)
def test_a_text_without_entities_and_an_empty_one_work(name):
    new = AUGMENTERS[name]({**EMPTY, "text": "一般情况可。"}, Random(0))
    assert new["entities"] == []
    assert new["text"]
    assert AUGMENTERS[name](EMPTY, Random(0)) == {**EMPTY, "missing": []}


# Edits ------------------------------------------------------------------------------------------


def test_offsets_follow_the_edits():
    record = {
        "id": "x",
        "text": "甲乙丙丁戊",
        "entities": [[0, 2, "HERB"], [3, 5, "HERB"]],
        "missing": [[1, 3], [2, 3], [2, 5]],
    }
    new = replace_text(record, [(0, 2, "长长长"), (2, 3, ""), (4, 5, "己己")])
    assert new["text"] == "长长长丁己己"
    assert new["entities"] == [[0, 3, "HERB"], [3, 6, "HERB"]]
    # What overlaps a replaced piece covers all of it, and what was taken out is gone.
    assert new["missing"] == [[0, 3], [3, 6]]


def test_pieces_bring_their_spans_and_never_grow_together():
    record = {
        "id": "x",
        "text": "5天\n3次",
        "entities": [[0, 2, "TIME"], [3, 5, "FREQUENCY"]],
        "missing": [[1, 4]],
    }
    new = arrange_text(record, [(3, 5), (0, 3)])
    assert new["text"] == "3次\n5天\n"
    assert surfaces(new) == [["3次", "FREQUENCY"], ["5天", "TIME"]]
    assert new["missing"] == [[0, 1], [4, 6]]


# Replacement ------------------------------------------------------------------------------------


def test_entities_are_replaced_by_terms_of_their_label(tmp_path):
    table = tmp_path / "terms.tsv"
    table.write_text("term\tcategory\n川芎\tHERB\n头晕\tSYMPTOM\n大承气汤\tHERB\nB6\tHERB\n")
    expected = [["川芎" if label == "HERB" else text, label] for text, label in surfaces(NOTE)]
    expected[0][0] = "头晕"
    augment = create_entity_replacement(table, share=1.0)
    for seed in range(10):
        assert surfaces(augment(NOTE, Random(seed))) == expected  # B6 could join with 30g


def test_terms_come_from_a_corpus_too_and_only_for_the_labels_asked_for(tmp_path):
    corpus = tmp_path / "corpus.jsonl"
    entities = [[0, 2, "SYMPTOM"], [3, 5, "HERB"]]
    corpus.write_text(json.dumps({"id": "a", "text": "头晕，川芎", "entities": entities}))
    augment = create_entity_replacement(corpus=corpus, share=1.0, labels=["SYMPTOM"])
    assert augment(NOTE, Random(0))["text"] == NOTE["text"].replace("便血", "头晕")


def test_the_same_entity_gets_the_same_term_in_all_places():
    augment = create_entity_replacement(LEXICON, share=0.5, labels=["HERB"])
    for seed in range(20):
        first, second, third = (x[0] for x in surfaces(augment(NOTE, Random(seed))) if "HERB" in x)
        assert first == third
        assert first != second


def test_the_share_is_that_of_the_different_entities():
    augment = create_entity_replacement(LEXICON, share=0.5, labels=["TONGUE"])
    kept = Counter()
    for seed in range(400):
        found = [text for text, label in surfaces(augment(NOTE, Random(seed))) if label == "TONGUE"]
        kept[found[0] == "舌红", found[1] == "苔黄腻"] += 1
    assert all(60 < kept[case] < 140 for case in product((True, False), repeat=2))  # independent


@pytest.mark.parametrize("known", [{"image": "a.jpg"}, {"tongue": {"body_color": "dark"}}])
def test_the_text_never_contradicts_the_photo(known):
    augment = create_entity_replacement(LEXICON, share=1.0)
    news = [surfaces(augment({**NOTE, **known}, Random(seed))) for seed in range(20)]
    assert all(new[3:5] == [["舌红", "TONGUE"], ["苔黄腻", "TONGUE"]] for new in news)
    assert len({new[0][0] for new in news}) > 5  # other entities are replaced


# Width ------------------------------------------------------------------------------------------


def test_one_habit_changes_the_whole_record():
    found = texts(create_width_variants(0.3), NOTE, 200)
    assert any("３天" in text and "３０g" in text for text in found)
    assert any("30ｇ" in text and "10ｇ" in text for text in found)
    assert any("主诉:便血3天,色鲜红." in text for text in found)
    assert any("舌红 苔黄腻 脉弦数" in text for text in found)
    assert any("30g，当归" in text for text in found)
    assert any("色鲜红\n" in text and text.endswith("黄芪") for text in found)
    half = texts(create_width_variants(0.3), {**EMPTY, "text": "T３７,脉弦.（＋）１２ｇ"}, 200)
    assert any("脉弦。" in text for text in half)
    assert any("T37" in text and "12" in text for text in half)
    assert any("(" in text for text in half)
    assert any("+" in text for text in half)


@pytest.mark.parametrize(
    "text", ["1，200", "1,200", "１２，３４５", "12、345", "3。5", "3．5", "3.5"]
)
def test_numbers_stay_the_numbers_they_are(text):
    numbers = {
        re.sub(
            r"[0-9]+",
            "",
            new.translate(dict(zip(range(0xFF10, 0xFF1A), range(48, 58), strict=True))),
        )
        for new in texts(create_width_variants(0.9), {**EMPTY, "text": text})
    }
    assert numbers == {text.strip("0123456789１２３４５")}


def test_an_entity_keeps_its_comma_and_full_stop():
    record = {**EMPTY, "text": "舌红，苔黄。", "entities": [[0, 6, "TONGUE"]]}
    found = texts(create_width_variants(0.9), record)
    assert {len(text) for text in found} == {6}
    assert not any(" " in text for text in found)


# Sections ---------------------------------------------------------------------------------------


def test_sections_are_shuffled_whole():
    note = "男，34岁。主诉：便血。\n【舌脉】舌红\n苔黄腻\n3. 处  方：黄芪30g"
    sections = ["男，34岁。", "主诉：便血。\n", "【舌脉】舌红\n苔黄腻\n", "3. 处  方：黄芪30g"]
    found = texts(create_section_shuffle(drop=0, shuffle=1.0), {**EMPTY, "text": note})
    for text in found:
        assert sorted(text.replace("\n", "")) == sorted(note.replace("\n", ""))
        assert all(section in text for section in sections)
    assert len(set(found)) > 10


def test_without_headers_lines_are_shuffled_and_a_section_is_not_dropped_alone():
    record = {**EMPTY, "text": "便血3天\n舌红"}
    assert set(texts(create_section_shuffle(0, 1.0), record)) == {
        "便血3天\n舌红",
        "舌红\n便血3天\n",
    }
    assert set(texts(create_section_shuffle(1.0, 0), record)) == {"便血3天\n", "舌红"}
    assert set(texts(create_section_shuffle(0, 0), record)) == {record["text"]}


def test_a_header_inside_a_sentence_or_an_entity_begins_no_section():
    record = {**EMPTY, "text": "治疗：按主诉：便血。诊断：痔", "entities": [[9, 13, "TEST"]]}
    assert set(texts(create_section_shuffle(0, 1.0), record)) == {record["text"]}


# Traditional characters, typos ------------------------------------------------------------------


def test_traditional_characters_are_chosen_by_the_word():
    record = {**EMPTY, "text": "发热，头发干枯，舌苔黄腻"}
    new = create_traditional_characters()(record, Random(0))
    assert new["text"] == "發熱，頭髮乾枯，舌苔黃膩"


def test_a_conversion_of_another_length_is_done_by_the_character(monkeypatch):
    class Longer:
        def __init__(self, variant):
            pass

        def convert(self, text):
            return {"头发痒": "頭髮很癢", "头": "頭", "发": "發", "痒": "癢癢"}[text]

    monkeypatch.setattr("opencc.OpenCC", Longer)
    record = {**EMPTY, "text": "头发痒", "entities": [[2, 3, "SYMPTOM"]]}
    new = create_traditional_characters()(record, Random(0))
    assert (new["text"], surfaces(new)) == ("頭發癢癢", [["癢癢", "SYMPTOM"]])


def test_typos_sound_or_look_alike():
    by_sound = create_typos(LEXICON, rate=1.0, sound=1.0)
    assert set(texts(by_sound, {**EMPTY, "text": "证a1，"}, 200)) >= {"症a1，", "正a1，", "增a1，"}
    tongue = set(texts(by_sound, {**EMPTY, "text": "舌"}, 200))
    assert tongue >= {"涩", "射", "色"}  # s and sh are alike
    assert "生" not in tongue
    assert "进" in texts(by_sound, {**EMPTY, "text": "经"}, 400)  # so are n and ng
    year = set(texts(by_sound, {**EMPTY, "text": "年"}))
    assert "黏" in year
    assert "捻" not in year  # in few terms only
    by_shape = create_typos(LEXICON, rate=1.0, sound=0.0)
    assert set(texts(by_shape, {**EMPTY, "text": "己证"})) == {"已症", "巳症"}
    by_shape = create_typos(rate=1.0)
    assert set(texts(by_shape, {**EMPTY, "text": "己证"})) == {"已症", "巳症"}
    assert set(texts(create_typos(LEXICON, rate=0.0), NOTE)) == {NOTE["text"]}


def test_the_rate_is_that_of_the_characters():
    record = {**EMPTY, "text": "证" * 2000}
    (text,) = texts(create_typos(LEXICON, rate=0.1), record, 1)
    assert 140 < sum(char != "证" for char in text) < 260


def test_shapes_are_groups_of_different_single_characters():
    assert all(len(group) == len(set(group)) > 1 for group in SHAPES)
    assert len(set(map(frozenset, SHAPES))) == len(SHAPES)


# Configs and errors -----------------------------------------------------------------------------


def test_all_are_registered_for_configs():
    config = spacy.util.load_config_from_str(
        f"""
        [augmenter]
        @misc = "spacy_tcm.augment.v1"
        chances = {{"none": 0.0, "typos": 0.5}}

        [augmenter.steps]

        [augmenter.steps.none]
        @misc = "spacy_tcm.section_shuffle.v1"
        drop = 1.0

        [augmenter.steps.typos]
        @misc = "spacy_tcm.typos.v1"
        lexicon = "{LEXICON.as_posix()}"
        rate = 1.0

        [augmenter.steps.traditional]
        @misc = "spacy_tcm.traditional_characters.v1"

        [augmenter.steps.width]
        @misc = "spacy_tcm.width_variants.v1"
        share = 0.0

        [augmenter.steps.replacement]
        @misc = "spacy_tcm.entity_replacement.v1"
        lexicon = ["{LEXICON.as_posix()}"]
        labels = ["FORMULA"]
        """.replace("\n        ", "\n")
    )
    record = {**EMPTY, "text": "脉缓\n恶风"}
    found = Counter(texts(registry.resolve(config)["augmenter"], record, 100))
    assert 30 < found["脈緩\n惡風"] < 70


@pytest.mark.parametrize(
    ("create", "settings", "code"),
    [
        (create_width_variants, {"share": 1.1}, "E360"),
        (create_typos, {"rate": -0.1}, "E360"),
        (create_typos, {"sound": float("nan")}, "E360"),
        (create_section_shuffle, {"drop": 2}, "E360"),
        (create_entity_replacement, {"labels": ["HERBS"]}, "E362"),
        (create_entity_replacement, {}, "E363"),
        (create_entity_replacement, {"lexicon": LEXICON / "herbs.tsv", "labels": ["TIME"]}, "E363"),
        (create_traditional_characters, {"variant": "s2twp"}, "E364"),
        (create_augment, {"steps": {}, "chances": {"a": 0.5}}, "E365"),
        (create_augment, {"steps": {"a": 3}}, "E366"),
        (create_augment, {"steps": {"a": create_typos()}, "chances": {"a": 5}}, "E360"),
    ],
)
def test_a_wrong_setting_is_named(create, settings, code):
    with pytest.raises(RecordError, match=code):
        create(**settings)


@pytest.mark.parametrize(
    ("package", "create"),
    [
        ("opencc", create_traditional_characters),
        ("pypinyin", lambda: create_typos(LEXICON)),
    ],
)
def test_a_package_that_is_not_installed_is_named(package, create, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(RecordError, match=rf"E361.*'{package}'"):
        create()
