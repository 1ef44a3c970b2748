from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_tcm.errors import RecordError
from spacy_tcm.training.markup import parse_record, read_markup, to_markup
from spacy_tcm.training.validation import QUALIFIERS

RECORD = """\
=== w1 | 肛肠科 | terse note
⟦便血|SYMPTOM⟧⟦3天|TIME⟧，无⟦发热|SYMPTOM|absent⟧。
既往⟦高血压|WM_DISEASE|past+family⟧。
--- fields
{"一般.病程": {"value": 3, "unit": "日", "evidence": "便血3天"}}
--- meta
{"tongue": {"舌色": ["红"]}}
"""


def parsed(text: str, name: str = "notes.txt") -> dict:
    return parse_record(text.split("\n"), Path(name), 1)


def test_parses_text_offsets_qualifiers_and_the_rest():
    assert parsed(RECORD) == {
        "id": "w1",
        "text": "便血3天，无发热。\n既往高血压。",
        "entities": [[0, 2, "SYMPTOM"], [2, 4, "TIME"], [6, 8, "SYMPTOM"], [12, 15, "WM_DISEASE"]],
        "qualifiers": [[6, 8, "absent"], [12, 15, "past"], [12, 15, "family"]],
        "fields": {"一般.病程": {"value": 3, "unit": "日", "evidence": "便血3天"}},
        "meta": {"tongue": {"舌色": ["红"]}},
        "department": "肛肠科",
        "style": "terse note",
        "source": "written",
        "file": "notes",
    }


def test_reads_all_records_of_a_file_with_their_lines(tmp_path):
    path = tmp_path / "two.txt"
    path.write_text("\ufeff" + RECORD + "\n\n" + RECORD.replace("w1", "w2"), encoding="utf-8")
    assert [(line, record["id"]) for line, record in read_markup(path)] == [(1, "w1"), (10, "w2")]


def test_a_bad_record_does_not_hide_the_next(tmp_path):
    path = tmp_path / "two.txt"
    path.write_text(RECORD.replace("⟧，", "，") + RECORD.replace("w1", "w2"), encoding="utf-8")
    (_, bad), (_, good) = read_markup(path)
    assert isinstance(bad, RecordError)
    assert good["id"] == "w2"


def test_windows_line_ends_are_line_ends(tmp_path):
    path = tmp_path / "dos.txt"
    path.write_bytes(RECORD.replace("\n", "\r\n").encode())
    ((_, record),) = read_markup(path)
    assert record["text"] == parsed(RECORD)["text"]


@pytest.mark.parametrize(
    ("old", "new", "code", "line"),
    [
        ("⟦便血|SYMPTOM⟧", "⟦便血|SYMPTOM", "E332", 2),
        ("⟦便血|SYMPTOM⟧", "⟦⟦便血|SIGN⟧|SYMPTOM⟧", "E332", 2),
        ("⟦便血|SYMPTOM⟧", "⟦便血|symptom⟧", "E332", 2),
        ("|absent", "|never", "E332", 2),
        ("past+family", "past+past", "E332", 3),
        ("⟦高血压", "⟦ 高血压", "E333", 3),
        ("--- fields\n", "", "E331", 1),
        ("--- meta\n", "--- more\n", "E331", 1),
        ('{"value"', '{value"', "E305", 5),
        ('"舌色"', "舌色", "E305", 7),
        ("肛肠科 |", "", "E330", 1),
        (RECORD[RECORD.index("--- fields") :], "--- Fields\n{}\n", "E331", 4),
        (RECORD[RECORD.index("⟦") :], "\n\n", "E331", 1),
    ],
)
def test_errors_name_file_and_line_but_never_the_text(old, new, code, line):
    assert old in RECORD
    with pytest.raises(RecordError, match=rf"\[{code}\] notes.txt, line {line}\b") as error:
        parsed(RECORD.replace(old, new, 1))
    assert not any(word in str(error.value) for word in ("便血", "高血压", "发热"))


def test_text_before_the_first_header_is_an_error(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("便血\n" + RECORD, encoding="utf-8")
    with pytest.raises(RecordError, match="E335"):
        list(read_markup(path))


def test_a_file_in_another_encoding_is_an_error(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_bytes(RECORD.encode("gb18030"))
    with pytest.raises(RecordError, match="E304"):
        list(read_markup(path))


# Any text that the format can hold: no mark characters, no carriage return, no header line.
PIECES = st.text(st.characters(exclude_characters="⟦⟧|\r=-", exclude_categories=["Cs"]), max_size=8)
SURFACES = st.text(
    st.characters(exclude_characters="⟦⟧|\r\n=-", exclude_categories=["Cs"]), min_size=1, max_size=8
).filter(lambda surface: surface == surface.strip())
MARKS = st.tuples(
    SURFACES,
    st.sampled_from(["SYMPTOM", "TIME"]),
    st.lists(st.sampled_from(QUALIFIERS), unique=True),
)


@given(st.lists(st.tuples(PIECES, MARKS)), PIECES)
def test_round_trip(marked, rest):
    text, entities, qualifiers = "", [], []
    for before, (surface, label, names) in marked:
        start = len(text) + len(before)
        text += before + surface
        entities.append([start, len(text), label])
        qualifiers += [[start, len(text), name] for name in names]
    record = {
        **parsed(RECORD),
        "text": text + rest,
        "entities": entities,
        "qualifiers": qualifiers,
    }
    again = parsed(to_markup(record))
    assert again == record
    assert [again["text"][s:e] for s, e, _ in again["entities"]] == [m[1][0] for m in marked]


@pytest.mark.parametrize(
    "change",
    [
        {"image": "a.jpg"},
        {"text": "便血3天，无发热。\r既往高血压。"},
        {"text": "便血|天，无发热。\n既往高血压。"},
        {"text": "便血3天，无发热。\n=== 高血压。", "entities": [], "qualifiers": []},
        {"text": "便血3天，无发热。\n--- 高血压。", "entities": [], "qualifiers": []},
        {"entities": [[0, 3, "SYMPTOM"], [2, 4, "TIME"]]},
        {"entities": [[8, 11, "TIME"]]},
        {"entities": [[0, 2, "症状"]]},
        {"department": "a|b"},
    ],
)
def test_refuses_to_write_what_would_not_be_read_back(change):
    with pytest.raises(RecordError, match=r"E334.*'w1'"):
        to_markup({**parsed(RECORD), **change})
