"""``python -m spacy_tcm convert``: verify records and write them as JSON lines or .spacy."""

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from spacy_tcm.cli._common import check_output_folder, exits_cleanly


class Format(str, Enum):
    jsonl = "jsonl"
    spacy = "spacy"


class Source(str, Enum):
    records = "records"
    brat = "brat"
    doccano = "doccano"
    label_studio = "label-studio"


@exits_cleanly
def convert(
    inputs: Annotated[
        list[Path],
        typer.Argument(metavar="INPUT...", help="Files (.txt, .jsonl, .spacy) or folders."),
    ],
    out: Annotated[Path, typer.Argument(help="Folder to write to.")],
    split: Annotated[
        Path | None, typer.Option(help="JSON of part -> file names without ending.")
    ] = None,
    fields: Annotated[
        Path | None, typer.Option(help="Field definitions that values must keep to.")
    ] = None,
    label_map: Annotated[
        Path | None, typer.Option(help="JSON of other label names -> ours, or null to drop them.")
    ] = None,
    format: Annotated[Format, typer.Option(help="What to write.")] = Format.jsonl,
    source: Annotated[
        Source, typer.Option(help="What wrote the input: our own records, or an annotation tool.")
    ] = Source.records,
) -> None:
    """Verify annotated records and write them as JSON lines or .spacy.

    One file per input file, or per part of a split. If anything is wrong, nothing is written.
    With --source brat, an input is a folder of .txt and .ann files.
    """
    from spacy_tcm.training.conversion import convert_annotations, convert_records

    check_output_folder(out)
    convert = convert_records if source is Source.records else convert_annotations(source.value)
    written = convert(
        inputs, out, split=split, fields=fields, label_map=label_map, docbin=format is Format.spacy
    )
    for path, records in written.items():
        entities = sum(len(record["entities"]) for record in records)
        typer.echo(f"{path}: {len(records)} records, {entities} entities")
