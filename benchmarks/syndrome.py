"""Do the findings lead to the right pattern? `tcm_syndrome` against two baselines, held out.

    python benchmarks/syndrome.py OUT.json CORPUS_DIR [--model PIPELINE] [--images FOLDER]
        [--save FOLDER]

CORPUS_DIR: corpus/ of `spacy project run convert`, with train.jsonl, tune.jsonl and dev.jsonl, of
which the records with `meta.syndrome` count. PIPELINE finds the entities and looks at the photos;
without it, only the annotated entities and no photos are used. Trained on train with the annotated
entities, and weakly on its passages that name one or two patterns. The settings were chosen by
cross-validation on train and on tune; temperature and threshold are fitted on what is predicted for
the folds of train and for tune. --save: keep a blank pipeline with the component, too.

Training is deterministic: the spread is of records of dev drawn anew (bootstrap).
"""

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy
import spacy
from spacy.tokens import Doc
from spacy.training import Example
from thinc.api import Adam

from spacy_tcm.models.syndrome import read_findings
from spacy_tcm.models.syndrome_elements import SyndromeElements
from spacy_tcm.pipeline.tcm_syndrome import TCMSyndrome, probabilities
from spacy_tcm.training.corpus import annotate
from spacy_tcm.training.reading import read_with_images

STEPS, LEARNING_RATE, L2 = 30, 0.1, 0.1
FOLDS, DRAWS, BINS, TOP = 4, 1000, 5, 5
WAYS = ("gold entities", "predicted entities")
NER = "multimodal_ner"


def read_docs(nlp: Any, path: Path, images: Path, way: str) -> list[Doc]:
    """The records with patterns, through all components before the classifier."""
    docs = []
    for record, image in read_with_images(path, image_root=images):
        if record.get("meta", {}).get("syndrome"):
            doc = nlp.make_doc(record["text"])
            annotate(doc, record)
            doc._.tongue_image = str(image) if image and image.exists() else None
            for name, pipe in nlp.pipeline:
                if name != NER or way != WAYS[0]:
                    doc = pipe(doc)
            docs.append(doc)
    return docs


def read_weak(path: Path) -> list[Doc]:
    """Passages that mark SYNDROME entities and are no records; the annotation alone."""
    nlp, docs = spacy.blank("tcm"), []
    for record, _ in read_with_images(path):
        if not record.get("meta") and any(label == "SYNDROME" for *_, label in record["entities"]):
            docs.append(nlp.make_doc(record["text"]))
            annotate(docs[-1], record)
    return docs


ROWS: dict[tuple[int, bool], Any] = {}


def read_row(pipe: TCMSyndrome, doc: Doc) -> Any:
    """Read once for all folds."""
    key = id(doc), pipe.photo
    if key not in ROWS:
        ROWS[key] = pipe._rows([(doc, doc.ents)])
    return ROWS[key]


def train(docs: Sequence[Doc], photo: bool) -> tuple[Any, TCMSyndrome]:
    """RETURNS: a blank pipeline with the component, trained on whole batches, and the component."""
    nlp = spacy.blank("tcm")
    pipe = nlp.add_pipe("tcm_syndrome", config={"photo": photo})
    docs = [doc for doc in docs if pipe._told(doc)[1]]
    examples = [Example(doc, doc) for doc in docs]
    rows = numpy.vstack([read_row(pipe, doc) for doc in docs])
    pipe._rows = lambda _: rows  # read once, not at every step
    pipe.initialize(lambda: examples, nlp=nlp)
    # The sum over the documents is penalised, so that a smaller fold has the same penalty.
    sgd = Adam(LEARNING_RATE, L2=L2 / len(docs), L2_is_weight_decay=False, grad_clip=0.0)
    for _ in range(STEPS):
        pipe.update(examples, sgd=sgd)
    del pipe._rows
    return nlp, pipe


def gold_names(elements: SyndromeElements, doc: Doc) -> set[str]:
    return {part for name in doc._.syndrome_labels for part in elements.split(name)}


