"""How many entities are linked, how, and are the links that are not literal right?

    python benchmarks/linker.py OUT.json CORPUS.jsonl

CORPUS: written records, such as corpus/dev.jsonl of `spacy project run convert`; their gold
entities are linked. The precision is of `data/linker.jsonl`: links by normalisation or similarity,
drawn from these records, and some from the train part, judged by hand: right (the same thing),
broader (a more general one), wrong.
"""

import argparse
import json
import random
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from spacy_tcm.linking import CodeTables, best_id
from spacy_tcm.training.reading import read_records

HERE = Path(__file__).parent
METHODS = ("exact", "alias", "normalised", "fuzzy")


def count_links(
    tables: CodeTables, records: list[dict[str, Any]]
) -> tuple[dict[str, Any], set[tuple[str, str, str, str]]]:
    """By label: entities, and how many were linked by each method, ambiguously, not at all; and the
    distinct (method, label, surface, display) that are not literal."""
    rows: dict[str, Counter[str]] = defaultdict(Counter)
    loose = set()
    for record in records:
        for start, end, label in record["entities"]:
            surface = record["text"][start:end]
            codes = tables.link(label, surface)
            method = codes[0]["method"] if codes else "unlinked"
            rows[label]["entities"] += 1
            rows[label][method] += 1
            several = bool(codes) and method != "fuzzy" and not best_id(codes)
            rows[label]["ambiguous or several"] += several
            if method in ("normalised", "fuzzy"):
                shown = "＋".join(dict.fromkeys(code["display"] for code in codes))
                loose.add((method, label, surface, shown))
    linked = {label: dict(row) for label, row in rows.items() if row["unlinked"] < row["entities"]}
    return linked, loose


def judge(judged: list[dict[str, str]]) -> dict[str, Any]:
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for row in judged:
        found[f"{row['method']}, {row['part']}"][row["judgement"]] += 1
    return {
        method: {"links": sum(c.values()), **c, "precision": c["right"] / sum(c.values())}
        for method, c in found.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--sample", type=Path, help="draw 100 links to be judged into this file")
    args = parser.parse_args()
    records = [record for record in read_records(args.corpus) if "meta" in record]
    linked, loose = count_links(CodeTables(), records)
    if args.sample:
        chosen = []
        for method in ("normalised", "fuzzy"):
            of_method = sorted(row for row in loose if row[0] == method)
            chosen += random.Random(0).sample(of_method, min(50, len(of_method)))
        keys = ("method", "label", "surface", "display")
        lines = (json.dumps(dict(zip(keys, r, strict=True)), ensure_ascii=False) for r in chosen)
        args.sample.write_text("\n".join(lines) + "\n", encoding="utf8")
    path = HERE / "data" / "linker.jsonl"
    judged = [json.loads(x) for x in path.read_text(encoding="utf8").splitlines()]
    report = {"records": len(records), "labels": linked, "judged": judge(judged)}
    args.out.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf8")
    print(json.dumps(report["judged"], ensure_ascii=False))


if __name__ == "__main__":
    main()
