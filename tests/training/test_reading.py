import json
from pathlib import Path

import pytest
import spacy
from spacy.tokens import DocBin

from spacy_tcm.errors import RecordError
from spacy_tcm.tags import LABELS
from spacy_tcm.training.reading import read_records, read_with_images, scan_records
from spacy_tcm.training.validation import find_field_problems, read_field_definitions

ASSETS = Path(__file__).parents[2] / "assets"
RECORD = {
    "id": "r1",
    "text": "患者便血3天，无发热",
    "entities": [[2, 4, "SYMPTOM"], [4, 6, "TIME"], [8, 10, "SYMPTOM"]],
    "qualifiers": [[8, 10, "absent"]],
    "fields": {"一般.病程": {"value": 3, "unit": "日", "evidence": "便血3天"}},
}


def write(path: Path, *records: dict) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def changed(**values) -> dict:
    return {**RECORD, **values}


def test_reads_records_of_files_and_folders_in_order(tmp_path):
    write(tmp_path / "b.jsonl", changed(id="b"))
    path = write(tmp_path / "a.jsonl", RECORD, changed(id="a2"))
    (tmp_path / "README.md").write_text("not a record")
    assert [r["id"] for r in read_records(tmp_path)] == ["r1", "a2", "b"]
    assert next(read_records([str(path)])) == RECORD


def test_blank_lines_and_a_byte_order_mark_are_no_records(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text("\ufeff\n" + json.dumps(RECORD) + "\n\n", encoding="utf-8")
    assert list(read_records(path)) == [RECORD]


@pytest.mark.parametrize("text", ["", " ", "  \n "])
def test_text_of_nothing_or_spaces_is_a_record(tmp_path, text):
    record = {"id": "r1", "text": text, "entities": []}
    assert list(read_records(write(tmp_path / "a.jsonl", record))) == [record]


@pytest.mark.parametrize(
    ("record", "code", "kind"),
    [
        (changed(id=""), "E310", "structure"),
        (changed(id=7), "E310", "structure"),
        (changed(text=None), "E310", "structure"),
        (changed(entities=None), "E310", "structure"),
        (changed(entities=[[2, 4]]), "E310", "structure"),
        (changed(entities=[[True, 4, "SYMPTOM"]]), "E310", "structure"),
        (changed(entities=[["便血", 4, "SYMPTOM"]]), "E310", "structure"),
        (changed(qualifiers={}), "E310", "structure"),
        (changed(fields=[]), "E310", "structure"),
        (changed(fields={"一般.病程": 3}), "E310", "structure"),
        (changed(image=""), "E310", "structure"),
        (changed(tongue={"fissure": 1}), "E310", "structure"),
        (changed(labels="SYMPTOM"), "E310", "structure"),
        (changed(text="便血\ud800"), "E317", "structure"),
        (changed(entities=[[8, 10, "SYMPTOM"], [8, 11, "TIME"]]), "E311", "offset"),
        (changed(entities=[[8, 10, "SYMPTOM"], [4, 4, "TIME"]]), "E311", "offset"),
        (changed(entities=[[8, 10, "SYMPTOM"], [-4, 6, "TIME"]]), "E311", "offset"),
        (changed(entities=[[8, 10, "SYMPTOM"], [7, 9, "TIME"]]), "E312", "overlap"),
        (changed(entities=[[8, 10, "症状"]]), "E313", "label"),
        (changed(labels=["SYMPTOM"]), "E313", "label"),
        (changed(qualifiers=[[8, 9, "absent"]]), "E314", "qualifier"),
        (changed(qualifiers=[[8, 10, "never"]]), "E314", "qualifier"),
        (changed(fields={"一般.病程": {"value": 3, "evidence": "便血4天"}}), "E315", "field"),
        (changed(fields={"一般.病程": {"value": 3}}), "E315", "field"),
        (changed(image="../a.jpg"), "E321", "image"),
        (changed(image="/etc/passwd"), "E321", "image"),
    ],
)
def test_problems_name_file_line_and_id_but_never_the_text(tmp_path, record, code, kind):
    path = write(tmp_path / "a.jsonl", changed(id="first"), record)
    place = f"{path}, line 2, record '{record['id']}'"
    _, scanned = scan_records(path)
    assert scanned.problems[0].kind == kind
    with pytest.raises(RecordError) as error:
        list(read_records(path))
    assert str(error.value).startswith(f"[{code}] {place}: ")
    assert not any(word in str(error.value) for word in ("便血", "发热", "患者"))


def test_an_id_used_twice_names_both_lines(tmp_path):
    path = write(tmp_path / "a.jsonl", RECORD, RECORD)
    with pytest.raises(RecordError, match=r"E316.*line 2, record 'r1'.*line 1"):
        list(read_records(path))


@pytest.mark.parametrize("line", ['{"id": "r1", "text": "便血"', "[1]", "便血"])
def test_a_line_that_is_no_json_object(tmp_path, line):
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(RECORD) + "\n" + line + "\n", encoding="utf-8")
    with pytest.raises(RecordError, match=r"E305.*a.jsonl, line 2") as error:
        list(read_records(path))
    assert "便血" not in str(error.value)
    assert error.value.__cause__ is None


