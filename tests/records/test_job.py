import json
import os
import signal
import subprocess
import sys
import weakref
from hashlib import sha256
from itertools import islice

import pytest
from spacy.language import Language

from spacy_tcm.errors import ModelError
from spacy_tcm.images.render import random_attributes, render_tongue, save_rendered
from spacy_tcm.records import job
from spacy_tcm.records.inputs import BadInput, InputRecord
from spacy_tcm.records.job import annotate, write_results

META = {"lang": "tcm", "name": "test", "version": "1"}


def records(*texts):
    return [InputRecord(f"r{i}", f"a.jsonl:{i + 1}", text) for i, text in enumerate(texts)]


def check_order(entries, items):
    assert [e["id"] for e in entries] == [item.id for item in items]
    assert [e["source"] for e in entries] == [item.source for item in items]


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    path = tmp_path_factory.mktemp("photo") / "good.jpg"
    attributes = random_attributes(1)
    save_rendered(render_tongue(attributes, size=64, seed=1), path, attributes)
    return path


# components that fail in different ways


@Language.component("records_test_bomb")
def bomb(doc):
    if "💥" in doc.text:
        raise RuntimeError(f"cannot work on {doc.text}")
    return doc


class _BatchComponent:
    """Handles errors as spaCy's trainable components do: a failure drops the whole batch."""

    def __init__(self):
        self.handler = None

    def __call__(self, doc):
        return next(self.pipe([doc]))

    def set_error_handler(self, handler):
        self.handler = handler

    def get_error_handler(self):
        return self.handler

    def pipe(self, stream, batch_size=4):
        stream = iter(stream)
        while batch := list(islice(stream, batch_size)):
            try:
                yield from [bomb(doc) for doc in batch]
            except RuntimeError as error:
                self.handler("batch", self, batch, error)


@Language.factory("records_test_batch_bomb")
def make_batch_bomb(nlp, name):
    return _BatchComponent()


class _StreamBreaker:
    def __call__(self, doc):
        return bomb(doc)

    def pipe(self, stream, batch_size=4):
        yield from map(bomb, stream)


@Language.factory("records_test_stream_breaker")
def make_stream_breaker(nlp, name):
    return _StreamBreaker()


FAILING = ["records_test_bomb", "records_test_batch_bomb", "records_test_stream_breaker"]


def test_entries_are_complete_and_in_order(nlp, photo):
    items = [
        InputRecord("a", "a.jsonl:1", "便血，舌红", "good.jpg", str(photo)),
        BadInput(None, "a.jsonl:2", "[E511] Not valid."),
        InputRecord("b", "a.jsonl:3", "", warnings=("[W502] No folder.",)),
        BadInput("c", "a.jsonl:4", "[E513] Twice."),
    ]
    entries = list(annotate(nlp, items))
    check_order(entries, items)
    first, second, third, fourth = entries
    assert first["status"] == "ok"
    assert first["image"] == "photo-" + sha256(photo.read_bytes()).hexdigest()[:16]
    assert "photo" not in first
    assert [e["text"] for e in first["entities"]] == ["便血", "舌红"]
    assert first["tongue"]["attributes"]["body_color"]["value"] == "regular"
    assert first["warnings"] == []
    assert second == {
        "schema_version": "1.0",
        "id": None,
        "source": "a.jsonl:2",
        "status": "error",
        "error": {"code": "E511", "message": "Not valid."},
    }
    assert (third["text"], third["entities"], third["tongue"]["status"]) == ("", [], "none")
    assert third["warnings"] == [{"code": "W502", "message": "No folder."}]
    assert fourth["error"]["code"] == "E513"


def test_names_of_photos_are_kept_only_on_request(nlp, photo, tmp_path):
    named = tmp_path / "张三_0001.jpg"
    named.write_bytes(photo.read_bytes())
    items = [
        InputRecord("a", "x", "便血", "good.jpg", str(photo)),
        InputRecord("b", "x", "便血", "张三_0001.jpg", str(named)),
        InputRecord("c", "x", "便血", "张三_0002.jpg", str(tmp_path / "张三_0002.jpg")),
        InputRecord("d", "x", "便血"),
    ]
    entries = list(annotate(nlp, items))
    assert "张三" not in json.dumps(entries, ensure_ascii=False)
    assert [entry["image"] for entry in entries] == [entries[0]["image"]] * 2 + [None] * 2
    assert entries[2]["warnings"][0]["code"] == "W501"
    kept = list(annotate(nlp, items, keep_image_names=True))
    assert [entry["image"] for entry in kept] == [item.image for item in items]
    assert [entry["photo"] for entry in kept] == [entry["image"] for entry in entries]


def test_a_bad_photo_path_costs_only_the_photo(nlp):
    warning = "[W504] The field 'image' names no usable photo."
    items = [InputRecord("a", "x", "便血", bad_path=True, warnings=(warning,))]
    (entry,) = annotate(nlp, items)
    assert (entry["status"], entry["image"]) == ("ok", None)
    assert [e["text"] for e in entry["entities"]] == ["便血"]
    assert entry["tongue"] == {
        "status": "rejected",
        "reasons": ["bad_path"],
        "quality": {},
        "attributes": {},
    }
    assert [w["code"] for w in entry["warnings"]] == ["W504"]


