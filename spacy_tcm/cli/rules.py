"""``python -m spacy_tcm rules``: association rules between patterns, findings and treatment."""

from pathlib import Path
from typing import Annotated

import typer

from spacy_tcm.cli._common import check_output_file, exits_cleanly

SHOWN = 10


@exits_cleanly
def rules(
    records: Annotated[
        Path,
        typer.Argument(metavar="RECORDS", help="Folder that `structure` filled, or records.jsonl."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="CSV file to write.")],
    min_support: Annotated[float, typer.Option(help="Least share of visits.")] = 0.02,
    min_confidence: Annotated[float, typer.Option(help="Least confidence.")] = 0.5,
    max_length: Annotated[int, typer.Option(min=2, help="Items of a rule, at most.")] = 3,
    consequent: Annotated[
        list[str] | None,
        typer.Option(help="Label (or tongue, pulse field) to be explained; may be given again."),
    ] = None,
) -> None:
    """Mine rules such as finding + finding -> pattern, or pattern -> herb.

    Support, confidence, lift, leverage, conviction, Fisher's p with its false discovery rate q, and
    the confidence of the same rule on raw keywords. A rule is no medical advice.
    """
    from spacy_tcm.records.exports.common import read_records
    from spacy_tcm.records.rules import LABELS, compare, find_rules, write_rules

    check_output_file(out)
    found = find_rules(
        read_records(records),
        min_support=min_support,
        min_confidence=min_confidence,
        max_length=max_length,
        consequents=consequent or LABELS,
    )
    write_rules(out, found)
    for rule in found[:SHOWN]:
        left = " + ".join(term for _, term in rule.antecedent)
        typer.echo(
            f"{left} -> {rule.consequent[1]}: {rule.n_both}/{rule.n_antecedent},"
            f" lift {rule.lift:.2f}, q {rule.q:.2g} {rule.note}".rstrip()
        )
    typer.echo(f"{out}: {len(found):,} rules")
    found_raw = compare(found)
    if found_raw["rules"]:
        typer.echo(
            f"Mean confidence {found_raw['structured']} %; of the same rules on raw keywords"
            f" {found_raw['raw']} % ({found_raw['points']:+} points, {found_raw['relative']:+} %)."
        )
