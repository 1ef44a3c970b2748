import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_tcm.errors import RecordError
from spacy_tcm.records.inputs import (
    BadInput,
    InputOptions,
    InputRecord,
    count_inputs,
    find_files,
    read_inputs,
)

NOTE = "患者便血3天，\r\n舌红，苔黄腻。"
PLAIN = InputOptions()
NOTES = InputOptions(text_field="病历")


def read(path, options=PLAIN):
    found = list(read_inputs(path, options))
    assert count_inputs(path, options) == len(found)
    return found


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def code(bad):
    assert isinstance(bad, BadInput)
    return bad.message[1:5]


def lines(*rows):
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


# .txt


def test_a_text_file_is_one_record(tmp_path):
    (record,) = read(write(tmp_path / "病历1.txt", NOTE + "\n"))
    assert record == InputRecord("病历1", "病历1.txt", NOTE)


@pytest.mark.parametrize("text", ["", " \n\t", "\u3000"])
def test_an_empty_text_is_a_record_with_a_warning(tmp_path, text):
    (record,) = read(write(tmp_path / "a.jsonl", lines({"id": "a", "病历": text})), NOTES)
    assert (record.id, record.text) == ("a", text)
    (warning,) = record.warnings
    assert warning.startswith("[W505] The field '病历' is empty")
    (record,) = read(write(tmp_path / "a.txt", text))
    assert [warning[1:5] for warning in record.warnings] == ["W505"]


def test_records_per_line_skip_blank_lines(tmp_path):
    file = write(tmp_path / "a.txt", "便血\r\n\n舌红\n")
    found = read(file, InputOptions(per_line=True))
    assert [(r.id, r.source, r.text) for r in found] == [
        ("a-1", "a.txt:1", "便血"),
        ("a-3", "a.txt:3", "舌红"),
    ]


def test_a_folder_is_read_recursively_in_order(tmp_path):
    write(tmp_path / "b.txt", "2")
    write(tmp_path / "2024" / "a.txt", "1")
    write(tmp_path / "c.jsonl", lines({"id": "x", "text": "3"}, {"text": "4"}))
    write(tmp_path / "scan.pdf", "%PDF")
    write(tmp_path / "._b.txt", b"\0\5\x16\7")  # what macOS leaves beside files
    found = read(tmp_path)
    assert [(r.id, r.source) for r in found] == [
        ("2024/a", "2024/a.txt"),
        ("b", "b.txt"),
        ("x", "c.jsonl:1"),
        ("c-2", "c.jsonl:2"),
    ]
    assert [path.name for path in find_files(tmp_path)[1]] == ["._b.txt", "scan.pdf"]


def test_nothing_to_read(tmp_path):
    with pytest.raises(RecordError, match="E501"):
        find_files(tmp_path / "none")
    with pytest.raises(RecordError, match="E502"):
        find_files(tmp_path)
    with pytest.raises(RecordError, match="E502"):
        find_files(write(tmp_path / "a.docx", "x"))


# encodings


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030"])
@pytest.mark.parametrize("suffix", ["txt", "csv", "jsonl"])
def test_encodings_give_the_same_text(tmp_path, encoding, suffix):
    content = {
        "txt": "舌红𠮷，脉弦",
        "csv": "id,text\r\n1,舌红𠮷，脉弦\r\n",
        "jsonl": '{"id": "1", "text": "舌红𠮷，脉弦"}',
    }[suffix]
    (record,) = read(write(tmp_path / f"a.{suffix}", content.encode(encoding)))
    assert record.text == "舌红𠮷，脉弦"


def test_a_broken_byte_in_utf8_spoils_its_own_record_only(tmp_path):
    content = lines({"text": "舌红苔黄"}, {"text": "便血"}, {"text": "脉弦细数"}).encode()
    broken = content.replace("便血".encode(), "便血".encode()[:4])
    assert broken.decode("gb18030")  # which must not be taken for the encoding
    first, second, third = read(write(tmp_path / "a.jsonl", broken))
    assert (first.text, third.text) == ("舌红苔黄", "脉弦细数")
    assert code(second) == "E514"
    assert (second.id, second.source) == ("a-2", "a.jsonl:2")


def test_undecodable_text_file(tmp_path):
    (bad,) = read(write(tmp_path / "a.txt", b"\xff\xfe\x01\x02\xff\xff"))
    assert code(bad) == "E514"


