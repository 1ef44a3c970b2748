"""negspacy and edsnlp with our cues, on the Docs of `context.py`; run by the peers' interpreter.

    python benchmarks/context_worker.py JOB.json OUT.json

JOB: {"cues", "records": [{"text", "entities": [[start, end, label]]}]}; OUT: per peer, per record,
per entity the names of its qualifiers.
"""

import json
import sys
from typing import Any

import spacy
from spacy.tokens import Doc, Span
from spacy.util import DummyTokenizer


class Characters(DummyTokenizer):
    """One token a character."""

    def __init__(self, vocab: Any):
        self.vocab = vocab

    def __call__(self, text: str) -> Doc:
        return Doc(self.vocab, words=list(text), spaces=[False] * len(text))


def make_docs(nlp: Any, records: list[dict[str, Any]]) -> list[Doc]:
    """One token a character, sentences at 。；;！？ and line ends: the same for all."""
    docs = []
    for record in records:
        text = record["text"]
        starts = [at == 0 or text[at - 1] in "。；;！!？?\n" for at in range(len(text))]
        doc = Doc(nlp.vocab, words=list(text), spaces=[False] * len(text), sent_starts=starts)
        spans = [Span(doc, s, e, label=label) for s, e, label in record["entities"]]
        doc.set_ents(spans)
        docs.append(doc)
    return docs


def run_negspacy(cues: dict[str, list[str]], records: list[dict[str, Any]]) -> list[list[list]]:
    import negspacy.negation  # noqa: F401

    nlp = spacy.blank("xx")
    nlp.tokenizer = Characters(nlp.vocab)
    terms = {
        "pseudo_negations": cues["pseudo"],
        "preceding_negations": cues["negation_before"],
        "following_negations": cues["negation_after"],
        "termination": cues["stops"],
    }
    negex = nlp.add_pipe("negex", config={"neg_termset": terms})
    return [
        [["absent"] if ent._.negex else [] for ent in negex(doc).ents]
        for doc in make_docs(nlp, records)
    ]


def run_edsnlp(cues: dict[str, list[str]], records: list[dict[str, Any]]) -> list[list[list]]:
    import edsnlp  # noqa: F401
    from edsnlp.pipes.qualifiers.family.family import FamilyContextQualifier
    from edsnlp.pipes.qualifiers.history.history import HistoryQualifier
    from edsnlp.pipes.qualifiers.hypothesis.hypothesis import HypothesisQualifier
    from edsnlp.pipes.qualifiers.negation.negation import NegationQualifier

    nlp = spacy.blank("xx")
    nlp.tokenizer = Characters(nlp.vocab)
    common = {"attr": "TEXT", "termination": cues["stops"]}
    pipes = [
        NegationQualifier(
            nlp,
            pseudo=cues["pseudo"],
            preceding=cues["negation_before"],
            preceding_regex=[],
            following=cues["negation_after"],
            verbs=[],
            **common,
        ),
        HypothesisQualifier(
            nlp,
            pseudo=[],
            preceding=cues["possible_before"],
            following=cues["possible_after"],
            verbs_eds=[],
            verbs_hyp=[],
            **common,
        ),
        HistoryQualifier(nlp, history=cues["past"], **common),
        FamilyContextQualifier(nlp, family=cues["family"], use_sections=False, **common),
    ]
    results = []
    for doc in make_docs(nlp, records):
        for pipe in pipes:
            doc = pipe(doc)
        flags = ("negation", "absent"), ("hypothesis", "possible"), ("history", "past")
        names = (*flags, ("family", "family"))
        results.append([[n for key, n in names if ent._.get(key)] for ent in doc.ents])
    return results


def main() -> None:
    with open(sys.argv[1], encoding="utf8") as file:
        job = json.load(file)
    found = {}
    for name, run in (("negspacy", run_negspacy), ("edsnlp", run_edsnlp)):
        found[name] = run(job["cues"], job["records"])
    with open(sys.argv[2], "w", encoding="utf8") as file:
        json.dump(found, file)


if __name__ == "__main__":
    main()