@pytest.mark.parametrize("component", FAILING)
@pytest.mark.parametrize("where", [{0}, {5}, {19}, {3, 4, 11}, set(range(20))])
def test_a_failing_component_costs_only_its_record(nlp, component, where):
    nlp.add_pipe(component)
    items = records(*("便血💥" if i in where else "便血" for i in range(20)))
    items.insert(7, BadInput("bad", "x", "[E511] x"))
    entries = list(annotate(nlp, items, batch_size=6))
    check_order(entries, items)
    failed = {e["id"] for e in entries if e["status"] == "error"}
    assert failed == {f"r{i}" for i in where} | {"bad"}
    for entry in entries:
        if entry["status"] == "ok":
            assert [e["text"] for e in entry["entities"]] == ["便血"]
        elif entry["id"] != "bad":
            assert entry["error"]["code"] == "E520"
            assert "RuntimeError" in entry["error"]["message"]
            assert "便血" not in json.dumps(entry, ensure_ascii=False)


def test_the_failing_component_is_named(nlp):
    nlp.add_pipe("records_test_bomb", name="my_component")
    (entry,) = annotate(nlp, records("💥"))
    assert "'my_component'" in entry["error"]["message"]


def test_own_errors_are_told_in_full(nlp):
    @Language.component("records_test_own_error")
    def fail(doc):
        raise ModelError("[E499] Do this instead.")

    nlp.add_pipe("records_test_own_error")
    (entry,) = annotate(nlp, records("便血"))
    assert "Do this instead." in entry["error"]["message"]


def test_a_tokenizer_that_fails(nlp):
    nlp.max_length = 10
    entries = list(annotate(nlp, records("便血", "便血" * 10, "舌红")))
    assert [e["status"] for e in entries] == ["ok", "error", "ok"]


def test_a_result_that_is_no_json(nlp):
    @Language.component("records_test_no_json")
    def spoil(doc):
        if "💥" in doc.text:
            doc._.tongue = {"status": "ok", "reasons": [], "quality": object()}
        return doc

    nlp.add_pipe("records_test_no_json")
    entries = list(annotate(nlp, records("便血", "💥", "舌红")))
    assert [e["status"] for e in entries] == ["ok", "error", "ok"]


def test_the_error_handler_is_put_back(nlp):
    before = nlp.default_error_handler
    list(annotate(nlp, records("便血")))
    assert nlp.default_error_handler is before


def test_two_processes_give_the_same(nlp, photo):
    nlp.add_pipe("records_test_bomb")
    items = records(*("便血💥" if i in (2, 9) else f"便血{i}天，舌红" for i in range(12)))
    items[4] = InputRecord("p", "x", "舌红", "good.jpg", str(photo))
    items.insert(6, BadInput("bad", "y", "[E511] x"))
    one = list(annotate(nlp, items, batch_size=2))
    two = list(annotate(nlp, items, batch_size=2, n_process=2))
    check_order(two, items)
    assert one == two


