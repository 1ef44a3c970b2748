import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_tcm.deid.dates import shift_date
from spacy_tcm.deid.find import IdentifierFinder, has_valid_checksum
from spacy_tcm.deid.replace import ACTIONS, Deidentifier, OffsetMap, read_key
from spacy_tcm.errors import ModelError

KEY = b"a key for tests only"
TEXT = (
    "姓名：张伟  住院号：ZY202400123\n患者张伟，男，93岁，2024年3月5日因便血3天来诊。"
    "2024年3月12日复诊，5月起减轻。手机13812345678，身份证11010519491231002X。2023年5月起病。\n"
    "医师签名：欧阳明"
)


def make(action, key=KEY):
    return Deidentifier(IdentifierFinder.from_path(), action, key)


def test_placeholders():
    result = make("placeholder")(TEXT)
    assert result.text == (
        "姓名：[姓名]  住院号：[病案号]\n患者[姓名]，男，[高龄]岁，[日期]因便血3天来诊。"
        "[日期]复诊，5月起减轻。手机[手机号]，身份证[身份证号]。2023年5月起病。\n医师签名：[医务人员]"
    )
    assert result.counts == {
        "AGE": 1,
        "DATE": 2,
        "DOCTOR": 1,
        "ID_CARD": 1,
        "MOBILE": 1,
        "NAME": 2,
        "RECORD_NO": 1,
    }


def test_a_mask_keeps_offsets():
    result = make("mask")(TEXT)
    assert len(result.text) == len(TEXT)
    assert result.text.startswith("姓名：**  住院号：***********\n患者**，男，**岁，")


def test_surrogates():
    result = make("surrogate")(TEXT, "p1")
    assert all(x not in result.text for x in ("张伟", "13812345678", "ZY2024", "欧阳", "93岁"))
    first, second = re.findall(r"(?:姓名：|患者)(..)(?:  |，)", result.text)
    assert first == second
    number = re.search(r"身份证(\w{18})", result.text)[1]
    assert has_valid_checksum(number)
    assert number.startswith("99")
    assert re.search(r"手机10\d{9}，", result.text)
    assert re.search(r"住院号：[A-Z]{2}\d{9}\n", result.text)
    assert (
        make("surrogate")(TEXT, "p1") == result or make("surrogate")(TEXT, "p1").text == result.text
    )
    assert make("surrogate")(TEXT, "p2").text != result.text
    assert make("surrogate", b"another key, of tests")(TEXT, "p1").text != result.text
    assert make("surrogate", None)(TEXT, "p1").text != make("surrogate", None)(TEXT, "p1").text


def test_relatives_share_their_surname():
    text = "姓名：张伟\n联系人：张小明\n医师签名：张伟"
    a, b, c = re.findall("：(.+)", make("surrogate")(text).text)
    assert a == c
    assert a[0] == b[0]
    assert len(b) == 3


@pytest.mark.parametrize("action", ["shift", "surrogate"])
def test_dates_keep_their_intervals(action):
    text = make(action)(
        "2024年3月5日入院，2024-03-12手术，3月20日出院。1956年3月12日出生", "p"
    ).text
    first, second, third, born = re.findall(r"[\d年月日-]{5,}", text)
    days = next(n for n in range(-365, 0) if shift_date("2024年3月5日", n, 2024) == first)
    assert shift_date("2024-03-12", days, 2024) == second
    assert shift_date("3月20日", days, 2024) == third
    assert shift_date("1956年3月12日", days, 2024) == born
    assert make(action)("二〇二四年三月五日。").text != "二〇二四年三月五日。"


def test_shift_leaves_no_name():
    text = make("shift")(TEXT).text
    assert text.startswith("姓名：[姓名]  住院号：[病案号]\n")
    assert "2023年5月起病" not in text


@pytest.mark.parametrize("action", ACTIONS)
def test_the_way_back(action):
    result = make(action)(TEXT)
    values = [TEXT[p.start : p.end] for p in result.map.pieces]
    assert result.map.restore(result.text, values) == TEXT
    at = TEXT.index("便血3天")
    start, end = result.map.to_new(at, at + 4)
    assert result.text[start:end] == "便血3天"
    assert result.map.to_old(start, end) == (at, at + 4)
    name = result.map.pieces[0]
    assert result.map.to_new(name.start + 1, name.end) == (name.new_start, name.new_end)
    assert result.map.to_old(name.new_start, name.new_start + 1) == (name.start, name.end)
    assert result.map.to_new(0, len(TEXT)) == (0, len(result.text))


@given(st.data())
def test_offsets_of_what_is_left_map_both_ways(data):
    lengths = data.draw(
        st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 6)))
    )
    pieces, old, new = [], 0, 0
    for gap, before, after in lengths:
        old, new = old + gap, new + gap
        pieces.append(("NAME", old, old + before, new, new + after))
        old, new = old + before, new + after
    offsets = OffsetMap(pieces)
    start = data.draw(st.integers(0, old + 3))
    end = data.draw(st.integers(start, old + 3))
    there = offsets.to_new(start, end)
    assert there[0] <= there[1]
    if not any(a < end and start < b for _, a, b, _, _ in pieces) and start < end:
        assert offsets.to_old(*there) == (start, end)
    else:
        back = offsets.to_old(*there)
        assert back[0] <= start
        assert back[1] >= end


def test_settings():
    with pytest.raises(ModelError, match=r"E635.*'hide'.*placeholder, mask, surrogate, shift"):
        make("hide")
    with pytest.raises(ModelError, match="E637"):
        make("mask", b"short")


def test_key_files(tmp_path):
    path = tmp_path / "key"
    with pytest.raises(ModelError, match=r"E637.*No such file"):
        read_key(path)
    path.write_bytes(b"0123456789abcde\n")
    with pytest.raises(ModelError, match=r"E637.*15 bytes"):
        read_key(path)
    path.write_bytes(b"0123456789abcdef\n")
    assert read_key(path) == b"0123456789abcdef"
