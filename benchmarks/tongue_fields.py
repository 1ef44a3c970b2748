"""Are the fields of the tongue read right? Their values against what the records say they are.

    python benchmarks/tongue_fields.py OUT.json CORPUS.jsonl [--model MODEL]

CORPUS: records with `meta.tongue`, such as corpus/dev.jsonl of `spacy project run convert`. Scored
are the values that the text gives, from the gold TONGUE entities and, with a model, from those that
it finds in the text alone: photos are left out. MODEL: a trained pipeline with a multimodal_ner.
"""

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import spacy

from spacy_tcm.fields.tongue import TongueGrammar
from spacy_tcm.training.reading import read_records

Values = set[tuple[str, str]]  # field id, value


def score(pairs: Iterable[tuple[Values, Values]], fields: Iterable[str]) -> dict[str, Any]:
    """Micro-averages over gold and found values of each record; "all" and by field."""
    pairs = list(pairs)
    scores = {}
    for name in ("all", *fields):
        of_field = [
            tuple({pair for pair in side if name in ("all", pair[0])} for side in both)
            for both in pairs
        ]
        gold = sum(len(g) for g, _ in of_field)
        predicted = sum(len(p) for _, p in of_field)
        correct = sum(len(g & p) for g, p in of_field)
        scores[name] = {
            "precision": correct / predicted if predicted else None,
            "recall": correct / gold if gold else None,
            "f": 2 * correct / (gold + predicted) if gold + predicted else None,
            "gold": gold,
            "predicted": predicted,
            "correct": correct,
            "records_all_right": sum(g == p for g, p in of_field) / len(of_field),
        }
    return scores


def gold_values(record: dict[str, Any]) -> Values:
    return {
        (f"舌象.{name}", value)
        for name, values in record["meta"]["tongue"].items()
        for value in values
    }


def read(grammar: TongueGrammar, spans: Iterable[tuple[int, int]], text: str) -> Values:
    fields = grammar.read([(start, text[start:end]) for start, end in spans], text).fields
    return {(field, value) for field, found in fields.items() for value in found["value"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--model")
    args = parser.parse_args()
    grammar = TongueGrammar.from_path()
    records = [r for r in read_records(args.corpus) if r.get("meta", {}).get("tongue")]
    gold = [gold_values(record) for record in records]
    spans = [[(s, e) for s, e, label in r["entities"] if label == "TONGUE"] for r in records]
    rows = {"gold entities": spans}
    if args.model:
        nlp = spacy.load(args.model, exclude=["tongue_encoder"])
        rows["predicted entities"] = [
            [(ent.start_char, ent.end_char) for ent in doc.ents if ent.label_ == "TONGUE"]
            for doc in nlp.pipe(record["text"] for record in records)
        ]
    report = {
        "records": len(records),
        "rows": {
            name: score(
                [
                    (g, read(grammar, found, record["text"]))
                    for g, found, record in zip(gold, row, records, strict=True)
                ],
                grammar.fields,
            )
            for name, row in rows.items()
        },
    }
    args.out.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf8")
    for name, scores in report["rows"].items():
        s = scores["all"]
        print(f"{name}: P {s['precision']:.4f} R {s['recall']:.4f} F {s['f']:.4f}")


if __name__ == "__main__":
    main()
