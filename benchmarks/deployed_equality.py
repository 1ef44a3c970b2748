"""The deployed pipeline beside the one it was made from: same tags, same scores?"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from runs import read_labels


def compare(
    trained: str, deployed: str, records: str, annotated: dict[str, str], photos: str | None
) -> dict[str, Any]:
    """records: of `deployed.prepare`. annotated: name -> file of annotated records. photos: folder
    with labels.csv. RETURNS: "tags", "entities", "photos", see :func:`alike`; "scores", by name and
    pipeline; "attributes", by attribute and pipeline."""
    import spacy

    pipelines = {"as trained": spacy.load(trained), "deployed": spacy.load(deployed)}
    items = json.loads(Path(records).read_text(encoding="utf8"))
    found = alike(*(run(nlp, items) for nlp in pipelines.values()))
    scores = {
        name: {title: entity_scores(nlp, Path(file)) for title, nlp in pipelines.items()}
        for name, file in annotated.items()
    }
    attributes = {}
    if photos is not None:
        rows = [row for row in read_labels(Path(photos)) if row["split"] == "dev"]
        told = {title: tell(nlp, rows, Path(photos)) for title, nlp in pipelines.items()}
        attributes = {
            name: {title: attribute_scores(t, rows, name) for title, t in told.items()}
            for name in rows[0]
            if name not in ("image", "split")
        }
    return {**found, "scores": scores, "attributes": attributes}


def run(nlp: Any, items: Sequence[dict[str, Any]]) -> list[Any]:
    docs = []
    for item in items:
        doc = nlp.make_doc(item["text"])
        doc._.tongue_image = item["image"]
        docs.append(doc)
    return list(nlp.pipe(docs))


def alike(ones: Sequence[Any], others: Sequence[Any]) -> dict[str, Any]:
    """Shares of equal tags, of entities found by both of those found by either, and of equal
    attributes of photos; the largest difference of the scores of entities that both found."""
    from spacy.training.iob_utils import doc_to_biluo_tags

    tags = same_tags = both = either = attributes = same_attributes = same_status = 0
    difference = 0.0
    for one, other in zip(ones, others, strict=True):
        pairs = list(zip(doc_to_biluo_tags(one), doc_to_biluo_tags(other), strict=True))
        tags += len(pairs)
        same_tags += sum(a == b for a, b in pairs)
        a, b = (
            {(e.start_char, e.end_char, e.label_): e._.score for e in doc.ents}
            for doc in (one, other)
        )
        both += len(a.keys() & b.keys())
        either += len(a.keys() | b.keys())
        for key in a.keys() & b.keys():
            if a[key] is not None and b[key] is not None:
                difference = max(difference, abs(a[key] - b[key]))
        same_status += one._.tongue["status"] == other._.tongue["status"]
        seen, seen_too = (doc._.tongue["attributes"] for doc in (one, other))
        for name in seen.keys() & seen_too.keys():
            attributes += 1
            same_attributes += seen[name]["value"] == seen_too[name]["value"]
    return {
        "records": len(ones),
        "tags": {"count": tags, "equal": same_tags / tags},
        "entities": {
            "either": either,
            "equal": both / either if either else None,
            "largest_score_difference": difference,
        },
        "photos": {
            "same_status": same_status / len(ones),
            "attributes": attributes,
            "equal": same_attributes / attributes if attributes else None,
        },
    }


def entity_scores(nlp: Any, file: Path) -> dict[str, Any]:
    from spacy_tcm.training.evaluation import evaluate_records
    from spacy_tcm.training.reading import read_with_images

    found = evaluate_records(nlp, read_with_images(file))
    return {
        **{name: found["exact"][name] for name in ("precision", "recall", "f")},
        "macro_f": found["macro_f"],
        "records": found["records"],
    }


def tell(nlp: Any, rows: Sequence[dict[str, str]], photos: Path) -> list[dict[str, Any]]:
    """What the tongue encoder says of each photo; {} of one that it rejects."""
    docs = []
    for row in rows:
        doc = nlp.make_doc("")
        doc._.tongue_image = str(photos / "images" / f"{row['image']}.jpg")
        docs.append(doc)
    return [doc._.tongue["attributes"] for doc in nlp.get_pipe("tongue_encoder").pipe(docs)]


def attribute_scores(
    told: Sequence[dict[str, Any]], rows: Sequence[dict[str, str]], name: str
) -> dict[str, Any]:
    """A rejected photo counts as wrong."""
    from sklearn.metrics import f1_score

    pairs = [
        (row[name], found[name]["value"] if name in found else "")
        for row, found in zip(rows, told, strict=True)
        if row[name]
    ]
    gold, values = zip(*pairs, strict=True)
    return {
        "photos": len(pairs),
        "accuracy": sum(a == b for a, b in pairs) / len(pairs),
        "macro_f": float(f1_score(gold, values, average="macro", labels=sorted(set(gold)))),
    }