def calibrate(
    pipe: TCMSyndrome, train_docs: Sequence[Doc], weak: Sequence[Doc], tune: Sequence[Doc]
) -> None:
    """On documents that no net saw: each fold of train by a net of the other folds, and tune."""
    folds = numpy.arange(len(train_docs)) % FOLDS
    rows, right = [], []
    for fold in range(FOLDS + 1):
        if fold < FOLDS:
            others = [d for d, f in zip(train_docs, folds, strict=True) if f != fold]
            seen, held_out = train([*others, *weak], pipe.photo)[1], folds == fold
            docs = [d for d, h in zip(train_docs, held_out, strict=True) if h]
        else:
            seen, docs = pipe, list(tune)
        for doc, row in zip(docs, seen.scores(seen.logits(docs)), strict=True):
            rows.append(row)
            right.append(seen.labels[int(row.argmax())] in gold_names(seen.elements, doc))
    pipe.calibrate(rows, right)


Ranked = list[list[tuple[str, float]]]


def by_component(pipe: TCMSyndrome, docs: Sequence[Doc]) -> Ranked:
    return [[(pipe.labels[i], float(row[i])) for i in pipe.best(row)] for row in pipe.predict(docs)]


def most_frequent(elements: SyndromeElements, seen: Sequence[Doc], docs: Sequence[Doc]) -> Ranked:
    counts = Counter(name for doc in seen for name in sorted(gold_names(elements, doc)))
    top = [(name, count / len(seen)) for name, count in counts.most_common(TOP)]
    return [top for _ in docs]


def nearest(elements: SyndromeElements, seen: Sequence[Doc], docs: Sequence[Doc]) -> Ranked:
    """The patterns of the records with most shared findings (Jaccard), the nearest first."""

    def findings(doc: Doc) -> set[str]:
        found = read_findings(doc, elements, photo=False)
        return {name for name in found if name.startswith(("text:", "舌象.", "脉象."))}

    known = [(findings(doc), sorted(gold_names(elements, doc))) for doc in seen]
    ranked = []
    for doc in docs:
        own = findings(doc)
        near = sorted(((len(own & f) / max(len(own | f), 1), i) for i, (f, _) in enumerate(known)))
        names = [(name, share) for share, i in reversed(near) for name in known[i][1]]
        first: dict[str, float] = {}
        for name, share in names:
            first.setdefault(name, share)
        ranked.append(list(first.items())[:TOP])
    return ranked


def score(elements: SyndromeElements, docs: Sequence[Doc], ranked: Ranked) -> dict[str, Any]:
    """Shares of the documents; spread: the standard deviation over DRAWS of the documents."""
    rows = []
    for doc, found in zip(docs, ranked, strict=True):
        gold = gold_names(elements, doc)
        sets = {elements.parse(name) for name in gold}
        told = [(name in gold, elements.parse(name) in sets) for name, _ in found]
        wanted = {e for s in sets for e in s}
        of_first = set(elements.parse(found[0][0]))
        hits = [any(t[way] for t in told[:k]) for way in (0, 1) for k in (1, 3, 5)]
        rows.append([*hits, len(of_first & wanted), len(of_first), len(wanted)])
    table = numpy.array(rows, dtype="float64")

    def summary(t: numpy.ndarray) -> list[float]:
        right, given, wanted = t[:, 6:].sum(axis=0)
        return [*t[:, :6].mean(axis=0), 2 * right / max(given + wanted, 1)]

    generator = numpy.random.default_rng(0)
    draws = [summary(table[generator.integers(0, len(table), len(table))]) for _ in range(DRAWS)]
    names = ("top1", "top3", "top5", "same_top1", "same_top3", "same_top5", "elements_f")
    values = zip(names, summary(table), numpy.std(draws, axis=0), strict=True)
    return {name: {"mean": float(mean), "sd": float(sd)} for name, mean, sd in values}


