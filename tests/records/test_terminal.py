import re

import pytest

from spacy_tcm.records.inputs import BadInput, InputRecord
from spacy_tcm.records.job import annotate, write_results
from spacy_tcm.records.terminal import display_width, format_summary, shorten

META = {"lang": "tcm", "name": "test", "version": "1"}


@pytest.mark.parametrize(
    ("text", "width"),
    [("abc", 3), ("舌红", 4), ("舌a", 3), ("，", 2), ("Ａ", 2), ("e\u0301", 1), ("", 0), ("𠮷", 2)],
)
def test_display_width(text, width):
    assert display_width(text) == width


@pytest.mark.parametrize(
    ("text", "width", "expected"),
    [
        ("舌红苔黄", 8, "舌红苔黄"),
        ("舌红苔黄", 7, "舌红..."),
        ("舌红苔黄", 6, "舌..."),
        ("abc", 3, "abc"),
    ],
)
def test_shorten(text, width, expected):
    assert shorten(text, width) == expected
    assert display_width(shorten(text, width)) <= width


def plain(text):
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def test_table_is_aligned_and_fits(nlp, tmp_path):
    items = [
        InputRecord("张三-门诊病历", "x", "便血，舌红，苔黄腻，脉弦，黄芪" * 20),
        InputRecord("b", "x", "舌红\n便血"),
        InputRecord("很长的编号" * 10, "x", ""),
        BadInput(None, "a.jsonl:3", "[E511] Not valid JSON."),
    ]
    summary = write_results(annotate(nlp, items), tmp_path, META)
    shown = plain(format_summary(summary, tmp_path, tmp_path / "page.html", width=90))
    table = shown.split("\n\n")[0].splitlines()
    header, rule, *rows = table
    starts = [match.start() for match in re.finditer("-+", rule)]
    assert len(rows) == 4
    for row in rows:
        assert display_width(row) <= 90
        columns = "".join(c + "\0" * (display_width(c) - 1) for c in row)
        for start in starts[1:]:
            assert columns[start - 2 : start].strip() == ""
    assert header.split() == ["record", "photo", "entities", "what", "was", "found"]
    assert "舌象 舌红、苔黄腻 | 脉象 脉弦 | 症状 便血" in rows[0]
    assert rows[1].split() == ["b", "none", "2", "舌象", "舌红", "|", "症状", "便血"]
    assert "a.jsonl:3: [E511] Not valid JSON." in shown
    assert "4 records: 3 ok, 1 failed" in shown
    assert f"Page:    {tmp_path / 'page.html'}" in shown


def test_many_records_are_cut_short(nlp, tmp_path):
    items = [InputRecord(str(i), "x", "便血") for i in range(1500)]
    items += [BadInput(None, f"a:{i}", "[E511] Bad.") for i in range(15)]
    items.append(BadInput(None, "a:99", "[E515] Worse."))
    summary = write_results(annotate(nlp, items), tmp_path, META)
    shown = plain(format_summary(summary, tmp_path, width=80))
    assert "... and 1,506 more" in shown
    assert shown.count("[E511] Bad.") == 1
    assert "... and 14 more with E511" in shown
    assert "a:99: [E515] Worse." in shown
    assert "more with E515" not in shown
    assert len(shown.splitlines()) < 40


def test_control_characters_do_not_reach_the_terminal(nlp, tmp_path):
    nlp.get_pipe("entity_ruler").add_patterns([{"label": "X", "pattern": [{"TEXT": "\x1b"}]}])
    items = [InputRecord("a\x1b[31m\n", "x", "\x1b便血"), BadInput(None, "\x07", "[E511] Bad.")]
    summary = write_results(annotate(nlp, items), tmp_path, META)
    assert not re.search(r"[\x00-\x09\x0b-\x1f]", plain(format_summary(summary, tmp_path)))
