import base64
import itertools
import json
import re
from html.parser import HTMLParser
from io import BytesIO

import numpy
import pytest
import spacy
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from spacy.language import Language

from spacy_tcm.errors import RecordError
from spacy_tcm.images.reasons import explain
from spacy_tcm.images.render import random_attributes, render_tongue, save_rendered
from spacy_tcm.records import page
from spacy_tcm.records.inputs import BadInput, InputRecord
from spacy_tcm.records.job import annotate, write_results
from spacy_tcm.records.page import (
    COLOURS,
    GROUPS,
    count_pages,
    main_zones,
    remove_pages,
    segments,
    write_pages,
)
from spacy_tcm.records.pictures import Pictures
from spacy_tcm.tags import LABELS

META = {"lang": "tcm", "name": "test", "version": "1"}


class Page(HTMLParser):
    """Tags with their attributes, and the text of every record."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.texts, self.depth = [], [], 0
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.append((tag, attrs))
        if tag == "div":
            if (attrs.get("class") or "").split()[:1] == ["text"]:
                self.texts.append("")
                self.depth = 1
            elif self.depth:
                self.depth += 1

    def handle_endtag(self, tag):
        if tag == "div" and self.depth:
            self.depth -= 1

    def handle_data(self, data):
        if self.depth:
            self.texts[-1] += data

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


def write(nlp, items, out, **options):
    out.mkdir(exist_ok=True)
    with Pictures(out, photos=True, heat_maps=True) as pictures:
        write_results(annotate(nlp, items, pictures=pictures), out, META)
    return [path.read_text(encoding="utf-8") for path in write_pages(out, **options)]


def test_text_and_marks(nlp, tmp_path):
    text = "  便血3天，\n\n舌红。\t脉弦 "
    (html,) = write(nlp, [InputRecord("a", "a.txt", text)], tmp_path)
    page = Page(html)
    assert page.texts == [text]
    marks = [mark for mark in page.all("mark") if "data-zh" in mark]
    assert [mark["data-zh"] for mark in marks] == ["症状", "舌象", "脉象"]
    assert [mark["class"] for mark in marks] == ["l-SYMPTOM", "l-TONGUE", "l-PULSE"]


HOSTILE = [
    "<script>alert(1)</script>便血",
    "</div></article><img src=x onerror=alert(1)>舌红",
    '"><iframe src="http://x.test/"></iframe>',
    "{{ 7 * 7 }} {% raw %}",
    "<!-- ]]> &lt;b&gt; <b>脉弦</b>",
]


def entries(value):
    """A good and a bad entry with the value in every place that takes text."""
    attribute = {"value": value, "probabilities": {value: 1.0}, "abstained": False}
    tongue = {"status": value, "reasons": [value], "attributes": {value: attribute}}
    text = value + "痛"
    entity = {"start": len(value), "end": len(text), "label": value, "text": "痛", "score": 0.5}
    head = {"schema_version": "1.0", "id": value, "source": value}
    field = {
        **{"value": [value], "evidence": value, "start": 0, "end": 1, "source": "both"},
        "candidates": [value],
        "unmentioned": [{"value": value, "probability": 0.9}],
    }
    conflict = {
        **{
            "field": value,
            "text": [value],
            "image": value,
            "evidence": value,
            "start": 0,
            "end": 1,
        },
        "probability": 0.9,
        "compatible": 0.01,
    }
    message = {"code": value, "message": value}
    yield {
        **head,
        "status": "ok",
        "image": value,
        "text": text,
        "entities": [entity],
        "tongue": tongue,
        "fields": {value: field},
        "conflicts": [conflict],
        "warnings": [message],
    }
    yield {**head, "status": "error", "error": message}


@pytest.mark.parametrize("hostile", HOSTILE)
def test_html_in_a_record_stays_text(tmp_path, hostile):
    def write_page(value, out):
        write_results(entries(value), out, {"lang": value, "name": value, "version": value})
        (path,) = write_pages(out)
        return Page(path.read_text(encoding="utf-8"))

    page, harmless = write_page(hostile, tmp_path / "a"), write_page("x", tmp_path / "b")
    assert page.texts == [hostile + "痛"]
    shape = [(tag, sorted(attrs)) for tag, attrs in page.tags]
    assert shape == [(tag, sorted(attrs)) for tag, attrs in harmless.tags]
    assert not {"script", "iframe", "img"} & {tag for tag, _ in page.tags}


def test_a_bad_photo_path_is_explained_once(nlp, tmp_path):
    warning = "[W504] The field 'image' names no usable photo."
    items = [InputRecord("a", "x", "便血", bad_path=True, warnings=(warning,))]
    (html,) = write(nlp, items, tmp_path)
    assert html.count("W504 The field") == 1
    assert "bad_path" not in html
    assert "未采用" in html


def test_control_characters_are_seen(nlp, tmp_path):
    text = "便血\x1b[31m\0\x7f\u202e舌红\u2066。\t\n脉弦"
    items = [InputRecord("a\u202eb", "x\x1b", text), BadInput(None, "c\x07", "[E511] \u2069")]
    (html,) = write(nlp, items, tmp_path)
    assert Page(html).texts == ["便血␛[31m␀⟨U+007F⟩⟨U+202E⟩舌红⟨U+2066⟩。\t\n脉弦"]
    assert "a⟨U+202E⟩b" in html
    assert "c␇" in html
    assert not re.search("[\0-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", html)
    assert '<nav class="pager"' not in html
    kept = json.loads((tmp_path / "records.jsonl").read_text(encoding="utf-8").split("\n")[0])
    assert (kept["id"], kept["text"]) == ("a\u202eb", text)


def test_page_needs_nothing_else(nlp, tmp_path):
    (html,) = write(nlp, [InputRecord("a", "a.txt", "便血")], tmp_path)
    page = Page(html)
    policy = next(m["content"] for m in page.all("meta") if "http-equiv" in m)
    assert "default-src 'none'" in policy
    links = [a.get("href") or a.get("src") for _, a in page.tags if "href" in a or "src" in a]
    assert all(link.startswith(("#", "page", "data:image/jpeg")) for link in links)
    assert "url(" not in html


def test_photo_is_small_clean_and_called_rendered(nlp, tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    attributes = random_attributes(3)
    pixels = render_tongue(attributes, size=600, seed=3)[:450]
    save_rendered(pixels, images / "rendered.jpg", attributes)
    exif = Image.Exif()
    exif[0x010E] = "patient Zhang"
    Image.fromarray(pixels).save(images / "taken.jpg", exif=exif, comment=b"patient Zhang")
    (images / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    items = [
        InputRecord(name, name, "便血", f"{name}.jpg", str(images / f"{name}.jpg"))
        for name in ("rendered", "taken", "broken")
    ]
    (html,) = write(nlp, items, tmp_path / "out")
    cards = html.split("<article")[1:]
    found = [re.findall(r'src="data:image/jpeg;base64,([^"]+)"', card) for card in cards]
    assert [len(uris) for uris in found] == [1, 1, 0]
    for (uri,) in found[:2]:
        data = base64.b64decode(uri)
        assert b"Zhang" not in data
        with Image.open(BytesIO(data)) as photo:
            assert photo.size == (360, 270)
            assert not photo.getexif()
    assert ["rendered</span>" in card for card in cards] == [True, False, False]
    unproven = "其准确度取决于训练所用的照片，勿用于诊断"
    assert [unproven in card for card in cards] == [False, True, False]
    assert "not for diagnosis" in cards[1]
    assert "淡红 70%" in cards[0]
    assert explain("damaged", "zh") in cards[2]
    assert not any(f"{name}.jpg" in html for name in ("rendered", "taken", "broken"))


def test_a_photo_is_found_by_its_id_only(tmp_path):
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    for number, name in enumerate(("../../secret", "photo-0123456789abcdef/../../../secret")):
        out = tmp_path / str(number)
        (out / "photos" / "photo-0123456789abcdef").mkdir(parents=True)
        assert (out / "photos" / f"{name}.jpg").is_file()
        write_results(entries(name), out, META)
        (path,) = write_pages(out)
        assert not Page(path.read_text(encoding="utf-8")).all("img")


def test_heat_maps_and_zones(tmp_path, nlp):
    image = tmp_path / "张三.png"
    pixels = render_tongue(random_attributes(3), size=100, seed=3)
    Image.fromarray(pixels).save(image)
    heat = numpy.zeros((100, 100), dtype="uint8")
    heat[50:60, 20:30] = 255

    @Language.component("page_test_heat")
    def look(doc):
        mask = numpy.ones((100, 100), dtype=bool)
        doc._.tongue_heat = {"photo": pixels, "mask": mask, "maps": {"fissure": heat, "a/b": heat}}
        regions = {"root": 0.1, "centre": 0.3, "tip": 0.1, "left": 0.45, "right": 0.05}
        attribute = {"probabilities": {}, "abstained": False, "regions": regions}
        attributes = {
            "fissure": {"value": "severe", **attribute},
            "a/b": {"value": "none", **attribute},
            "spots": {"value": "none", **attribute},
        }
        doc._.tongue = {"status": "ok", "reasons": [], "quality": {}, "attributes": attributes}
        return doc

    nlp.add_pipe("page_test_heat")
    out = tmp_path / "out"
    (html,) = write(nlp, [InputRecord("a", "x", "便血", "张三.png", str(image))], out)
    assert len(Page(html).all("img")) == 3, "the photo and two heat maps"
    assert "裂纹 重</b><br>见于：左边、舌中" in html
    assert "a/b none</b><br>依据：左边、舌中" in html
    assert "点刺瘀点 无</b>" not in html
    (photo,) = (path.stem for path in (out / "photos").iterdir())
    found = sorted(path.name for path in (out / "heat_maps").iterdir())
    assert found == [f"{photo}-a_b.jpg", f"{photo}-fissure.jpg"]
    with Image.open(out / "heat_maps" / found[1]) as drawn:
        change = abs(numpy.asarray(drawn).astype(int) - pixels).max(2)
    assert change[52:58, 22:28].min() > change[52:58, 60:66].max()


def test_main_zones():
    assert main_zones({}) == []
    assert main_zones({"left": 0.3, "right": 0.3, "centre": 0.2, "tip": 0.2}) == ["左边", "右边"]
    assert main_zones({"tip": 0.9, "root": 0.1}) == ["舌尖"]
    assert main_zones({"tip": 0.5, "root": 0.3, "x": 0.2}) == ["舌尖", "舌根"]


def test_errors_are_listed_with_links(nlp, tmp_path):
    items = [InputRecord(str(i), f"a.jsonl:{i}", "便血") for i in range(7)]
    items.insert(5, BadInput(None, "a.jsonl:99", "[E511] Not valid JSON."))
    first, second = write(nlp, items, tmp_path, per_page=4)
    assert 'href="page-2.html#r6"' in first
    assert 'id="r6" class="error"' in second
    assert "E511" in first


def test_pages(nlp, tmp_path):
    items = [InputRecord(str(i), "x", f"便血{i}天") for i in range(25)]
    pages = write(nlp, items, tmp_path, per_page=2)
    assert len(pages) == count_pages(25, 2) == 13
    texts = [text for page in pages for text in Page(page).texts]
    assert texts == [item.text for item in items]
    for html in pages:
        for link in Page(html).all("a"):
            assert (tmp_path / link["href"].split("#")[0]).is_file()
    assert 'href="page-6.html" rel="prev"' in pages[6]
    assert 'href="page-8.html" rel="next"' in pages[6]


def test_pages_of_an_earlier_run_disappear(nlp, tmp_path):
    write(nlp, [InputRecord(str(i), "x", "便血") for i in range(5)], tmp_path, per_page=1)
    (tmp_path / "page-notes.html").write_text("mine")
    write(nlp, [InputRecord("0", "x", "便血")], tmp_path)
    assert sorted(p.name for p in tmp_path.glob("*.html")) == ["page-notes.html", "page.html"]
    remove_pages(tmp_path)
    assert sorted(p.name for p in tmp_path.glob("*.html")) == ["page-notes.html"]


def test_no_records_and_no_results(nlp, tmp_path):
    with pytest.raises(RecordError, match="E521"):
        list(write_pages(tmp_path))
    (html,) = write(nlp, [], tmp_path)
    assert "没有病历" in html


@given(st.data())
def test_segments_lose_nothing(data):
    text = data.draw(st.text(max_size=40))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    pairs = zip(cuts[::2], cuts[1::2], strict=False)
    entities = [{"start": a, "end": b} for a, b in pairs if a < b]
    pieces = list(segments(text, entities))
    assert "".join(piece for piece, _ in pieces) == text
    assert [entity for _, entity in pieces if entity] == entities
    assert all(piece == text[e["start"] : e["end"]] for piece, e in pieces if e)


# colours


def _linear(colour):
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    return [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]


def _luminance(colour):
    r, g, b = _linear(colour)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def _contrast(one, other):
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


def _oklab(colour):
    r, g, b = _linear(colour)
    lms = [
        (0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b) ** (1 / 3),
        (0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b) ** (1 / 3),
        (0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b) ** (1 / 3),
    ]
    weights = (
        (0.2104542553, 0.7936177850, -0.0040720468),
        (1.9779984951, -2.4285922050, 0.4505937099),
        (0.0259040371, 0.7827717662, -0.8086757660),
    )
    return [sum(w * c for w, c in zip(row, lms, strict=True)) for row in weights]


def test_every_label_has_a_group_and_a_colour():
    assert sorted(COLOURS) == sorted(LABELS)
    assert sorted(itertools.chain(*GROUPS.values())) == sorted(LABELS)


@pytest.mark.parametrize(("theme", "ink"), [(0, "#1d1c1a"), (1, "#f1eee9")])
def test_colours_are_readable_and_distinguishable(theme, ink):
    colours = [pair[theme] for pair in COLOURS.values()]
    assert min(_contrast(colour, ink) for colour in colours) >= 4.5
    labs = [_oklab(colour) for colour in colours]
    distances = [
        sum((a - b) ** 2 for a, b in zip(x, y, strict=True)) ** 0.5
        for x, y in itertools.combinations(labs, 2)
    ]
    assert min(distances) > 0.03  # about 0.02 is the least difference that is seen


def test_ink_is_what_the_template_uses(nlp, tmp_path):
    (html,) = write(nlp, [], tmp_path)
    assert "--ink: #1d1c1a" in html
    assert "--ink: #f1eee9" in html


def test_summary_is_read_back(nlp, tmp_path):
    (html,) = write(nlp, [InputRecord("a", "x", "便血")], tmp_path)
    assert "tcm_test 1" in html
    assert json.loads((tmp_path / "summary.json").read_text())["records"] == 1


def test_fields_say_where_they_come_from_and_conflicts_stand_out(tmp_path):
    from spacy_tcm.fields.photo import join_photo
    from spacy_tcm.fields.tongue import TongueGrammar

    text, grammar = "舌淡红，苔薄白", TongueGrammar.from_path()
    attributes = {
        "coating_color": {
            "value": "yellow",
            "probabilities": {"white": 0.02, "light_yellow": 0.08, "yellow": 0.9},
            "abstained": False,
        },
        "fissure": {
            "value": "severe",
            "probabilities": {"light": 0.1, "severe": 0.9},
            "abstained": False,
        },
    }
    reading = grammar.read([(0, "舌淡红"), (4, "苔薄白")], text)
    fields, conflicts = join_photo(grammar, reading, attributes, 0.1)
    (entry, _) = entries("x")
    tongue = {"status": "ok", "reasons": [], "quality": {}, "attributes": attributes}
    entry = {**entry, "tongue": tongue, "fields": fields, "conflicts": conflicts, "warnings": []}
    write_results([entry], tmp_path / "out", {"lang": "x", "name": "x", "version": "x"})
    (path,) = write_pages(tmp_path / "out")
    html = path.read_text(encoding="utf-8")
    assert html.count("图文不符") == 1
    assert "病历写“苔薄白”，照片似为“黄”（90%），与病历相符的可能仅 2%" in html
    assert '<b>裂纹</b> <span class="source s-image">照片 90%</span>' in html
    assert '<b>淡红</b> <span class="source s-text">病历</span>' in html
    assert "轻或无 10%" in html, "no photo that it learned from lacked fissures"


def test_herbs_on_a_condition_are_told_apart(tmp_path):
    nlp = spacy.blank("tcm")
    nlp.add_pipe("tcm_prescriptions")
    text = "处方：黄芪15g，当归10g，7剂。若咳甚加杏仁9g。"
    doc = nlp.make_doc(text)
    marks = [("黄芪", "HERB"), ("15g", "DOSAGE"), ("当归", "HERB"), ("10g", "DOSAGE")]
    marks += [("7剂", "DOSAGE"), ("杏仁", "HERB"), ("9g", "DOSAGE")]
    spans = [(text.index(t), text.index(t) + len(t), label) for t, label in marks]
    doc.ents = [doc.char_span(*span) for span in spans]
    (prescription,) = nlp(doc)._.prescriptions
    (entry, _) = entries("x")
    entry |= {"prescriptions": [prescription]}
    write_results([entry], tmp_path / "out", {"lang": "x", "name": "x", "version": "x"})
    html = next(write_pages(tmp_path / "out")).read_text(encoding="utf-8")
    table = html[html.index('class="rx"') :].split("</table>")
    assert "黄芪" in table[0]
    assert "苦杏仁" not in table[0]
    assert "有条件：若咳甚，加 苦杏仁 9 g" in table[1]


def test_sections_without_a_header_are_named_and_no_character_is_lost():
    text = "咳嗽。舌红，脉数。无发热"
    entities = [
        {"start": 3, "end": 5, "label": "TONGUE"},
        {"start": 10, "end": 12, "label": "SIGN"},
    ]
    sections = [
        {"id": "chief_complaint", "start": 0, "end": 3, "kind": "header"},
        {"id": "tongue_pulse", "start": 3, "end": 9, "kind": "cue"},
        {"id": "general", "start": 7, "end": 8, "kind": "cue"},
        {"id": "advice", "start": 11, "end": 12, "kind": "cue"},
    ]
    found = list(page._with_sections({"text": text, "entities": entities, "sections": sections}))
    assert "".join(piece for piece, _, _ in found) == text
    assert [(piece, name) for piece, _, name in found if name] == [
        ("舌红", "tongue_pulse"),
        ("数。无", "general"),
        ("发热", "advice"),
    ]
    assert [entity["label"] for _, entity, _ in found if entity] == ["TONGUE", "SIGN"]


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ({}, []),
        ({"negation": "present", "certainty": "certain", "temporality": "current"}, []),
        ({"negation": "absent", "temporality": "past"}, ["absent", "past"]),
        ({"negation": "possible", "certainty": "possible"}, ["possible"]),
        ({"certainty": "possible", "experiencer": "family"}, ["family", "possible"]),
    ],
)
def test_qualifiers_shown(said, shown):
    assert page._qualifiers(said) == shown
