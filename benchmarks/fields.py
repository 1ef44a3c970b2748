"""Are the typed fields read right? Values against those that the written records have.

    python benchmarks/fields.py OUT.json CORPUS_DIR [--model MODEL] [--before FACTORY ...]

CORPUS_DIR: train.jsonl, tune.jsonl and dev.jsonl of `spacy project run convert`; scored are the
records with `meta`. The rules were written on two thirds of train and on tune ("seen"); the other
third, by a hash of the text, was set aside until its first report and then read too, so that only
dev is held out. Fields come from the gold entities
and, with a trained MODEL, from those that it finds in the text alone; MODEL was trained on train:
only dev is held out from it, too. --before: components that run before, such as tcm_context.
"""

import argparse
import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import spacy
from spacy.language import Language
from spacy.tokens import Doc

from spacy_tcm.fields.definitions import own_definitions
from spacy_tcm.training.reading import read_records

# Table 2 of the published system: its rows, what they are here, and its F1. The tongue is one row.
PUBLISHED = {
    "肛肠科.刻下便血颜色": 94.2,
    "肛肠科.刻下便后肛内肿物是否脱出": 93.8,
    "骨科.患处VAS评分": 95.6,
    "骨科.健侧腕关节周径": 95.1,
    "呼吸内科.痰色": 92.5,
    "呼吸内科.有无发热": 93.3,
    "消化内科.刻下腹泻频次": 91.8,
    "消化内科.刻下有无黏液脓血便": 92.1,
    "舌象": 88.7,
    "脉象.脉": 87.5,
}
TONGUE = "舌象"
# The order of their values says nothing.
UNORDERED = ("multi",)


def is_set_aside(text: str) -> bool:
    """Whether a training record is of the third that nobody looked at."""
    return int(hashlib.sha256(text.encode()).hexdigest(), 16) % 3 == 0


def read_parts(corpus: Path) -> dict[str, list[dict[str, Any]]]:
    parts: dict[str, list[dict[str, Any]]] = {"seen": [], "set aside": [], "dev": []}
    for name in ("train", "tune", "dev"):
        for record in read_records(corpus / f"{name}.jsonl"):
            if record.get("meta"):
                aside = name == "train" and is_set_aside(record["text"])
                part = "dev" if name == "dev" else "set aside" if aside else "seen"
                parts[part].append(record)
    return parts


def comparable(found: dict[str, Any] | None, kind: str) -> str | None:
    """Value and unit in one form, equal if they are."""
    if found is None:
        return None
    value = found["value"]
    return json.dumps(
        [sorted(value) if kind in UNORDERED else value, found.get("unit")], ensure_ascii=False
    )


def overlaps(gold: dict[str, Any], found: dict[str, Any]) -> bool:
    """Whether one evidence holds the other, or they share two characters that follow each other."""
    a, b = gold["evidence"], found["evidence"] or ""
    return a in b or (b in a and bool(b)) or any(a[i : i + 2] in b for i in range(len(a) - 1))


def score(
    pairs: Sequence[tuple[dict[str, Any], dict[str, Any]]], kinds: dict[str, str]
) -> dict[str, Any]:
    """By field: counts and scores over (gold fields, found fields) of each record.

    A found field is right if value and unit are those of the record. accuracy: of the records
    that tell or are said to tell the field, those that are right.
    """
    rows: dict[str, dict[str, Any]] = {}
    for name in (*kinds, TONGUE):
        ids = [i for i in kinds if i == name or i.startswith(f"{name}.")]
        counts = {"gold": 0, "found": 0, "right": 0, "evidence": 0, "either": 0}
        for gold, found in pairs:
            for field in ids:
                g, f = gold.get(field), found.get(field)
                right = g is not None and comparable(g, kinds[field]) == comparable(f, kinds[field])
                counts["gold"] += g is not None
                counts["found"] += f is not None
                counts["either"] += g is not None or f is not None
                counts["right"] += right
                if right:
                    assert g is not None
                    assert f is not None
                    counts["evidence"] += overlaps(g, f)
        rows[name] = rates(counts)
    own = [rows[name] for name in kinds if rows[name]["gold"]]
    total = {key: sum(row[key] for row in own) for key in counts}
    rows["all"] = rates(total)
    rows["mean"] = {
        key: sum(row[key] or 0.0 for row in own) / len(own) if own else None
        for key in ("precision", "recall", "f", "accuracy")
    }
    return rows


def rates(counts: dict[str, int]) -> dict[str, Any]:
    gold, found, right = counts["gold"], counts["found"], counts["right"]
    return {
        **counts,
        "precision": right / found if found else None,
        "recall": right / gold if gold else None,
        "f": 2 * right / (gold + found) if gold + found else None,
        "accuracy": right / counts["either"] if counts["either"] else None,
        "evidence_overlap": counts["evidence"] / right if right else None,
    }


def make_docs(nlp: Language, records: Iterable[dict[str, Any]], entities: str) -> Iterable[Doc]:
    for record in records:
        doc = nlp.make_doc(record["text"])
        spans = (doc.char_span(start, end, label) for start, end, label in record[entities])
        doc.set_ents([span for span in spans if span is not None])
        yield doc


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--model")
    parser.add_argument("--before", nargs="*", default=[])
    args = parser.parse_args()
    parts = read_parts(args.corpus)
    nlp = spacy.blank("tcm")
    for name in (*args.before, "tcm_fields"):
        nlp.add_pipe(name)
    ways = {"gold entities": "entities"}
    if args.model:
        ways["predicted entities"] = "predicted"
        model = spacy.load(args.model, exclude=["tongue_encoder", "tcm_fields"])
        for records in parts.values():
            docs = model.pipe(record["text"] for record in records)
            for record, doc in zip(records, docs, strict=True):
                record["predicted"] = [[e.start_char, e.end_char, e.label_] for e in doc.ents]
    kinds = {field["id"]: field["type"] for field in own_definitions()["fields"]}
    report: dict[str, Any] = {
        "records": {part: len(records) for part, records in parts.items()},
        "published": PUBLISHED,
        "before": args.before,
        "rows": {},
    }
    for part, records in parts.items():
        for way, entities in ways.items():
            docs = nlp.pipe(make_docs(nlp, records, entities))
            pairs = [(r["fields"], doc._.fields) for r, doc in zip(records, docs, strict=True)]
            rows = report["rows"].setdefault(part, {})[way] = score(pairs, kinds)
            print(
                part,
                way,
                *(f"{key} {rows['all'][key]:.4f}" for key in ("precision", "recall", "f")),
            )
    args.out.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf8")


if __name__ == "__main__":
    main()
