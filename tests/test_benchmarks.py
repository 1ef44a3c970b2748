"""The benchmarks that train: their rows make configs that hold together, their sums are right."""

import json
import random
import sys
from pathlib import Path

import numpy
import pytest
import spacy
from PIL import Image
from spacy.training import Example
from spacy.util import registry

from spacy_tcm.images.render import random_attributes, render_tongue
from spacy_tcm.tags import tag_names

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def modules():
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        import corpora
        import ensemble
        import ner
        import tongue_fields

        yield ner, corpora, ensemble, tongue_fields
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))


def test_rows_of_entity_scores(modules, tmp_path):
    ner, _, _, _ = modules
    train = tmp_path / "train.jsonl"
    train.write_text('{"id": "a", "text": "便血", "entities": []}\n', encoding="utf8")
    for name, row in ner.ROWS.items():
        config = ner.make_config(row, train, tmp_path, tmp_path, 7, tmp_path)
        assert config["system"]["seed"] == 7, name
        corpus = registry.resolve({"train": config["corpora"]["train"]})["train"]
        parts = getattr(corpus, "corpora", {"records": corpus})
        assert set(parts) == {"records", *row.others, *row.unannotated}, name
        assert (parts["records"].augmenter is not None) == (row.augment is not None), name
        assert all(
            part.unlabelled == row.unlabelled for n, part in parts.items() if n in row.others
        )
        assert set(row.teachers) <= {f"{other} #{seed}" for other in ner.ROWS for seed in range(3)}


def test_mean_and_deviation(modules):
    ner, _, _, _ = modules
    assert ner.mean_sd([0.1, 0.3]) == {"mean": 0.2, "sd": pytest.approx(0.02**0.5)}
    assert ner.mean_sd([0.1, None]) == {"mean": 0.1, "sd": None}
    assert ner.mean_sd([None]) == {"mean": None, "sd": None}


def test_scores_by_labels_of_another_corpus(modules):
    _, corpora, _, _ = modules
    nlp = spacy.blank("zh")
    ruler = nlp.add_pipe("entity_ruler")
    found = {"头痛": "SYMPTOM", "黄芪": "HERB", "面黄": "SIGN", "三天": "TIME", "便血": "SIGN"}
    ruler.add_patterns([{"label": v, "pattern": k} for k, v in found.items()])
    text = "头痛 面黄 黄芪 三天 便血 口干"
    # Right: 头痛 and 面黄 as SYM. Wrong: 黄芪 as a drug, 便血 unmarked. Missed: 口干. Not counted:
    # TIME, which no label maps to, and the corpus's own label that maps to none.
    gold = [[0, 2, "SYM"], [3, 5, "SYM"], [6, 8, "DRUG"], [9, 11, "none"], [15, 17, "SYM"]]
    accepts = {"SYM": {"SYMPTOM", "SIGN"}, "DRUG": {"DRUG"}, "HER": {"HERB"}}
    scores = corpora.score(nlp, [{"text": text, "entities": gold}], accepts)
    assert (scores["gold"], scores["predicted"]) == (4, 4)
    assert scores["precision"] == scores["recall"] == scores["f"] == 0.5


def test_an_ensemble_finds_the_best_legal_path(modules, tmp_path, monkeypatch):
    _, _, ensemble, _ = modules
    nlp = spacy.blank("tcm")
    ner = nlp.add_pipe("multimodal_ner", config={"model": {"tongue": None}})
    ner.add_label("SYMPTOM")
    doc = nlp.make_doc("便血")
    nlp.initialize(lambda: [Example(doc, doc)])
    nlp.to_disk(tmp_path)
    mean = {"B-SYMPTOM": [0.6, 0.0], "E-SYMPTOM": [0.0, 0.45], "O": [0.4, 0.5]}

    class Teachers:
        def __init__(self, paths, labels):
            self.names = tag_names(labels)

        def posteriors(self, docs):
            return [numpy.array([mean.get(name, [0, 0]) for name in self.names]).T[: len(docs[0])]]

    monkeypatch.setattr(ensemble, "Teachers", Teachers)
    together = ensemble.make_ensemble("two of them", [str(tmp_path)] * 2)
    # Token by token, B and O are likeliest, which may not follow one another.
    assert [(ent.text, ent.label_) for ent in together("便血").ents] == [("便血", "SYMPTOM")]
    mean["E-SYMPTOM"][1] = 0.2
    assert not together("便血").ents
    assert not together("").ents