def confidence(pipe: TCMSyndrome, docs: Sequence[Doc], ranked: Ranked) -> dict[str, float | None]:
    """Expected calibration error of the first pattern, in bins of equally many documents, and what
    abstention does."""
    p = numpy.array([found[0][1] for found in ranked])
    right = numpy.array(
        [f[0][0] in gold_names(pipe.elements, d) for d, f in zip(docs, ranked, strict=True)]
    )
    top5 = numpy.array(
        [
            any(name in gold_names(pipe.elements, d) for name, _ in f)
            for d, f in zip(docs, ranked, strict=True)
        ]
    )
    raw = numpy.array([row.max() for row in probabilities(pipe.scores(pipe.logits(docs)), 1.0)])
    told = p >= pipe.cfg["threshold"]

    def error(values: numpy.ndarray) -> float:
        bins = numpy.array_split(numpy.argsort(values, kind="stable"), BINS)
        return float(sum(len(b) * abs(values[b].mean() - right[b].mean()) for b in bins) / len(p))

    return {
        "calibration_error_raw": error(raw),
        "calibration_error": error(p),
        "coverage": float(told.mean()),
        "told_top1": float(right[told].mean()) if told.any() else None,
        "told_top5": float(top5[told].mean()) if told.any() else None,
        "silent_top1": float(right[~told].mean()) if not told.all() else None,
        "silent_top5": float(top5[~told].mean()) if not told.all() else None,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--images", type=Path, help="default: CORPUS_DIR/images")
    parser.add_argument("--save", type=Path)
    args = parser.parse_args()
    images = args.images or args.corpus / "images"
    nlp = spacy.load(args.model) if args.model else spacy.blank("tcm")
    if "tcm_fields" not in nlp.pipe_names:
        nlp.add_pipe("tcm_fields")
    if "tcm_context" not in nlp.pipe_names:
        nlp.add_pipe("tcm_context", before="tcm_fields")
    parts = [("train", WAYS[0]), ("tune", WAYS[0]), ("dev", WAYS[0])]
    if args.model:
        parts += [("tune", WAYS[1]), ("dev", WAYS[1])]
    docs = {(p, w): read_docs(nlp, args.corpus / f"{p}.jsonl", images, w) for p, w in parts}
    seen = docs["train", WAYS[0]]
    weak = read_weak(args.corpus / "train.jsonl")
    elements = SyndromeElements.from_path()
    trained = {}
    for photo in (True, False) if args.model else (False,):
        name = "tcm_syndrome" if photo == bool(args.model) else "tcm_syndrome, no photo"
        blank, pipe = train([*seen, *weak], photo)
        if name == "tcm_syndrome":
            calibrate(pipe, seen, weak, docs["tune", WAYS[0]])
        trained[name] = pipe
        if args.save and name == "tcm_syndrome":
            blank.to_disk(args.save)
    rows: dict[str, Any] = {}
    for (part, way), held_out in docs.items():
        if part == "train":
            continue
        found = {
            "most frequent": most_frequent(elements, seen, held_out),
            "nearest record": nearest(elements, seen, held_out),
        }
        found |= {name: by_component(pipe, held_out) for name, pipe in trained.items()}
        rows.setdefault(part, {})[way] = {
            name: score(elements, held_out, ranked)
            | (confidence(trained[name], held_out, ranked) if name == "tcm_syndrome" else {})
            for name, ranked in found.items()
        }
    first = next(iter(trained.values()))
    known = set(first.labels)
    report = {
        "records": {part: len(found) for (part, way), found in docs.items() if way == WAYS[0]},
        "patterns_seen": sum(count > 0 for _, count in first.cfg["candidates"]),
        "candidates": len(known),
        "reachable": {
            part: float(numpy.mean([bool(gold_names(elements, d) & known) for d in found]))
            for (part, way), found in docs.items()
            if way == WAYS[0] and part != "train"
        },
        "temperature": first.cfg["temperature"],
        "threshold": first.cfg["threshold"],
        "rows": rows,
    }
    args.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf8")
    for part, ways in rows.items():
        for way, found in ways.items():
            for name, s in found.items():
                figures = {n: round(v["mean"], 3) for n, v in s.items() if isinstance(v, dict)}
                print(part, way, name, figures)


if __name__ == "__main__":
    main()
