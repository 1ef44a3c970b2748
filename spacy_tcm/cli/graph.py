"""``python -m spacy_tcm graph`` and ``query``: a knowledge graph, and questions to it."""

import csv
import re
import sys
from pathlib import Path
from typing import Annotated

import typer

from spacy_tcm.cli._common import check_output_folder, exits_cleanly
from spacy_tcm.errors import Errors, RecordError


@exits_cleanly
def graph(
    records: Annotated[
        Path,
        typer.Argument(metavar="RECORDS", help="Folder that `structure` filled, or records.jsonl."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the graph.")],
    everything: Annotated[
        bool, typer.Option(help="Also what is denied, doubted, past, planned or of the family.")
    ] = False,
) -> None:
    """Build a knowledge graph of many records, to be asked by `query`, or by any SPARQL program."""
    from spacy_tcm.records.exports.common import read_records
    from spacy_tcm.records.graph import build_graph

    check_output_folder(out)
    count = build_graph(read_records(records), out, facts_only=not everything)
    typer.echo(f"{out}: {count:,} triples")


@exits_cleanly
def query(
    graph: Annotated[Path, typer.Argument(metavar="GRAPH", help="Folder that `graph` has made.")],
    question: Annotated[
        str | None,
        typer.Argument(metavar="QUESTION", help="Name of a saved query, or a file with SPARQL."),
    ] = None,
    values: Annotated[
        list[str] | None, typer.Option("--set", help="VARIABLE=TEXT that must hold.")
    ] = None,
) -> None:
    """Put a question to a knowledge graph; without one, list the saved queries. Prints CSV."""
    from spacy_tcm.records.graph import ask, check_store, describe, saved_queries

    if question is None:
        for name, text in saved_queries().items():
            typer.echo(f"{name}: {describe(text)}")
        return
    check_store(graph)
    pairs = [value.partition("=") for value in values or []]
    for name, sign, _ in pairs:
        if not sign or not name.isidentifier():
            raise RecordError(Errors.E597)
    saved = saved_queries()
    if question not in saved and not Path(question).is_file():
        cause = "no saved query or file is called so"
        raise RecordError(Errors.E593.format(cause=cause, known=", ".join(saved)))
    text = saved.get(question) or Path(question).read_text(encoding="utf8")
    names, rows = ask(graph, text, {name: value for name, _, value in pairs})
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(names)
    writer.writerows(rows)
    limit = re.search(r"\bLIMIT\s+(\d+)\s*$", text, re.I)
    if limit and len(rows) == int(limit[1]):
        typer.echo(f"Only the first {limit[1]} rows: the query ends with LIMIT.", err=True)
