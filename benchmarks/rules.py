"""Association rules of the records: how many, and what structure does to their confidence.

    python benchmarks/rules.py OUT.json CORPUS_DIR [--min-support 0.01] [--min-confidence 0.3]

CORPUS_DIR: train.jsonl, tune.jsonl and dev.jsonl as `spacy project run corpus` writes them. Their
annotated entities get qualifiers, fields and preferred terms by the rule components; transactions
of these, negations removed and synonyms merged, are mined. The same rules are then looked at where
an item is a word found anywhere in the text ("raw"): the published system's "+18 %" of confidence
is over such a base, if over any.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import spacy

COMPONENTS = ("tcm_sections", "tcm_context", "tcm_fields", "tcm_linker")
SHOWN = 12
# A pattern occurs in few records, so that rules with one need only three visits, and are pairs.
PATTERNS = "to or from a pattern, pairs in at least 3 records"


def structure(corpus: Path) -> Iterator[dict[str, Any]]:
    """The annotated records, with all that the rule components tell of them."""
    from spacy_tcm.record import make_record

    nlp = spacy.blank("tcm")
    for name in COMPONENTS:
        nlp.add_pipe(name)
    for part in ("train", "tune", "dev"):
        for line in (corpus / f"{part}.jsonl").read_text(encoding="utf8").splitlines():
            annotated = json.loads(line)
            doc = nlp.make_doc(annotated["text"])
            doc._.record_id = annotated["id"]
            spans = [doc.char_span(s, e, label) for s, e, label in annotated["entities"]]
            doc.set_ents([span for span in spans if span is not None])
            for _, pipe in nlp.pipeline:
                doc = pipe(doc)
            yield make_record(doc)


def main() -> None:
    from spacy_tcm.records.exports.common import is_fact
    from spacy_tcm.records.rules import compare, find_rules

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--min-support", type=float, default=0.01)
    parser.add_argument("--min-confidence", type=float, default=0.3)
    args = parser.parse_args()
    records = list(structure(args.corpus))
    rules = find_rules(records, min_support=args.min_support, min_confidence=args.min_confidence)
    rare = find_rules(
        records, min_support=3 / len(records), min_confidence=args.min_confidence, max_length=2
    )
    denied = {e["text"] for record in records for e in record["entities"] if not is_fact(e)}
    groups = {
        "all": rules,
        PATTERNS: [r for r in rare if "SYNDROME" in {k for k, _ in (*r.antecedent, r.consequent)}],
        "with an item that some note denies, doubts or tells of the past": [
            r for r in rules if denied & {term for _, term in (*r.antecedent, r.consequent)}
        ],
        "q below 0.05": [r for r in rules if r.q < 0.05],
        "lift of at least 1.1": [r for r in rules if not r.note],
    }
    report = {
        "records": len(records),
        "min_support": args.min_support,
        "min_confidence": args.min_confidence,
        "rules": {name: {"found": len(some), **compare(some)} for name, some in groups.items()},
        "examples": [
            {
                "rule": " + ".join(term for _, term in r.antecedent) + " → " + r.consequent[1],
                **{k: getattr(r, k) for k in ("n_antecedent", "n_both", "confidence", "lift")},
                **{k: getattr(r, k) for k in ("leverage", "p", "q", "raw_confidence")},
            }
            for r in groups[PATTERNS][:SHOWN]
        ],
    }
    args.out.write_text(json.dumps(report, ensure_ascii=False, indent=1) + "\n", encoding="utf8")


if __name__ == "__main__":
    main()
