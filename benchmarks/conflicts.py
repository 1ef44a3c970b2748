"""Does the flag find records whose tongue is not the one of the photo; what a photo adds to fields.

    python benchmarks/conflicts.py OUT.json CORPUS_DIR PHOTOS_DIR TONGUE_MODEL ... [--ner MODEL]

CORPUS_DIR: made by `spacy project run render`. PHOTOS_DIR: holds labels.csv and images/, no part of
this repository. TONGUE_MODEL: trained tongue pipelines, one a seed (`tongue.py --keep`). --ner: a
trained pipeline with a multimodal_ner, whose entities are used beside the annotated ones. The bound
of the flag is chosen on train records with photos of "train" that were held out of training;
figures are of dev records with photos of "dev". Each record meets ten photos an attribute, of which
two do not show what it says.
"""

import argparse
import json
import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from fusion import BLURRED, OMITTED, ROOT, WRITTEN, blur, omit
from ner import mean_sd
from pairs import fits, read_photos, record_values
from runs import read_jsonl, require_labels

PER_RECORD, DISAGREEING = 10, 2
BOUNDS = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5)
WANTED = 0.9  # precision for which the bound is chosen

Case = tuple[dict[str, Any], str, str, bool]  # record, attribute, path of the photo, agrees


def make_cases(
    records: Sequence[dict[str, Any]], photos: Sequence[dict[str, str]], grammar: Any, seed: int
) -> list[Case]:
    generator, cases = random.Random(seed), []
    for record in records:
        values = record_values(record, grammar)
        for name in grammar.photo:
            told = [(photo, fits(photo, values, grammar).get(name)) for photo in photos]
            for agree, count in (
                (True, PER_RECORD - DISAGREEING),
                (False, DISAGREEING),
            ):
                able = [photo["image"] for photo, fit in told if fit is agree]
                drawn = generator.sample(able, min(count, len(able)))
                cases += [(record, name, image, agree) for image in drawn]
    return cases


