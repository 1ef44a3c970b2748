"""What several pipelines find together: the best path of the mean of their tag posteriors.

    python benchmarks/ensemble.py OUT.json CORPUS_DIR GOLD_DIR NAME=PIPELINE[,PIPELINE...] ...

CORPUS_DIR, GOLD_DIR: as for ner.py, which keeps pipelines with --keep. It shows what they have to
teach another: one pipeline as good would cost a part of their time. Scored on the dev parts.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy
import spacy
import torch
from ner import REAL, WRITTEN
from spacy.language import Language
from spacy.tokens import Doc, Span

from spacy_tcm.decoding import Potentials, best_paths
from spacy_tcm.nets.crf import BioesCRF, CRFArch
from spacy_tcm.pipeline.teachers import Teachers
from spacy_tcm.tags import tags_to_spans
from spacy_tcm.training.evaluation import evaluate_records
from spacy_tcm.training.reading import read_records, read_with_images


def make_ensemble(name: str, paths: list[str]) -> Language:
    """The first pipeline, with the entities of all of them. name: given to no other."""
    nlp = spacy.load(paths[0])
    labels = nlp.get_pipe("multimodal_ner").labels
    teachers = Teachers(paths, labels)
    legal = BioesCRF(CRFArch(len(labels)))
    with torch.no_grad():  # what may follow what, and no preference beyond
        for parameter in legal.parameters():
            parameter.zero_()
        potentials = Potentials(*(p.numpy() for p in legal.potentials()))

    def annotate(doc: Doc) -> Doc:
        (posterior,) = teachers.posteriors([doc])
        if len(doc):
            scores = numpy.log(posterior + 1e-8)[None]
            (path,) = best_paths(potentials, scores, [len(doc)])
            doc.set_ents([Span(doc, s, e, labels[k]) for s, e, k in tags_to_spans(path)])
        return doc

    Language.component(name, func=annotate)
    nlp.add_pipe(name)
    return nlp


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("gold", type=Path)
    parser.add_argument("ensembles", nargs="+", metavar="NAME=PIPELINE[,PIPELINE...]")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if not (args.gold / "gold23.dev.jsonl").is_file():
        raise SystemExit(f"Skipped: the real cases are not in {args.gold}.")
    training = [args.corpus / "train.jsonl", args.gold / "gold23.train.jsonl"]
    scored = {WRITTEN: args.corpus / "dev.jsonl", REAL: args.gold / "gold23.dev.jsonl"}
    rows: dict[str, Any] = {}
    for ensemble in args.ensembles:
        name, _, paths = ensemble.partition("=")
        nlp = make_ensemble(name, paths.split(","))
        rows[name] = {"pipelines": paths.count(",") + 1}
        for part, path in scored.items():
            records = read_with_images([path], image_root=args.corpus / "images")
            found = evaluate_records(nlp, records, training=read_records(training))
            rows[name][part] = {"f": found["exact"]["f"], "rare_recall": found["rare"]["recall"]}
        print(name, rows[name], flush=True)
        args.out.write_text(json.dumps({"rows": rows}, indent=1), encoding="utf8")


if __name__ == "__main__":
    main()
