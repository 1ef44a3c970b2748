"""What a user's own terms are worth: recall of invented terms in natural sentences.

    python benchmarks/user_terms.py OUT.json MODEL RECORDS.jsonl [--images DIR]

In records that MODEL was not trained on, every second entity of some labels is replaced by an
invented name of as many characters (two at least), drawn from characters of names of that label.
The pipeline reads them as it is, and once more after `nlp.tokenizer.add_terms`; it is not trained
again. Recall is of the invented names, start, end and label exact; F1 of everything shows what the
terms do to the rest.
"""

import argparse
import json
import random
from pathlib import Path
from typing import Any

import spacy

from spacy_tcm.lexicon import read_tables
from spacy_tcm.training.evaluation import evaluate_records
from spacy_tcm.training.reading import read_with_images

ROOT = Path(__file__).parents[1]
LABELS = (
    "HERB",
    "FORMULA",
    "DRUG",
    "SYMPTOM",
    "TCM_DISEASE",
    "WM_DISEASE",
    "ACUPOINT",
    "PROCEDURE",
)


def invent(label: str, length: int, pools: dict[str, str], known: set[str], rng) -> str:
    while True:
        name = "".join(rng.choice(pools[label]) for _ in range(max(2, length)))
        if name not in known:
            return name


def plant(records, pools: dict[str, str], known: set[str]) -> tuple[list, list, set]:
    """Records with invented names, the names with their labels, and (record id, start) of each."""
    rng = random.Random(0)
    planted, names, places = [], [], set()
    for record, image in records:
        text, entities, last = "", [], 0
        for number, (start, end, label) in enumerate(sorted(record["entities"])):
            text += record["text"][last:start]
            surface = record["text"][start:end]
            if label in LABELS and number % 2:
                surface = invent(label, end - start, pools, known, rng)
                names.append((surface, label))
                places.add((record["id"], len(text)))
            entities.append([len(text), len(text) + len(surface), label])
            text += surface
            last = end
        new = {"id": record["id"], "text": text + record["text"][last:], "entities": entities}
        planted.append((new, image))
    return planted, names, places


def recall(nlp, records, places) -> tuple[int, dict[str, list[int]]]:
    found: dict[str, list[int]] = {label: [0, 0] for label in LABELS}
    for record, _ in records:
        ents = {(e.start_char, e.end_char, e.label_) for e in nlp(record["text"]).ents}
        for start, end, label in record["entities"]:
            if (record["id"], start) in places:
                found[label][1] += 1
                found[label][0] += (start, end, label) in ents
    return sum(right for right, _ in found.values()), found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("model")
    parser.add_argument("records", type=Path)
    args = parser.parse_args()
    entries = read_tables(ROOT / "assets" / "lexicon")
    pools = {
        k: "".join(e.term for e in entries if e.category == k and e.term.isalpha()) for k in LABELS
    }
    known = {entry.term for entry in entries}
    records, names, places = plant(read_with_images(args.records), pools, known)
    report: dict[str, Any] = {"records": len(records), "invented": len(places), "runs": {}}
    nlp = spacy.load(args.model)
    for run in ("without the terms", "with the terms"):
        if run == "with the terms":
            nlp.tokenizer.add_terms(names)
        right, by_label = recall(nlp, records, places)
        report["runs"][run] = {
            "recall": right / len(places),
            "by_label": {k: r / n for k, (r, n) in by_label.items() if n},
            "f_of_everything": evaluate_records(nlp, records)["exact"]["f"],
        }
        print(f"{run}: recall {right / len(places):.3f}")
    args.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf8")


if __name__ == "__main__":
    main()