# Runs by itself, since it can hang, and needs torch with the threads that conftest.py forbids.
TORCH_SCRIPT = """
import sys
import spacy, torch
from spacy_tcm.records import job
from spacy_tcm.records.inputs import InputRecord
from spacy.training import Example

torch.set_num_threads(2)
nlp = spacy.blank("tcm")
nlp.add_pipe("tongue_encoder", config={"model": {"image_size": 96, "stem": 4, "inner": [4, 8],
    "depths": [1, 1], "width": 128}})
nlp.add_pipe("multimodal_ner")
reference = nlp.make_doc("便血")
reference.set_ents([reference.char_span(0, 2, "SYMPTOM")])
reference._.tongue_labels = {"body_color": "dark"}
nlp.initialize(lambda: [Example(nlp.make_doc("便血"), reference)])

items = [InputRecord(f"r{i}", "x", "便血，舌红", "a.jpg", sys.argv[1]) for i in range(12)]
one = list(job.annotate(nlp, items))  # now torch has its threads
job._alone = None  # what a worker leaves undone is not to be made up for
two = list(job.annotate(nlp, items, batch_size=3, n_process=2))
for entries in (one, two):
    assert [e["id"] for e in entries] == [item.id for item in items]
    assert {e["tongue"]["status"] for e in entries} == {"ok"}
assert torch.get_num_threads() == 2
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="workers are not forked here")
def test_two_processes_after_torch_has_started_threads(photo, tmp_path):
    # Output into a file, and a process group: hanging workers outlive the process that is killed,
    # and would keep a pipe open.
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", TORCH_SCRIPT, str(photo)],
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            code = process.wait(timeout=120)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            pytest.fail("The workers hang.")
    assert code == 0, (tmp_path / "log").read_text()


def test_stretches_are_joined(nlp, monkeypatch):
    monkeypatch.setattr(job, "STRETCH", 4)
    nlp.add_pipe("records_test_stream_breaker")
    items = records(*("💥" if i == 5 else f"便血{i}" for i in range(11)))
    entries = list(annotate(nlp, iter(items)))
    check_order(entries, items)
    assert [e["id"] for e in entries if e["status"] == "error"] == ["r5"]


def test_a_very_long_record(nlp):
    text = "便血，舌红，苔黄腻。" * 5000
    (entry,) = annotate(nlp, records(text))
    assert entry["text"] == text
    assert len(entry["entities"]) == 15_000


def test_ten_broken_photos_among_good_ones(nlp, photo, tmp_path):
    data = photo.read_bytes()
    broken = [b"", b"x", data[:50], data[: len(data) // 2], b"GIF89a", b"%PDF-1.4", b"\xff\xd8\xff"]
    paths = []
    for number, content in enumerate(broken):
        paths.append(tmp_path / f"{number}.jpg")
        paths[-1].write_bytes(content)
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
    paths += [tmp_path / "gone.jpg", tmp_path / "folder.jpg", tmp_path / "loop.jpg"]
    assert len(paths) == 10
    photos = [p for path in paths for p in (photo, path)]
    items = [InputRecord(f"r{i}", "x", "便血", p.name, str(p)) for i, p in enumerate(photos)]
    summary = write_results(annotate(nlp, items), tmp_path / "out", META)
    assert (summary.records, summary.ok, summary.errors) == (20, 20, 0)
    assert summary.photos == {"ok": 10, "rejected": 10}
    warnings = read_lines(tmp_path / "out" / "warnings.jsonl")
    assert [w["id"] for w in warnings] == [f"r{i}" for i in range(1, 20, 2)]
    assert {w["code"] for w in warnings} == {"W501"}
    assert all(len(w["message"]) > 40 for w in warnings)
    assert all(e["entities"] for e in read_lines(tmp_path / "out" / "records.jsonl"))


# files


def read_lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_files(nlp, tmp_path):
    items = [*records("便血，舌红", "黄芪\u2028脉弦"), BadInput(None, "b.csv:3", "[E511] Bad.")]
    out = tmp_path / "new" / "out"
    summary = write_results(annotate(nlp, items), out, META)
    assert sorted(path.name for path in out.iterdir()) == [
        "errors.jsonl",
        "records.jsonl",
        "summary.json",
        "warnings.jsonl",
    ]
    content = (out / "records.jsonl").read_text(encoding="utf-8")
    entries = [json.loads(line) for line in content.split("\n")[:-1]]
    check_order(entries, items)
    assert "便血" in content  # readable, not \\u escapes
    assert read_lines(out / "errors.jsonl") == [
        {"id": None, "source": "b.csv:3", "code": "E511", "message": "Bad."}
    ]
    told = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    assert told == summary.to_json()
    assert (told["records"], told["ok"], told["errors"]) == (3, 2, 1)
    assert told["entities"] == {"SYMPTOM": 1, "TONGUE": 1, "HERB": 1, "PULSE": 1}
    assert told["photos"] == {"none": 2}
    assert told["pipeline"] == META


def test_an_interrupted_run_leaves_the_earlier_results(nlp, tmp_path):
    write_results(annotate(nlp, records("便血")), tmp_path, META)
    before = (tmp_path / "records.jsonl").read_bytes()

    def entries():
        yield from annotate(nlp, records("舌红"))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_results(entries(), tmp_path, META)
    assert (tmp_path / "records.jsonl").read_bytes() == before
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json"] + [".jsonl"] * 3


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError, GeneratorExit])
def test_a_run_that_breaks_leaves_no_text_behind(nlp, tmp_path, error):
    def entries():
        yield from annotate(nlp, records("舌红"))
        assert (tmp_path / "out" / "records.jsonl.part").is_file()
        raise error

    with pytest.raises(error):
        write_results(entries(), tmp_path / "out", META)
    assert list((tmp_path / "out").iterdir()) == []


def test_records_are_read_only_as_they_are_needed(nlp, monkeypatch):
    monkeypatch.setattr(job, "STRETCH", 10)
    read = 0

    def items():
        nonlocal read
        for item in records(*["便血"] * 100):
            read += 1
            yield item

    ahead = [read - written for written, _ in enumerate(annotate(nlp, items()), start=1)]
    assert len(ahead) == 100
    assert max(ahead) < 10


def test_only_a_few_entries_are_kept(tmp_path):
    class WatchedEntry(dict):
        pass

    watched = []

    def entries():
        for number in range(200):
            status = "ok" if number % 2 else "error"
            entry = WatchedEntry(id=str(number), source="x", status=status, entities=[])
            entry |= {"warnings": [], "tongue": {"status": "none"}, "error": {"code": "E511"}}
            watched.append(weakref.ref(entry))
            yield entry

    summary = write_results(entries(), tmp_path, META)
    assert summary.records == 200
    assert sum(entry() is not None for entry in watched) <= 2 * job.N_SAMPLES