def look(encoder: Any, images: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Photo -> doc._.tongue."""
    images = sorted(set(images))
    docs = [encoder.make_doc("") for _ in images]
    for doc, image in zip(docs, images, strict=True):
        doc._.tongue_image = image
    piped = encoder.pipe(docs, batch_size=16)
    return {image: doc._.tongue for image, doc in zip(images, piped, strict=True)}


def make_doc(nlp: Any, record: dict[str, Any], predicted: bool) -> Any:
    """The record's text with the entities that are annotated, or found."""
    from spacy_tcm.training.alignment import align_entities

    if predicted:
        return nlp(record["text"])
    doc = nlp.make_doc(record["text"])
    doc.set_ents(align_entities(doc, record["entities"])[0])
    return doc


def compare(
    docs: dict[str, Any], cases: Sequence[Case], told: dict[str, Any], fields: Any
) -> list[tuple[Case, float]]:
    """Each case that text and photo both tell of, with the probability that the photo shows what
    the text says: a conflict where it is below the bound."""
    fields.conflict_below = 1.0
    found = []
    for case in cases:
        record, name, image, _ = case
        doc = docs[record["id"]]
        doc._.tongue = told[image]
        field = fields.tongue.photo[name]["field"]
        flags = [c for c in fields(doc)._.conflicts if c["field"] == field]
        found.append((case, min((c["compatible"] for c in flags), default=1.0)))
    return found


def flag_scores(found: Sequence[tuple[Case, float]], bound: float) -> dict[str, Any]:
    flagged = [(case[3], compatible < bound) for case, compatible in found]
    hits = sum(flag and not agrees for agrees, flag in flagged)
    n_flagged, n_conflicts = sum(f for _, f in flagged), sum(not a for a, _ in flagged)
    return {
        "pairs": len(flagged),
        "conflicts": n_conflicts,
        "precision": hits / n_flagged if n_flagged else None,
        "recall": hits / n_conflicts if n_conflicts else None,
    }


def choose_bound(runs: Sequence[Sequence[tuple[Case, float]]]) -> float:
    """The largest of BOUNDS with the precision wanted, over all runs; the least if none has it."""
    able = [BOUNDS[0]]
    for bound in BOUNDS:
        scores = flag_scores([pair for found in runs for pair in found], bound)
        if scores["precision"] is not None and scores["precision"] >= WANTED:
            able.append(bound)
    return max(able)


def far(case: Case, grammar: Any, labels: dict[str, dict[str, str]], order: Any) -> bool:
    """Whether the photo's label lies two steps or more from all that the record says."""
    record, name, image, _ = case
    entry, values = grammar.photo[name], record_values(record, grammar)
    said = {
        order[name].index(label)
        for label, terms in entry["values"].items()
        if set(terms) & set(values[entry["field"]])
    }
    at = order[name].index(labels[image][name])
    return bool(said) and min(abs(at - k) for k in said) > 1


def filled(
    nlp: Any, cases: Sequence[Case], told: dict[str, Any], fields: Any, text: str
) -> dict[str, Any]:
    """Fields of colour where the text is whole, blurred or lacks the tongue, with an agreeing photo
    and without one: values right (one of the record's, or of the candidates) over told and over
    all."""
    counts = {photo: [0, 0, 0] for photo in ("off", "on")}
    docs: dict[str, Any] = {}
    for record, name, image, agrees in cases:
        if not agrees:
            continue
        if record["id"] not in docs:
            change = {WRITTEN: dict, BLURRED: blur, OMITTED: omit}[text]
            docs[record["id"]] = make_doc(nlp, change(record), predicted=False)
        doc = docs[record["id"]]
        field = fields.tongue.photo[name]["field"]
        truth = set(record_values(record, fields.tongue)[field])
        for photo, tongue in (("off", {**told[image], "status": "none"}), ("on", told[image])):
            doc._.tongue = tongue
            value = fields(doc)._.fields.get(field)
            counts[photo][2] += 1
            if value:
                counts[photo][1] += 1
                counts[photo][0] += bool(truth & {*value["value"], *value.get("candidates", ())})
    return {
        photo: {"precision": right / n if n else None, "recall": right / total, "fields": total}
        for photo, (right, n, total) in counts.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("photos", type=Path)
    parser.add_argument("tongue", type=Path, nargs="+")
    parser.add_argument("--ner", type=Path)
    args = parser.parse_args()
    require_labels(args.photos)
    import spacy
    import torch
    from spacy.util import load_config

    from spacy_tcm.tags import TONGUE_ATTRIBUTES
    from spacy_tcm.training.tongue.photos import is_held_out

    torch.set_num_threads(1)
    nlp = spacy.load(args.ner, exclude=["tongue_encoder"]) if args.ner else spacy.blank("tcm")
    fields = spacy.blank("tcm").add_pipe("tcm_fields")
    grammar = fields.tongue
    learned_from = read_photos(args.photos, "train")
    held_out = load_config(ROOT / "configs" / "tongue.cfg")["corpora"]["train"]["held_out"]
    apart = [p for p in learned_from if is_held_out(Path(p["image"]).stem, held_out)]
    dev = read_photos(args.photos, "dev")
    labels = {photo["image"]: photo for photo in dev}
    records = {part: read_jsonl(args.corpus / f"{part}.jsonl") for part in ("train", "dev")}
    described = [r for r in records["train"] if (r.get("meta") or {}).get("tongue")]
    chosen_on = make_cases(described, apart, grammar, 0)
    cases = make_cases(records["dev"], dev, grammar, 0)
    sources = {"annotated entities": False, **({"predicted entities": True} if args.ner else {})}
    docs = {
        source: {r["id"]: make_doc(nlp, r, predicted) for r in records["dev"]}
        for source, predicted in sources.items()
    }
    own = {r["id"]: make_doc(nlp, r, False) for r in described}
    told, chosen = [], []
    for path in args.tongue:
        encoder = spacy.load(path)
        told.append(look(encoder, [p["image"] for p in (*apart, *dev)]))
        chosen.append(compare(own, chosen_on, told[-1], fields))
    bound = choose_bound(chosen)
    report: dict[str, Any] = {
        "bound": bound,
        "seeds": len(told),
        "chosen_on": {str(b): _merge([flag_scores(found, b) for found in chosen]) for b in BOUNDS},
        "flag": {},
        "fields": {},
    }
    for source in sources:
        runs = [compare(docs[source], cases, seen, fields) for seen in told]
        rows = report["flag"][source] = {}
        for name in dict.fromkeys(case[1] for case in cases):
            of_name = [[pair for pair in found if pair[0][1] == name] for found in runs]
            rows[name] = _merge([flag_scores(found, bound) for found in of_name])
            opposite = [
                [p for p in found if p[0][3] or far(p[0], grammar, labels, TONGUE_ATTRIBUTES)]
                for found in of_name
            ]
            rows[f"{name}, opposite"] = _merge([flag_scores(found, bound) for found in opposite])
        rows["both"] = _merge([flag_scores(found, bound) for found in runs])
    fields.conflict_below = bound
    for text in (WRITTEN, BLURRED, OMITTED):
        per_seed = [filled(nlp, cases, seen, fields, text) for seen in told]
        report["fields"][text] = {
            photo: _merge([one[photo] for one in per_seed]) for photo in ("off", "on")
        }
    args.out.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf8")


def _merge(scores: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Over seeds: counts as they are, shares as mean and deviation."""
    return {
        name: value if isinstance(value, int) else mean_sd([s[name] for s in scores])
        for name, value in scores[0].items()
    }


if __name__ == "__main__":
    main()
