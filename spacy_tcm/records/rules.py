"""Association rules between patterns, findings and treatment, over many records.

A transaction is one visit: what its note affirms, now, of the patient, by preferred terms. Rules
are found by FP-growth (Han et al. 2000, in mlxtend), and tested by Fisher's exact test, with the
false discovery rate of Benjamini and Hochberg (1995).
"""

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy

from spacy_tcm.errors import Errors, ModelError, RecordError
from spacy_tcm.records.exports.common import Record, concept, is_fact

FINDINGS = ("SYMPTOM", "SIGN", "TONGUE", "PULSE")
LABELS = (*FINDINGS, "TCM_DISEASE", "SYNDROME", "PRINCIPLE", "FORMULA", "HERB")
# Of tongue and pulse, the values of these fields say more than their many wordings.
FIELDS = ("舌象.舌色", "舌象.舌形", "舌象.苔色", "舌象.苔质", "脉象.脉")
# A rule that tells hardly more than its consequent alone.
WEAK_LIFT = 1.1
WEAK = "lift near 1: hardly more than chance"

# (kind, preferred term), such as ("HERB", "黄芪") or ("舌象.舌色", "红").
Item = tuple[str, str]


@dataclass(frozen=True)
class Rule:
    """``antecedent -> consequent`` over n visits. Counts: of visits with the one, the other, both.

    support: of both together, a share of all visits. confidence: of visits with the antecedent, the
    share that have the consequent. lift: that by the consequent's own share. leverage: support
    beyond what chance would give. conviction: how much oftener the rule would fail by chance, None
    if it never fails. p: of Fisher's exact test, one-sided. q: the same, as a false discovery rate
    over all rules. raw_confidence: the same rule's, where items are words found anywhere in the
    text; None if its antecedent is never found so, as values of fields are not. note: a
    warning, or nothing.
    """

    antecedent: tuple[Item, ...]
    consequent: Item
    n: int
    n_antecedent: int
    n_consequent: int
    n_both: int
    support: float
    confidence: float
    lift: float
    leverage: float
    conviction: float | None
    p: float
    q: float
    raw_confidence: float | None = None
    note: str = ""


def items_of(record: Record, labels: Sequence[str] = LABELS) -> set[Item]:
    """The transaction of a record."""
    found = {
        (entity["label"], concept(entity))
        for entity in record["entities"]
        if entity["label"] in labels and is_fact(entity)
    }
    for field in FIELDS:
        if field in record["fields"]:
            kind = "PULSE" if field.startswith("脉") else "TONGUE"
            if kind in labels:
                # Wordings give way to values.
                found = {item for item in found if item[0] != kind}
                found |= {(field, value) for value in record["fields"][field]["value"]}
    return found


def find_rules(
    records: Iterable[Record],
    *,
    min_support: float = 0.02,
    min_confidence: float = 0.5,
    max_length: int = 3,
    labels: Sequence[str] = LABELS,
    consequents: Sequence[str] = LABELS,
) -> list[Rule]:
    """Rules with one consequent, most certain first (q, then lift).

    max_length: items of a rule, both sides together. labels: of entities that are items.
    consequents: the labels (or fields) that a consequent may have.
    RAISES ModelError: mlxtend is not there. RecordError: a share is out of range, or no record has
        an item.
    """
    for name, value in (("min_support", min_support), ("min_confidence", min_confidence)):
        if not 0 < value <= 1:
            raise RecordError(Errors.E595.format(name=name, value=value))
    transactions, texts = [], []
    for record in records:
        transactions.append(items_of(record, labels))
        texts.append(record["text"])
    if not any(transactions):
        raise RecordError(Errors.E596)
    counted = list(_count(transactions, min_support, min_confidence, max_length))
    wanted = [c for c in counted if c[1][0] in consequents]
    return sorted(
        _test(wanted, transactions, texts),
        key=lambda rule: (rule.q, -rule.lift, rule.antecedent, rule.consequent),
    )