@pytest.mark.parametrize("suffix", ["txt", "csv", "jsonl"])
def test_big5_is_not_taken_for_gb18030(tmp_path, suffix):
    content = {
        "txt": "\n主訴頭痛，舌紅，脈弦",
        "csv": "id,text\n1,主訴頭痛，舌紅，脈弦\n2,紅\n",
        "jsonl": '{"id": "0", "text": ""}\n{"id": "1", "text": "主訴頭痛，舌紅，脈弦"}',
    }[suffix].encode("big5")
    assert content.decode("gb18030")
    (bad,) = read(write(tmp_path / f"a.{suffix}", content))
    assert (code(bad), bad.source) == ("E524", f"a.{suffix}")
    assert "Line 2" in bad.message


def test_private_use_characters_in_utf8_are_text(tmp_path):
    (record,) = read(write(tmp_path / "a.txt", "舌红\ue000"))
    assert record.text == "舌红\ue000"


def test_a_file_that_cannot_be_read(tmp_path):
    write(tmp_path / "a.txt", "x")
    (tmp_path / "a.txt").chmod(0)
    try:
        (tmp_path / "a.txt").read_bytes()
    except PermissionError:
        (bad,) = read(tmp_path)
        assert code(bad) == "E510"
    else:
        pytest.skip("this user may read everything")


# .jsonl


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('{"id": "a", "text": ', "E511"),
        ("便血", "E511"),
        ('{"text": ' + "9" * 5000 + "}", "E511"),
        ("[" * 100_000, "E511"),
        ("[1]", "E518"),
        ("null", "E518"),
        ('{"id": "a"}', "E519"),
        ('{"id": "a", "text": null}', "E512"),
        ('{"id": "a", "text": ["便血"]}', "E512"),
        ('{"id": "a", "text": 3}', "E512"),
        ('{"id": {"n": 1}, "text": "便血"}', "E512"),
        ('{"id": true, "text": "便血"}', "E512"),
        ('{"id": "a", "text": "便\\ud800血"}', "E514"),
        ('{"id": "\\udfff", "text": "便血"}', "E514"),
    ],
)
def test_bad_lines(tmp_path, line, expected):
    content = lines({"id": "0", "text": "舌红"}) + line + "\n" + lines({"id": "2", "text": "舌红"})
    before, bad, after = read(write(tmp_path / "a.jsonl", content))
    assert (before.id, after.id) == ("0", "2")
    assert code(bad) == expected
    assert bad.source == "a.jsonl:2"
    assert bad.id in (None, "a")
    assert "便血" not in bad.message


def test_ids(tmp_path):
    content = lines({"id": 7, "text": ""}, {"id": "", "text": ""}, {"id": None, "text": ""})
    assert [r.id for r in read(write(tmp_path / "a.jsonl", content))] == ["7", "a-2", "a-3"]


def test_whole_numbers_are_ids_however_they_are_written(tmp_path):
    content = (
        '{"id": 1.0, "text": "便血"}\n{"id": 2e1, "text": "便血"}\n{"id": 1.5, "text": "便血"}'
    )
    first, second, third = read(write(tmp_path / "a.jsonl", content))
    assert (first.id, second.id, code(third)) == ("1", "20", "E512")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "nothing (null)"),
        ([], "a list"),
        ({}, "an object"),
        (3, "a number"),
        (False, "true or false"),
    ],
)
def test_what_is_not_text_is_said_in_plain_words(tmp_path, value, words):
    (bad,) = read(write(tmp_path / "a.jsonl", lines({"id": "a", "text": value})))
    assert f"'text' is not text: it holds {words}." in bad.message
    if value != {}:
        (bad,) = read(write(tmp_path / "b.jsonl", lines(value)))
        assert f"The line holds {words}," in bad.message


@pytest.mark.parametrize("field", ["id", "text", "image"])
def test_repeated_json_keys(tmp_path, field):
    row = f'{{"id": "1", "text": "便血", "image": "a", "x": 1, "x": 2, "{field}": "舌红"}}'
    nested = lines({"id": "2", "text": "便血"})[:-2] + ', "x": {"id": 1, "id": 2}, "x": 3}'
    bad, good = read(write(tmp_path / "a.jsonl", f"{row}\n{nested}"))
    assert (code(bad), bad.source) == ("E523", "a.jsonl:1")
    assert f"'{field}'" in bad.message
    assert (good.id, good.text) == ("2", "便血")


