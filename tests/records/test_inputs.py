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


def test_an_empty_text_file_is_an_empty_record(tmp_path):
    assert read(write(tmp_path / "a.txt", "")) == [InputRecord("a", "a.txt", "")]


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
    found = read(write(tmp_path / "a.csv", "id,text\n1,便血,多\n2\n3,舌红\n"))
    assert [code(bad) for bad in found[:2]] == ["E517", "E517"]
    assert [bad.source for bad in found[:2]] == ["a.csv:2", "a.csv:3"]
    assert found[2].text == "舌红"


def test_csv_with_broken_quotes(tmp_path):
    found = read(write(tmp_path / "a.csv", 'id,text\n1,"便血"多\n2,舌红\n3,"脉弦\n4,x\n'))
    assert [code(found[0]), found[1].text, code(found[2])] == ["E515", "舌红", "E515"]
    assert found[2].source == "a.csv:4"  # where the quotation mark stands


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
        {"id": 1, "text": ""},
        {"id": 2, "text": "", "image": ""},
        {"id": "x", "text": "", "image": "sub/3.png"},
        {"id": "y", "text": "", "image": "gone.jpg"},
        {"id": "z", "text": ""},
    )
    found = read(write(tmp_path / "a.jsonl", content), InputOptions(images))
    assert [r.image for r in found] == ["1.JPG", "2.webp", "sub/3.png", "gone.jpg", None]
    assert found[2].photo == str((images / "sub" / "3.png").resolve())
    assert found[4].photo is None
    assert not any(r.warnings for r in found)


def test_photos_outside_the_image_folder(tmp_path):
    images = tmp_path / "images"
    secret = write(tmp_path / "secret.jpg", b"x")
    write(images / "in.jpg", b"x")
    (images / "link.jpg").symlink_to(secret)
    paths = ["../secret.jpg", str(secret), "link.jpg", "a\0b", "..\\secret.jpg", 7, ["in.jpg"]]
    rows = [{"id": str(i), "text": "便血", "image": path} for i, path in enumerate(paths)]
    found = read(write(tmp_path / "a.jsonl", lines(*rows)), InputOptions(images))
    assert all(code(bad).startswith("E22") for bad in found)
    assert [bad.id for bad in found] == list("0123456")


def test_an_id_that_is_no_file_name_is_no_error(tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    write(tmp_path / "secret.jpg", b"x")
    rows = [{"id": "../secret", "text": "便血"}, {"id": "x" * 300, "text": "便血"}]
    found = read(write(tmp_path / "a.jsonl", lines(*rows)), InputOptions(images))
    assert [r.photo for r in found] == [None, None]
    assert found[0].warnings[0].startswith("[W503]")


def test_a_named_photo_without_an_image_folder_is_a_warning(tmp_path):
    file = write(tmp_path / "a.jsonl", lines({"text": "", "image": "1.jpg"}))
    (record,) = read(file)
    assert record.photo is None
    assert record.warnings[0].startswith("[W502]")
