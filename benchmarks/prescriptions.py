"""Are prescriptions read right? Against lists written down by hand from the records.

    python benchmarks/prescriptions.py OUT.json CORPUS_DIR [--model MODEL]

CORPUS_DIR: train.jsonl, tune.jsonl and dev.jsonl of `spacy project run convert`. Scored are the
prescriptions of `data/prescriptions.jsonl` (part: of which file), read from the gold entities and,
with a model, from those that it finds in the text. A herb is right if its name, its dose and the
unit are; MODEL: a trained pipeline with a multimodal_ner.
"""

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import Any

from spacy_tcm.prescriptions.grammar import PrescriptionGrammar
from spacy_tcm.training.reading import read_records

HERE = Path(__file__).parent
LABELS = ("FORMULA", "HERB", "DOSAGE", "DRUG")
Row = dict[str, Any]


def read_gold(path: Path = HERE / "data" / "prescriptions.jsonl") -> list[Row]:
    return [json.loads(line) for line in path.read_text(encoding="utf8").splitlines()]


def score(gold: list[list[Row]], found: list[list[Row]]) -> dict[str, Any]:
    """Of the prescriptions of each record. herbs: precision, recall and F of (where, dose, unit);
    removed: likewise; counts and formulas: share right of the gold prescriptions that have one;
    whole: share of the gold prescriptions whose herbs are exactly those of one that was read."""
    tally: Counter[str] = Counter()
    for expected, read in zip(gold, found, strict=True):
        for kind in ("herbs", "removed"):
            right = {_key(h, kind) for p in expected for h in p[kind]}
            got = {_key(h, kind) for p in read for h in p[kind]}
            tally[f"{kind} gold"] += len(right)
            tally[f"{kind} found"] += len(got)
            tally[f"{kind} right"] += len(right & got)
        attached = {(h[0], h[2], h[3]) for p in expected for h in p["herbs"] if h[3]}
        starts = {h["start"]: (h["dose"], h["unit"]) for p in read for h in p["herbs"]}
        tally["doses"] += sum(start in starts for start, _, _ in attached)
        tally["doses right"] += sum(starts.get(s) == (dose, unit) for s, dose, unit in attached)
        for p in expected:
            places = {h[0] for h in (*p["herbs"], *p["removed"])}
            overlaps = [
                (len(places & {h["start"] for h in (*q["herbs"], *q["removed"])}), -n)
                for n, q in enumerate(read)
            ]
            best = max(overlaps, default=(0, 0))
            match = read[-best[1]] if best[0] else None
            tally["prescriptions"] += 1
            same = {_key(h, "herbs") for h in p["herbs"]}
            tally["whole"] += bool(match) and same == {_key(h, "herbs") for h in match["herbs"]}
            tally["counts"] += 1
            tally["counts right"] += bool(match) and match["count"] == p["count"]
            if p["formula"]:
                base = (match or {}).get("formula") or {"base": []}
                tally["formulas"] += 1
                tally["formulas right"] += base["base"] == p["formula"].split("+")
    herbs, removed = (
        {
            "precision": _ratio(tally[f"{k} right"], tally[f"{k} found"]),
            "recall": _ratio(tally[f"{k} right"], tally[f"{k} gold"]),
            "f": _ratio(2 * tally[f"{k} right"], tally[f"{k} found"] + tally[f"{k} gold"]),
            "gold": tally[f"{k} gold"],
        }
        for k in ("herbs", "removed")
    )
    return {
        "records": len(gold),
        "prescriptions": tally["prescriptions"],
        "herbs": herbs,
        "removed": removed,
        "dose_of_found_herbs": _ratio(tally["doses right"], tally["doses"]),
        "count": _ratio(tally["counts right"], tally["counts"]),
        "formula": _ratio(tally["formulas right"], tally["formulas"]),
        "whole": _ratio(tally["whole"], tally["prescriptions"]),
    }


def _key(herb: Any, kind: str) -> tuple:
    if isinstance(herb, dict):
        place = herb["start"], herb["end"] - herb["start"]
        return place if kind == "removed" else (*place, herb["dose"], herb["unit"])
    place = herb[0], len(herb[1])
    return place if kind == "removed" else (*place, herb[2], herb[3])


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--model")
    args = parser.parse_args()
    grammar = PrescriptionGrammar.from_path()
    rows = read_gold()
    records = {
        record["id"]: record
        for part in ("train", "tune", "dev")
        for record in read_records(args.corpus / f"{part}.jsonl")
    }
    entities = {"gold entities": {i["id"]: records[i["id"]]["entities"] for i in rows}}
    if args.model:
        import spacy

        nlp = spacy.load(args.model, exclude=["tongue_encoder"])
        texts = [records[row["id"]]["text"] for row in rows]
        entities["predicted entities"] = {
            row["id"]: [(e.start_char, e.end_char, e.label_) for e in doc.ents]
            for row, doc in zip(rows, nlp.pipe(texts), strict=True)
        }
    report: dict[str, Any] = {"rows": {}}
    for name, spans in entities.items():
        for title, parts in {"train, tune": ("train", "tune"), "dev": ("dev",)}.items():
            chosen = [row for row in rows if row["part"] in parts]
            read = [
                grammar.read(
                    [(s, e, label) for s, e, label in spans[row["id"]] if label in LABELS],
                    records[row["id"]]["text"],
                )
                for row in chosen
            ]
            result = score([row["prescriptions"] for row in chosen], read)
            report["rows"].setdefault(title, {})[name] = result
            print(title, name, json.dumps(result, ensure_ascii=False))
    args.out.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf8")


if __name__ == "__main__":
    main()