def test_duplicate_ids_across_files(tmp_path):
    write(tmp_path / "a.jsonl", lines({"id": "x", "text": "1"}))
    write(tmp_path / "b.csv", "id,text\nx,2\ny,3\n")
    first, second, third = read(tmp_path)
    assert (first.text, third.text) == ("1", "3")
    assert (code(second), second.id, second.source) == ("E513", "x", "b.csv:2")


def test_other_field_names(tmp_path):
    file = write(tmp_path / "a.jsonl", lines({"no": 1, "病历": "舌红", "photo": "p.jpg"}))
    options = InputOptions(tmp_path, "病历", "no", "photo")
    (record,) = read(file, options)
    assert (record.id, record.text, record.image) == ("1", "舌红", "p.jpg")


@given(texts=st.lists(st.text(st.characters(codec="utf-8")), max_size=5))
def test_any_text_comes_through_jsonl(tmp_path_factory, texts):
    file = tmp_path_factory.mktemp("any") / "a.jsonl"
    write(file, "".join(json.dumps({"text": text}) + "\n" for text in texts))
    assert [record.text for record in read_inputs(file, PLAIN)] == texts


# .csv


def test_csv_with_quoted_line_breaks(tmp_path):
    content = 'text,note,id\r\n"主诉：便血\r\n舌红，""苔黄腻""",x,1\r\n\r\n,,\r\n脉弦,y,2\r\n'
    found = read(write(tmp_path / "a.csv", content))
    assert [(r.id, r.source, r.text) for r in found] == [
        ("1", "a.csv:2", '主诉：便血\r\n舌红，"苔黄腻"'),
        ("2", "a.csv:6", "脉弦"),
    ]


def test_csv_rows_of_the_wrong_length(tmp_path):
    found = read(write(tmp_path / "a.csv", 'id,text\n1,便血,多\n2\n3,舌红\n4,"a\n5,b",c\n'))
    assert [r.source for r in found] == ["a.csv:2", "a.csv:3", "a.csv:4", "a.csv:5"]
    assert found.pop(2).text == "舌红"
    assert [code(bad) for bad in found] == ["E517"] * 3
    assert "(lines 5 to 6)" in found[2].message


def test_csv_with_broken_quotes(tmp_path):
    found = read(write(tmp_path / "a.csv", 'id,text\n1,"便血"多\n2,舌红\n3,"脉弦\n4,x\n'))
    assert [code(found[0]), found[1].text, code(found[2])] == ["E515", "舌红", "E522"]
    assert found[2].source == "a.csv:4"  # where the quotation mark stands


def test_csv_with_a_quotation_mark_that_is_never_closed(tmp_path):
    rows = "".join(f"{number},舌红\n" for number in range(3, 10))
    found = read(write(tmp_path / "a.csv", f'id,text\n1,便血\n2,"便血\n{rows}'))
    assert [r.id for r in found] == ["1", None]
    assert (code(found[1]), found[1].source) == ("E522", "a.csv:3")
    assert "from line 3 to the end of the file (8 lines) was not read" in found[1].message


def test_csv_error_names_every_line_that_was_not_read(tmp_path):
    found = read(write(tmp_path / "a.csv", 'id,text\n1,"便血\n2,脉弦\n3,"舌红"\n4,头痛\n'))
    assert (code(found[0]), found[1].id) == ("E515", "4")
    assert "lines 2 to 4 were not read" in found[0].message


@pytest.mark.parametrize(
    ("content", "warns"),
    [
        ('id,text\n0,便血\n1,"舌红\n2,脉弦\n3,头痛"\n', True),
        ('id,text,x\n0,便血,\n1,"舌红\n2,脉弦,y\n3,头痛",z\n', True),
        ('id,text,x\n0,便血,\n1,"舌红\n脉弦,头痛\n",z\n', False),
        ('id,text\n0,便血\n1,"舌红,\n脉弦，头痛"\n', False),
        ('text\n便血\n"舌红\n脉弦,头痛"\n', False),
    ],
)
def test_csv_rows_that_may_have_become_one(tmp_path, content, warns):
    first, second = read(write(tmp_path / "a.csv", content))
    assert first.warnings == ()
    assert second.text.startswith("舌红")
    assert [warning[1:5] for warning in second.warnings] == ["W506"] * warns
    if warns:
        assert "'a.csv'" in second.warnings[0]
        assert "lines 3 to 5" in second.warnings[0]
        assert "脉弦" not in second.warnings[0]