def test_paths_that_cannot_be_read(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.csv").write_text("id,text")
    (tmp_path / "gb.jsonl").write_bytes('{"id": "便血"}'.encode("gb18030"))
    (tmp_path / "bad.spacy").write_bytes(b"no docbin")
    for name, code in [
        ("none.jsonl", "E301"),
        ("a.csv", "E302"),
        ("empty", "E303"),
        ("gb.jsonl", "E304"),
        ("bad.spacy", "E306"),
    ]:
        with pytest.raises(RecordError, match=code):
            list(read_records(tmp_path / name))


def test_label_map_renames_drops_and_says_what_is_annotated(tmp_path):
    record = changed(
        entities=[[2, 4, "sym"], [4, 6, "when"], [8, 10, "sym"]], qualifiers=[], fields={}
    )
    path = write(tmp_path / "a.jsonl", record)
    (mapped,) = read_records(path, label_map={"sym": "SYMPTOM", "when": None})
    assert mapped["entities"] == [[2, 4, "SYMPTOM"], [8, 10, "SYMPTOM"]]
    assert mapped["labels"] == ["SYMPTOM"]
    with pytest.raises(RecordError, match="'when'"):
        list(read_records(path, label_map={"sym": "SYMPTOM"}))


def test_a_label_map_to_labels_that_there_are_not(tmp_path):
    record = changed(entities=[[2, 4, "sym"]], qualifiers=[], fields={})
    path = write(tmp_path / "a.jsonl", record)
    for target in ("SYMTOM", ["SIGN", "SYMTOM"]):
        with pytest.raises(RecordError, match=r"E322.*'SYMTOM' for 'sym'"):
            list(read_records(path, label_map={"sym": target}))
    own = list(read_records(path, label_map={"sym": "COMPLAINT"}, labels=["COMPLAINT"]))
    assert own[0]["entities"] == [[2, 4, "COMPLAINT"]]


def test_labels_of_a_record_win_over_those_of_the_corpus(tmp_path):
    sign = changed(id="r2", labels=["SIGN"], entities=[[2, 4, "SIGN"]], qualifiers=[])
    path = write(tmp_path / "a.jsonl", RECORD, sign)
    first, second = read_records(path, labels=["SYMPTOM", "TIME"])
    assert first["labels"] == ["SYMPTOM", "TIME"]
    assert second["labels"] == ["SIGN"]


def test_image_paths_start_at_the_root_or_at_the_folder_of_the_corpus(tmp_path):
    path = write(tmp_path / "a.jsonl", changed(image="p/1.jpg"), changed(id="r2"))
    (_, image), (_, none) = read_with_images(path)
    assert image == tmp_path.resolve() / "p" / "1.jpg"
    assert none is None
    other = tmp_path / "photos"
    (_, image), _ = read_with_images(path, image_root=other)
    assert image == other.resolve() / "p" / "1.jpg"


def test_a_link_out_of_the_image_root_is_an_error(tmp_path):
    (tmp_path / "root").mkdir()
    (tmp_path / "secret.jpg").write_bytes(b"x")
    (tmp_path / "root" / "1.jpg").symlink_to(tmp_path / "secret.jpg")
    path = write(tmp_path / "a.jsonl", changed(image="1.jpg"))
    with pytest.raises(RecordError, match=r"E321.*line 1, record 'r1'"):
        list(read_with_images(path, image_root=tmp_path / "root"))


def test_reads_docbins_of_others(tmp_path):
    nlp = spacy.blank("tcm")
    whole, part = nlp.make_doc("便血3天"), nlp.make_doc("便血3天")
    whole.set_ents([whole.char_span(0, 2, label="SYMPTOM")])
    part.set_ents([part.char_span(0, 2, label="SYMPTOM")], default="missing")
    path = tmp_path / "other.spacy"
    DocBin(docs=[whole, part]).to_disk(path)
    first, second = read_records(path)
    assert first == {
        "id": "other-1", "text": "便血3天", "entities": [[0, 2, "SYMPTOM"]], "missing": []
    }  # fmt: skip
    assert second["missing"] == [[2, 3], [3, 4]]


# Typed fields ---------------------------------------------------------------------------------

DEFINITIONS = read_field_definitions(ASSETS / "fields.json")


@pytest.mark.parametrize(
    ("field", "right", "wrong"),
    [
        ("肛肠科.便血量", {"value": "少"}, {"value": "无"}),
        ("呼吸内科.痰色", {"value": ["白", "黄"]}, {"value": ["红"]}),
        ("呼吸内科.痰色", {"value": ["白"]}, {"value": "白"}),
        ("呼吸内科.有无发热", {"value": False}, {"value": 0}),
        ("消化内科.刻下有无黏液脓血便", {"value": "无"}, {"value": False}),
        ("骨科.患处VAS评分", {"value": 10}, {"value": 11}),
        ("骨科.患处VAS评分", {"value": 0}, {"value": 2.5}),
        ("一般.体温", {"value": 37.2, "unit": "℃"}, {"value": 37.2, "unit": "K"}),
        ("一般.体温", {"value": 37, "unit": "℃"}, {"value": "37", "unit": "℃"}),
        (
            "消化内科.刻下腹泻频次",
            {"value": [5, 8], "unit": "次/日"},
            {"value": 5, "unit": "次/日"},
        ),
        (
            "消化内科.刻下腹泻频次",
            {"value": [None, 8], "unit": "次/日"},
            {"value": [8, 5], "unit": "次/日"},
        ),
        ("一般.病程", {"value": [2, 3], "unit": "月"}, {"value": 3, "unit": "时"}),
        ("脉象.脉", {"value": ["弦", "细"]}, {"value": []}),
    ],
)
def test_values_of_fields(field, right, wrong):
    assert list(find_field_problems({"fields": {field: right}}, "place", DEFINITIONS)) == []
    (problem,) = find_field_problems({"fields": {field: wrong}}, "place", DEFINITIONS)
    assert problem.message.startswith(f"[E319] place: the value of field '{field}'")


def test_a_field_that_is_not_defined():
    (problem,) = find_field_problems({"fields": {"x": {"value": 1}}}, "place", DEFINITIONS)
    assert "E318" in problem.message


# The shipped records --------------------------------------------------------------------------


def test_shipped_records_are_valid_and_as_the_readme_counts_them():
    readme = (ASSETS / "records" / "README.md").read_text(encoding="utf-8")
    split = json.loads((ASSETS / "records" / "split.json").read_text(encoding="utf-8"))
    files = sorted((ASSETS / "records").glob("*.jsonl"))
    total = [0, 0, 0]
    seen_labels: set[str] = set()
    ids: set[str] = set()
    for file in files:
        records = list(read_records(file))
        for record in records:
            assert record["file"] == file.stem
            assert not list(find_field_problems(record, record["id"], DEFINITIONS))
            seen_labels.update(label for _, _, label in record["entities"])
            ids.add(record["id"])
        counts = [
            len(records),
            sum(len(record["text"]) for record in records),
            sum(len(record["entities"]) for record in records),
        ]
        (part,) = (part for part, stems in split.items() if file.stem in stems)
        row = [file.stem, part, *map(str, counts)]
        assert f"| {' | '.join(row)} |" in readme
        total = [a + b for a, b in zip(total, counts, strict=True)]
    assert total == [2892, 701791, 134004]
    assert len(ids) == 2892
    assert seen_labels == set(LABELS)
    assert sorted(stem for stems in split.values() for stem in stems) == [f.stem for f in files]
