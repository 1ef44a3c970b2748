"""``python -m spacy_tcm export``: structured records in the formats of other programs."""

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from spacy_tcm.cli._common import check_output_folder, exits_cleanly


class Format(str, Enum):
    fhir = "fhir"
    turtle = "turtle"
    nt = "nt"
    json_ld = "json-ld"
    neo4j = "neo4j"
    csv = "csv"
    parquet = "parquet"
    brat = "brat"
    doccano = "doccano"
    label_studio = "label-studio"
    docbin = "docbin"
    annotated = "annotated"


@exits_cleanly
def export(
    records: Annotated[
        Path,
        typer.Argument(metavar="RECORDS", help="Folder that `structure` filled, or records.jsonl."),
    ],
    to: Annotated[list[Format], typer.Option("--to", help="A format; may be given again.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write to.")],
    everything: Annotated[
        bool,
        typer.Option(
            help="In graphs: also what is denied, doubted, past, planned or of the family. FHIR "
            "and annotations always have it, marked as such."
        ),
    ] = False,
    check: Annotated[
        bool, typer.Option(help="Check FHIR by fhir.resources, RDF by its SHACL shapes.")
    ] = True,
) -> None:
    """Write structured records as FHIR, RDF, Neo4j, tables, annotations or DocBin.

    FHIR is R4, a bundle a visit. brat, doccano, label-studio: to be corrected by people, and read
    back by `convert --source`. annotated: as records to train on.
    """
    from spacy_tcm.records.exports.write import write_export

    check_output_folder(out)
    for form in dict.fromkeys(to):
        for path in write_export(records, out, form.value, everything=everything, check=check):
            typer.echo(f"{form.value}: {path}")