def _count(
    transactions: list[set[Item]], min_support: float, min_confidence: float, max_length: int
) -> Iterator[tuple[tuple[Item, ...], Item]]:
    """Antecedents and consequents of the rules that are frequent and confident enough."""
    try:
        import pandas
        from mlxtend.frequent_patterns import association_rules, fpgrowth
        from mlxtend.preprocessing import TransactionEncoder
    except ModuleNotFoundError as error:
        raise ModelError(Errors.E590.format(package=error.name)) from None
    encoder = TransactionEncoder()
    names = [[_name(item) for item in sorted(items)] for items in transactions]
    # Sparse: of thousands of terms, a visit has some dozens.
    matrix = encoder.fit(names).transform(names, sparse=True)
    table = pandas.DataFrame.sparse.from_spmatrix(matrix, columns=encoder.columns_)
    sets = fpgrowth(table, min_support=min_support, use_colnames=True, max_len=max_length)
    if sets.empty:
        return
    with numpy.errstate(all="ignore"):  # it divides by zero for what is in every visit
        rules = association_rules(sets, metric="confidence", min_threshold=min_confidence)
    for antecedent, consequent in zip(rules["antecedents"], rules["consequents"], strict=True):
        if len(consequent) == 1:
            yield tuple(sorted(map(_item, antecedent))), _item(next(iter(consequent)))


def _test(
    rules: list[tuple[tuple[Item, ...], Item]], transactions: list[set[Item]], texts: list[str]
) -> Iterator[Rule]:
    if not rules:
        return
    from scipy.stats import false_discovery_control, hypergeom

    holders: dict[Item, set[int]] = {}
    for number, items in enumerate(transactions):
        for item in items:
            holders.setdefault(item, set()).add(number)
    saying = {
        item: set() if item[0] in FIELDS else {n for n, text in enumerate(texts) if item[1] in text}
        for antecedent, consequent in rules
        for item in (*antecedent, consequent)
    }
    n = len(transactions)
    counts = []
    for antecedent, consequent in rules:
        first = set.intersection(*(holders[item] for item in antecedent))
        counts.append((len(first), len(holders[consequent]), len(first & holders[consequent])))
    # The upper tail of the hypergeometric distribution is Fisher's test, one-sided.
    tails = [float(hypergeom.sf(both - 1, n, a, c)) for a, c, both in counts]
    shares = false_discovery_control(tails, method="bh")
    for (antecedent, consequent), (a, c, both), p, q in zip(
        rules, counts, tails, shares, strict=True
    ):
        confidence, expected = both / a, c / n
        said = set.intersection(*(saying[item] for item in antecedent))
        yield Rule(
            antecedent,
            consequent,
            *(n, a, c, both),
            support=both / n,
            confidence=confidence,
            lift=confidence / expected,
            leverage=both / n - a / n * expected,
            conviction=None if both == a else (1 - expected) / (1 - confidence),
            p=p,
            q=float(q),
            raw_confidence=len(said & saying[consequent]) / len(said) if said else None,
            note="" if confidence / expected >= WEAK_LIFT else WEAK,
        )


def compare(rules: Sequence[Rule]) -> dict[str, float | int]:
    """How much more confident rules are on structured transactions than on raw keywords: of those
    that raw keywords know, ``rules``, mean ``raw`` and ``structured`` confidence, the difference
    in ``points`` (per cent) and ``relative`` to raw (per cent)."""
    known = [(r.raw_confidence, r.confidence) for r in rules if r.raw_confidence is not None]
    if not known:
        return {"rules": 0}
    raw = sum(pair[0] for pair in known) / len(known)
    structured = sum(pair[1] for pair in known) / len(known)
    return {
        "rules": len(known),
        "raw": round(100 * raw, 2),
        "structured": round(100 * structured, 2),
        "points": round(100 * (structured - raw), 2),
        "relative": round(100 * (structured / raw - 1), 2) if raw else 0.0,
    }


def write_rules(path: Path, rules: Iterable[Rule]) -> None:
    """As CSV, items as KIND:TERM, joined by " + "; with a byte order mark for spreadsheets."""
    with path.open("w", encoding="utf-8-sig", newline="") as out:
        writer = csv.DictWriter(out, [field.name for field in fields(Rule)])
        writer.writeheader()
        for rule in rules:
            row: dict[str, Any] = asdict(rule)
            row["antecedent"] = " + ".join(map(_name, rule.antecedent))
            row["consequent"] = _name(rule.consequent)
            numbers = {k: f"{v:.6g}" for k, v in row.items() if isinstance(v, float)}
            writer.writerow({**row, **numbers})


def _name(item: Item) -> str:
    return ":".join(item)


def _item(name: str) -> Item:
    kind, _, term = name.partition(":")
    return kind, term