def test_label_maps(modules):
    _, corpora, _, _ = modules
    maps = corpora.read_maps()
    assert set(maps) == set(corpora.OTHERS)
    assert maps["tcm_web"]["HER"] == {"HERB"}
    assert "Person" not in maps["tcm_web"]


def test_scores_of_tongue_fields(modules):
    _, _, _, tongue_fields = modules
    record = {"meta": {"tongue": {"舌色": ["淡白", "红"], "苔色": []}}}
    gold = tongue_fields.gold_values(record)
    assert gold == {("舌象.舌色", "淡白"), ("舌象.舌色", "红")}
    found = {("舌象.舌色", "红"), ("舌象.苔色", "白")}
    scores = tongue_fields.score([(gold, found), (set(), set())], ["舌象.舌色", "舌象.苔色"])
    assert (scores["all"]["gold"], scores["all"]["predicted"], scores["all"]["correct"]) == (
        2,
        2,
        1,
    )
    assert scores["all"]["records_all_right"] == 0.5
    assert (scores["舌象.舌色"]["precision"], scores["舌象.舌色"]["recall"]) == (1, 0.5)
    assert (scores["舌象.苔色"]["precision"], scores["舌象.苔色"]["recall"]) == (0, None)


@pytest.fixture
def photos(tmp_path):
    (tmp_path / "images").mkdir()
    lines = ["image,split,classes"]
    for seed in range(4):
        pixels = render_tongue(random_attributes(seed), size=160, seed=seed)
        Image.fromarray(pixels).save(tmp_path / "images" / f"{seed}.jpg", quality=95)
        lines.append(f"{seed},{'dev' if seed % 2 else 'train'},baitaishe|zishe")
    (tmp_path / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf8")
    return tmp_path


def test_photos_made_faulty(modules, photos, monkeypatch):
    import photo_quality
    import readme

    faults = ("too dark", "far away")
    kept = {fault: photo_quality.FAULTS[fault] for fault in faults}
    monkeypatch.setattr(photo_quality, "FAULTS", kept)
    out, folder = photos / "out.json", str(photos)
    arguments = ["", str(out), folder, "--device", folder, "--wild", folder, "--dev", "1"]
    monkeypatch.setattr(sys, "argv", [*arguments, "--train", "1"])
    photo_quality.main()
    found = json.loads(out.read_text(encoding="utf8"))
    assert {part: r["photos"] for part, r in found["untouched"].items()} == {
        "train": 1, "dev": 2, "device": 4, "wild": 4,
    }  # fmt: skip
    assert {name: r["photos"] for name, r in found["classes"].items()} == {
        "baitaishe": 4, "zishe": 4,
    }  # fmt: skip
    dark = [r for r in found["faults"]["dev"] if r["fault"] == "too dark"]
    assert [r["strength"] for r in dark] == [-1, -2, -3, -4]
    assert dark[-1]["rejected"] == dark[-1]["photos"] == 1
    assert {r["fault"] for r in found["faults"]["device"]} == {"far away"}
    noise = found["no_tongue"]["drawn"]["noise"]
    assert noise["rejected"] == noise["photos"]
    for make in (readme.photo_bounds, readme.photo_alarms, readme.photo_faults):
        assert make(found).startswith("| ")
    monkeypatch.setattr(sys, "argv", ["", str(out), str(photos / "images")])
    with pytest.raises(SystemExit, match=r"Skipped: .*labels\.csv"):
        photo_quality.main()


def test_faults_grow_with_their_strength(modules):
    import photo_quality

    pixels = render_tongue(random_attributes(1), size=96, seed=1)
    y, x = numpy.mgrid[:96, :96] - 48
    mask = y**2 + x**2 < 30**2
    for name, (_, change, strengths, _) in photo_quality.FAULTS.items():
        changed = [change(pixels, mask, strength) for strength in strengths]
        assert all(c.dtype == numpy.uint8 and c.flags.c_contiguous for c in changed), name
        if changed[0].shape == pixels.shape:
            away = [abs(c.astype(int) - pixels).mean() for c in changed]
            assert away == sorted(away), name
            assert away[0] > 0, name
        elif "cut off" in name:
            sizes = [c.size for c in changed]
            assert [pixels.size, *sizes] == sorted({pixels.size, *sizes}, reverse=True), name
        else:
            assert {c.shape for c in changed} == {(photo_quality.FRAME, photo_quality.FRAME, 3)}
    tip = photo_quality.cut_tip(pixels, mask, 0.5)
    assert len(tip) == pytest.approx(48, abs=1)
    glare = photo_quality.glare(pixels, mask, 0.2)
    assert (glare[mask].min(1) > 240).mean() == pytest.approx(0.2, abs=0.04)
    parts = list(photo_quality.parts_without(numpy.tile(pixels, (3, 3, 1)), numpy.pad(mask, 96)))
    assert len(parts) == 4
    assert all(min(part.shape[:2]) >= 48 for part in parts)


def test_what_a_photo_costs(modules, tmp_path, monkeypatch):
    import photo_speed
    import readme

    monkeypatch.setattr(photo_speed, "BATCH", 2)
    monkeypatch.setattr(photo_speed, "LARGE", (1200, 900))
    small = {"components.tongue_encoder.model.depths": [1, 1, 1, 1]}
    file, _ = photo_speed.CONFIGS[photo_speed.RESNET]
    monkeypatch.setitem(photo_speed.CONFIGS, photo_speed.RESNET, (file, small))
    monkeypatch.setattr(photo_speed, "apart", lambda function, *arguments: function(*arguments))
    out = tmp_path / "out.json"
    monkeypatch.setattr(sys, "argv", ["", str(out), "--photos", "2", "--rounds", "1"])
    photo_speed.main()
    found = json.loads(out.read_text(encoding="utf8"))
    assert found["rendered"]
    assert found["photos"] == 2
    assert len(found["nets"]) == 4
    assert found["nets"][f"{photo_speed.OURS}, 1 at a time"] == 1
    assert all(bytes_ > 2**20 for bytes_ in found["peak_bytes"].values())
    assert set(found["peak_bytes"]) == {*found["nets"], *found["large"]}
    assert sum(found["steps"].values()) == pytest.approx(1)  # of two photos, a median is a mean
    for make in (readme.photo_steps, readme.photo_speed):
        assert make(found).startswith("| ")
    monkeypatch.setattr(sys, "argv", ["", str(out), str(tmp_path)])
    with pytest.raises(SystemExit, match="Skipped: there is no images/"):
        photo_speed.main()


RECORD = {
    "id": "a",
    "text": "便血，舌淡红，苔薄白，脉弦。",
    "entities": [[0, 2, "SYMPTOM"], [3, 6, "TONGUE"], [7, 10, "TONGUE"], [11, 13, "PULSE"]],
}


def test_pairs_of_records_and_photos(modules, tmp_path):
    import pairs

    from spacy_tcm.fields.tongue import TongueGrammar

    lines = ["image,coating_color,body_color,fissure,split"]
    lines += ["a,white,,severe,train", "b,yellow,,,train", "c,,,light,train", "d,white,light,,dev"]
    (tmp_path / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf8")
    photos = pairs.read_photos(tmp_path, "train")
    assert [Path(photo["image"]).stem for photo in photos] == ["a", "b"], "c has no colour"
    (other,) = pairs.read_photos(tmp_path, "dev")
    grammar = TongueGrammar.from_path()
    values = pairs.record_values(RECORD, grammar)
    assert values == {"舌象.舌色": ["淡红"], "舌象.苔色": ["白"], "舌象.苔质": ["薄"]}
    meta = {**RECORD, "meta": {"tongue": {"苔色": ["淡黄"]}}}
    assert pairs.record_values(meta, grammar) == {"舌象.苔色": ["淡黄"]}
    assert pairs.fits(photos[0], values, grammar) == {"coating_color": True}
    assert pairs.fits(photos[1], values, grammar) == {"coating_color": False}
    assert pairs.fits(photos[1], {"舌象.苔色": ["淡黄"]}, grammar) == {"coating_color": True}
    assert pairs.fits(other, values, grammar) == {"body_color": False, "coating_color": True}
    for agree, name in ((True, "a"), (False, "b")):
        drawn = pairs.draw(photos, values, grammar, random.Random(0), agree=agree)
        assert Path(drawn["image"]).stem == name
    assert pairs.draw([other], values, grammar, random.Random(0), agree=True) is None


def test_text_without_its_tongue(modules):
    import fusion

    blurred = fusion.blur(RECORD)
    assert blurred["text"] == "便血，舌□□，苔□□，脉弦。"
    assert blurred["entities"] == RECORD["entities"]
    omitted = fusion.omit(RECORD)
    assert omitted["text"] == "便血，脉弦。"
    assert [omitted["text"][s:e] for s, e, _ in omitted["entities"]] == ["便血", "脉弦"]


def test_flags_and_their_bound(modules):
    import conflicts

    def case(agrees):
        return (RECORD, "coating_color", "a.jpg", agrees)

    found = [(case(True), 0.9), (case(True), 0.04), (case(False), 0.01), (case(False), 0.3)]
    assert conflicts.flag_scores(found, 0.02) == {
        "pairs": 4, "conflicts": 2, "precision": 1.0, "recall": 0.5,
    }  # fmt: skip
    assert conflicts.flag_scores(found, 0.05)["precision"] == 0.5
    assert conflicts.flag_scores(found[:1], 0.05)["precision"] is None
    assert conflicts.choose_bound([found]) == 0.02
    assert conflicts.choose_bound([[(case(False), 0.01)], [(case(False), 0.4)]]) == 0.5


def test_a_photo_in_conflict_fills_fields_where_the_text_is_silent(modules):
    import conflicts

    nlp = spacy.blank("tcm")
    fields = spacy.blank("tcm").add_pipe("tcm_fields")
    yellow = {"white": 0.01, "light_yellow": 0.04, "yellow": 0.95}
    attribute = {"value": "yellow", "probabilities": yellow, "abstained": False}
    tongue = {"status": "ok", "reasons": [], "quality": {}}
    told = {"x.jpg": {**tongue, "attributes": {"coating_color": attribute}}}
    cases = [(RECORD, "coating_color", "x.jpg", False)]
    docs = {"a": conflicts.make_doc(nlp, RECORD, False)}
    ((_, compatible),) = conflicts.compare(docs, cases, told, fields)
    assert compatible == pytest.approx(0.01)
    fields.conflict_below = 0.1
    agreeing = [({**RECORD, "meta": {"tongue": {"苔色": ["黄"]}}}, "coating_color", "x.jpg", True)]
    for text, recall in (("as written", 0.0), ("omitted", 1.0)):
        scores = conflicts.filled(nlp, agreeing, told, fields, text)
        assert scores["on"]["recall"] == recall, "the text, which says 白, is never overridden"
        assert scores["off"]["recall"] == 0.0


def test_the_hottest_part_is_painted_over(modules):
    import heat_maps
    import torch

    pixels = torch.zeros(1, 10, 10, 3)
    pixels[0, :5] = 100.0
    mask = numpy.zeros((10, 10), dtype=bool)
    mask[:, 2:7] = True  # 50 pixels, of which ten are painted, in their mean colour
    heat = numpy.zeros((10, 10))
    heat[0, 2:7] = heat[1, 2:7] = 1.0
    heat[9, 9] = 5.0  # not on the tongue
    changed = heat_maps.grey(pixels, heat, mask)
    assert (changed != pixels).any(-1)[0].nonzero().tolist() == [
        [row, column] for row in (0, 1) for column in range(2, 7)
    ]
    assert changed[0, 0, 2].tolist() == [50.0] * 3


def test_photos_of_the_dev_split_are_measured(modules, photos):
    import photo_distance

    assert [Path(path).stem for path in photo_distance.find_photos(photos, 9)] == ["1", "3"]
    (photos / "labels.csv").unlink()
    assert len(photo_distance.find_photos(photos, 3)) == 3