@pytest.mark.parametrize("header", ["id,text,text", "text,id, id ", "text,image,image"])
def test_csv_with_a_column_twice(tmp_path, header):
    (bad,) = read(write(tmp_path / "a.csv", f"{header}\n1,便血,舌红\n2,便血,舌红\n"))
    assert (code(bad), bad.source) == ("E523", "a.csv:1")
    assert f"'{header.split(',')[2].strip()}'" in bad.message


def test_csv_with_an_unused_column_twice(tmp_path):
    (record,) = read(write(tmp_path / "a.csv", "id,text,x,x,,\n1,便血,,,,\n"))
    assert record.text == "便血"


def test_csv_without_header_does_not_show_the_row(tmp_path):
    (bad,) = read(write(tmp_path / "a.csv", "1,张三便血\n2,舌红\n"))
    assert code(bad) == "E516"
    assert "便血" not in bad.message


def test_csv_cell_longer_than_the_module_default(tmp_path):
    text = "便血" * 100_000
    (record,) = read(write(tmp_path / "a.csv", f"id,text\n1,{text}\n"))
    assert record.text == text


def test_empty_files(tmp_path):
    assert read(write(tmp_path / "a.csv", "")) == []
    assert read(write(tmp_path / "a.jsonl", "\n\n")) == []
    assert read(write(tmp_path / "b.csv", "id,text\n")) == []


# photos


def test_photo_by_field_or_by_id(tmp_path):
    images = tmp_path / "images"
    for name in ("1.JPG", "2.webp", "sub/3.png"):
        write(images / name, b"x")
    content = lines(
        {"id": 1, "text": "便血"},
        {"id": 2, "text": "便血", "image": ""},
        {"id": "x", "text": "便血", "image": "sub/3.png"},
        {"id": "w", "text": "便血", "image": "sub\\3.png"},
        {"id": "y", "text": "便血", "image": "gone.jpg"},
        {"id": "z", "text": "便血"},
    )
    found = read(write(tmp_path / "a.jsonl", content), InputOptions(images))
    third = "sub/3.png"
    assert [r.image for r in found] == ["1.JPG", "2.webp", third, third, "gone.jpg", None]
    assert found[2].photo == found[3].photo == str((images / "sub" / "3.png").resolve())
    assert found[5].photo is None
    assert not any(r.warnings or r.bad_path for r in found)


def test_photos_outside_the_image_folder_cost_only_the_photo(tmp_path):
    images = tmp_path / "images"
    secret = write(tmp_path / "secret.jpg", b"x")
    write(images / "in.jpg", b"x")
    (images / "link.jpg").symlink_to(secret)
    paths = ["../secret.jpg", str(secret), "link.jpg", "a\0b", "..\\secret.jpg"]
    paths += ["C:\\secret.jpg", "\\\\server\\secret.jpg", "\ud800", 7, 0, False, ["in.jpg"]]
    rows = [{"id": str(i), "text": "便血", "image": path} for i, path in enumerate(paths)]
    content = "\n".join(json.dumps(row) for row in rows)
    found = read(write(tmp_path / "a.jsonl", content), InputOptions(images))
    assert [r.id for r in found] == [str(i) for i in range(len(paths))]
    for record in found:
        assert (record.text, record.image, record.photo) == ("便血", None, None)
        assert record.bad_path
        (warning,) = record.warnings
        assert warning.startswith("[W504] The field 'image' names no usable photo")
        assert "[E22" in warning
        assert "secret" not in warning


def test_a_photo_named_in_bytes_that_are_no_text(tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    content = "id,text,image\n1,便血便血,".encode() + b"\xff.jpg\n"
    (record,) = read(write(tmp_path / "a.csv", content), InputOptions(images))
    assert (record.text, record.bad_path, record.image) == ("便血便血", True, None)
    assert record.warnings[0].encode()  # can be written


def test_an_id_that_is_no_file_name_is_no_error(tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    write(tmp_path / "secret.jpg", b"x")
    rows = [{"id": "../secret", "text": "便血"}, {"id": "x" * 300, "text": "便血"}]
    found = read(write(tmp_path / "a.jsonl", lines(*rows)), InputOptions(images))
    assert [r.photo for r in found] == [None, None]
    assert found[0].warnings[0].startswith("[W503]")
    assert "secret" not in found[0].warnings[0]


def test_a_named_photo_without_an_image_folder_is_a_warning(tmp_path):
    file = write(tmp_path / "a.jsonl", lines({"text": "便血", "image": "1.jpg"}))
    (record,) = read(file)
    assert record.photo is None
    assert record.warnings[0].startswith("[W502]")
