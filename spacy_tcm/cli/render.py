"""``python -m spacy_tcm render``: rendered tongue photos for a corpus."""

from pathlib import Path
from typing import Annotated

import typer
from tqdm import tqdm

from spacy_tcm.cli._common import check_output_file, check_output_folder, exits_cleanly
from spacy_tcm.errors import Warnings


@exits_cleanly
def render(
    corpus: Annotated[Path, typer.Argument(help="Records with meta.tongue (.jsonl or folder).")],
    out_dir: Annotated[Path, typer.Argument(help="Folder for the photos.")],
    corpus_out: Annotated[
        Path, typer.Option(help="The .jsonl to write: the records with image and tongue.")
    ],
    size: Annotated[int, typer.Option(min=32, help="Side of a photo in pixels.")] = 352,
    seed: Annotated[int, typer.Option(min=0, help="Another seed draws other photos.")] = 0,
    share: Annotated[
        float, typer.Option(min=0, max=1, help="Share of the records that get a photo.")
    ] = 1.0,
) -> None:
    """Draw a tongue photo for each record that describes the tongue.

    These are rendered pictures, not photographs. Their paths in the new corpus are relative to
    OUT_DIR.
    """
    from spacy_tcm.training.conversion import write_jsonl
    from spacy_tcm.training.reading import read_records
    from spacy_tcm.training.rendering import render_records

    check_output_folder(out_dir)
    check_output_file(corpus_out)
    records = list(read_records(corpus))
    rendered = render_records(records, out_dir, size=size, seed=seed, share=share)
    done = list(tqdm(rendered, total=len(records), unit=" records", desc="Rendering"))
    corpus_out.parent.mkdir(parents=True, exist_ok=True)
    write_jsonl(corpus_out, done)
    photos = sum(new is not old for old, new in zip(records, done, strict=True))
    typer.echo(f"{corpus_out}: {len(done)} records, {photos} rendered photos in {out_dir}")
    if not any(record.get("meta", {}).get("tongue") for record in records):
        typer.echo(Warnings.W531.format(corpus=corpus), err=True)
