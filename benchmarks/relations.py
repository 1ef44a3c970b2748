"""Are the relations right? Rules against relations that were read by hand, by type.

    python benchmarks/relations.py OUT.json CORPUS_DIR [--annotations FILE] [--show PART]

CORPUS_DIR: corpus/ of `spacy project run convert`, with train.jsonl and dev.jsonl. FILE:
`data/relations.jsonl`, one record a line with its ``id``, ``part`` and ``relations``, each ``[type,
head start, head end, tail start, tail end]``: those whose two ends stand in the text and that need
judgement, made of the gold entities. The rules were written on those of train; those of dev were
marked before. Relations of what is absent, past, of the family or planned are left out by both.
"""

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import Any

from spacy_tcm.relations import Mention, RelationRules
from spacy_tcm.training.reading import read_records

HERE = Path(__file__).parent
Triple = tuple[str, int, int, int, int]
LEFT_OUT = ("absent", "past", "family", "future")


def find(rules: RelationRules, record: dict[str, Any], types: set[str]) -> set[Triple]:
    """What the rules find in a record's gold entities, of the types that are annotated."""
    out = {(start, end) for start, end, q in record["qualifiers"] if q in LEFT_OUT}
    mentions = [Mention(*entity) for entity in sorted(record["entities"])]
    found = set()
    for relation in rules.find(record["text"], mentions):
        if relation.type in types and isinstance(relation.head, int):
            head, tail = mentions[relation.head], mentions[relation.tail]
            if not {head[:2], tail[:2]} & out:
                found.add((relation.type, *head[:2], *tail[:2]))
    return found


def score(pairs: list[tuple[set[Triple], set[Triple]]]) -> dict[str, dict[str, Any]]:
    """Micro-averages over (gold, found) of each record: "all" and by type."""
    counts: dict[str, Counter[str]] = {}
    for gold, found in pairs:
        for name, triples in (("gold", gold), ("found", found), ("correct", gold & found)):
            for triple in triples:
                for key in ("all", triple[0]):
                    counts.setdefault(key, Counter())[name] += 1
    return {
        key: {
            "gold": c["gold"],
            "found": c["found"],
            "precision": c["correct"] / c["found"] if c["found"] else None,
            "recall": c["correct"] / c["gold"] if c["gold"] else None,
            "f": 2 * c["correct"] / (c["gold"] + c["found"]),
        }
        for key, c in sorted(counts.items())
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--annotations", type=Path, default=HERE / "data" / "relations.jsonl")
    parser.add_argument("--show", choices=["train"], help="print the errors; never of dev")
    args = parser.parse_args()
    lines = args.annotations.read_text(encoding="utf8").splitlines()
    annotated = [json.loads(line) for line in lines]
    rules = RelationRules.from_path()
    types = {relation[0] for a in annotated for relation in a["relations"]}
    report = {}
    for part in ("train", "dev"):
        records = {r["id"]: r for r in read_records(args.corpus / f"{part}.jsonl") if r.get("meta")}
        pairs = []
        for entry in (a for a in annotated if a["part"] == part):
            record = records[entry["id"]]
            gold = {tuple(relation) for relation in entry["relations"]}
            found = find(rules, record, types)
            pairs.append((gold, found))
            for type_, a, b, c, d in sorted(gold ^ found) if args.show == part else ():
                sign = "-" if (type_, a, b, c, d) in gold else "+"
                print(sign, entry["id"], type_, record["text"][a:b], ">", record["text"][c:d])
        report[part] = {"records": len(pairs), "scores": score(pairs)}
        s = report[part]["scores"]["all"]
        print(f"{part}: P {s['precision']:.4f} R {s['recall']:.4f} F {s['f']:.4f}")
    args.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf8")


if __name__ == "__main__":
    main()
