"""``python -m spacy_tcm deid``: masked copies of clinical notes."""

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from spacy_tcm.cli._common import (
    check_apart,
    check_output_file,
    check_output_folder,
    exits_cleanly,
)
from spacy_tcm.errors import Errors, RecordError


class Action(str, Enum):
    placeholder = "placeholder"
    mask = "mask"
    surrogate = "surrogate"
    shift = "shift"


@exits_cleanly
def deid(
    input_path: Annotated[
        Path,
        typer.Argument(metavar="INPUT", help="A .txt, .jsonl or .csv file, or a folder of them."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the masked copies.")],
    action: Annotated[
        Action,
        typer.Option(
            help="placeholder: [姓名]. mask: ****, offsets stay. surrogate: invented values, the "
            "same for the same value of a patient. shift: dates moved, the others as placeholders."
        ),
    ] = Action.placeholder,
    key_file: Annotated[
        Path | None,
        typer.Option(
            help="At least 16 secret bytes, from which surrogates, shifts and ids follow. Default: "
            "random ones, for this run alone."
        ),
    ] = None,
    map_file: Annotated[
        Path | None,
        typer.Option("--map", help="Also write, apart from OUT, what was replaced. Keep it safe."),
    ] = None,
    table: Annotated[
        Path | None, typer.Option(help="A table of your own in place of resources/deid.json.")
    ] = None,
    keep_ids: Annotated[
        bool, typer.Option("--keep-ids", help="Ids stay. Default: pseudonyms, by the key.")
    ] = False,
    images: Annotated[
        Path | None, typer.Option(help="Folder of the photos, for --keep-image-names.")
    ] = None,
    keep_image_names: Annotated[
        bool,
        typer.Option(
            "--keep-image-names",
            help="The copies name the photos, which may tell who it is. Default: no photo.",
        ),
    ] = False,
    text_field: Annotated[str, typer.Option(help="JSON key or CSV column of the text.")] = "text",
    id_field: Annotated[str, typer.Option(help="The same for the id of the record.")] = "id",
    image_field: Annotated[str, typer.Option(help="The same for the photo.")] = "image",
    patient_field: Annotated[
        str, typer.Option(help="The same for the patient, if there is one: it need not be.")
    ] = "patient",
    records_per_line: Annotated[
        bool,
        typer.Option("--records-per-line", help="In .txt files each line is a record."),
    ] = False,
) -> None:
    """Replace what tells who a patient is: names, numbers, addresses, dates, institutions.

    Writes records.jsonl, errors.jsonl and audit.json (counts alone). No rule finds everything: look
    at a sample before you pass the copies on. Exit code: 1 if some records could not be read.
    """
    from spacy_tcm.deid.find import IdentifierFinder
    from spacy_tcm.deid.replace import Deidentifier, read_key
    from spacy_tcm.records.deid import write_masked
    from spacy_tcm.records.inputs import InputOptions, find_files, read_inputs

    check_output_folder(out)
    check_apart(input_path, out)
    if map_file is not None:
        check_output_file(map_file)
    find_files(input_path)
    key = None if key_file is None else read_key(key_file)
    deidentifier = Deidentifier(IdentifierFinder.from_path(table), action.value, key)
    if keep_image_names and images is None:
        raise RecordError(Errors.E639)
    options = InputOptions(
        images=images,
        text_field=text_field,
        id_field=id_field,
        image_field=image_field,
        per_line=records_per_line,
        patient_field=patient_field,
    )
    items = read_inputs(input_path, options)
    audit = write_masked(
        items,
        out,
        deidentifier,
        map_path=map_file,
        keep_ids=keep_ids,
        keep_image_names=keep_image_names,
    )
    typer.echo(
        f"{out}: {audit['records']} records, {audit['identifiers']} identifiers replaced, "
        f"{audit['errors']} records not read"
    )
    if audit["photos"] and not keep_image_names:
        typer.echo(
            f"{audit['photos']} records have a photo, which the copies do not name, since names of "
            "photos often tell who it is: --images DIR --keep-image-names keeps them."
        )
    if audit["errors"]:
        raise typer.Exit(1)
