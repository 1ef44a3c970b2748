"""``python -m spacy_tcm structure``: notes and photos in, structured records out."""

from pathlib import Path
from typing import Annotated

import typer
from spacy.language import Language
from tqdm import tqdm

from spacy_tcm.batching import Counters
from spacy_tcm.cli._common import check_apart, limit_threads, load_pipeline
from spacy_tcm.errors import Errors, ModelError, RecordError, TCMError
from spacy_tcm.language import TraditionalChineseMedicine, set_memory_budget


def structure(
    input_path: Annotated[
        Path,
        typer.Argument(metavar="INPUT", help="A .txt, .jsonl or .csv file, or a folder of them."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the results.")],
    images: Annotated[
        Path | None,
        typer.Option("--images", "-i", help="Folder with the tongue photos; without it, no photo."),
    ] = None,
    model: Annotated[
        str, typer.Option("--model", "-m", help="Installed pipeline, or folder of one.")
    ] = "tcm_multimodal",
    html: Annotated[bool, typer.Option("--html", help="Also write page.html to look at.")] = False,
    heat_maps: Annotated[
        bool,
        typer.Option("--heat-maps", help="Tell and draw where in the photo attributes were seen."),
    ] = False,
    crop_only: Annotated[
        bool,
        typer.Option("--crop-only", help="Of photos, keep no more than the tongue, cut out."),
    ] = False,
    keep_image_names: Annotated[
        bool,
        typer.Option(
            "--keep-image-names",
            help="Name photos as their files, which may tell the patient's name. Default: a hash.",
        ),
    ] = False,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Records at a time. Default: the pipeline's.")
    ] = None,
    n_process: Annotated[int, typer.Option(min=1, help="Worker processes.")] = 1,
    memory_budget: Annotated[
        str | None,
        typer.Option(
            help="Most memory that this process may take, such as 1GB: batches are packed to fit, "
            "and --batch-size means nothing. Default: the pipeline's, or no budget."
        ),
    ] = None,
    text_field: Annotated[str, typer.Option(help="JSON key or CSV column of the text.")] = "text",
    id_field: Annotated[str, typer.Option(help="The same for the id of the record.")] = "id",
    image_field: Annotated[
        str,
        typer.Option(
            help="The same for the photo, a path under --images. Where a record names none, "
            "ID.jpg, .jpeg, .png or .webp is used if it is there."
        ),
    ] = "image",
    records_per_line: Annotated[
        bool,
        typer.Option(
            "--records-per-line",
            help="In .txt files each line is a record. Default: each file is one.",
        ),
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="No progress bar and no table.")
    ] = False,
) -> None:
    """Turn clinical notes and tongue photos into structured records.

    Writes records.jsonl (one JSON object per record, in order), errors.jsonl, warnings.jsonl and
    summary.json, in place of those of an earlier run; with --html or --crop-only also photos/, with
    --heat-maps also heat_maps/: pixels alone, no file name, date or place. Exit code: 0 all went
    well, 1 some records failed (the results are there), 2 the job could not start.
    """
    limit_threads(n_process)
    from spacy_tcm.records.inputs import InputOptions, count_inputs, find_files, read_inputs
    from spacy_tcm.records.job import annotate, write_results
    from spacy_tcm.records.page import count_pages, remove_pages, write_pages
    from spacy_tcm.records.pictures import Pictures
    from spacy_tcm.records.terminal import format_summary

    options = InputOptions(images, text_field, id_field, image_field, records_per_line)
    try:
        left_out = find_files(input_path)[1]
        _check_folders(input_path, images, out)
        nlp = load_pipeline(model)
        _switch_on(nlp, model, heat_maps, crop_only)
        batching = _keep_budget(nlp, memory_budget, n_process)
        _make_folder(out)  # last, so that a job that cannot start leaves none behind
    except TCMError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None

    total = None if quiet else count_inputs(input_path, options)
    items = read_inputs(input_path, options)
    with Pictures(out, photos=html or crop_only, heat_maps=heat_maps) as pictures:
        entries = annotate(
            nlp,
            items,
            batch_size=batch_size,
            n_process=n_process,
            keep_image_names=keep_image_names,
            pictures=pictures,
        )
        entries = tqdm(entries, total=total, unit="rec", disable=quiet)
        summary = write_results(entries, out, nlp.meta, batching)
    remove_pages(out)  # of an earlier run: they would contradict the new results
    page = None
    if html:
        pages = write_pages(out)
        n_pages = count_pages(summary.records)
        page, *_ = tqdm(pages, total=n_pages, unit="page", disable=quiet or n_pages == 1)
    if left_out:
        kinds = ", ".join(sorted({path.suffix or "no suffix" for path in left_out})[:5])
        typer.echo(f"Not read, other kinds of files ({len(left_out)}): {kinds}", err=True)
    if not quiet:
        typer.echo("\n" + format_summary(summary, out, page))
    raise typer.Exit(1 if summary.errors else 0)


def _check_folders(input_path: Path, images: Path | None, out: Path) -> None:
    """RAISES RecordError: the image folder is missing, or what is read and written mix."""
    if images is not None and not images.is_dir():
        raise RecordError(Errors.E503.format(path=images))
    check_apart(input_path, out)
    target = out.resolve()
    if images is not None and target in (images.resolve(), *images.resolve().parents):
        raise RecordError(Errors.E507.format(images=images, out=out))


def _switch_on(nlp: Language, model: str, heat_maps: bool, crop_only: bool) -> None:
    """RAISES ModelError: the pipeline cannot do it."""
    from spacy_tcm.pipeline.tongue_encoder import TongueEncoder

    encoders = [pipe for _, pipe in nlp.pipeline if isinstance(pipe, TongueEncoder)]
    if (heat_maps or crop_only) and not encoders:
        option = "--heat-maps" if heat_maps else "--crop-only"
        raise ModelError(Errors.E508.format(option=option, model=model))
    for encoder in encoders:  # what the pipeline itself asks for stays
        encoder.cfg["heat_maps"] |= heat_maps
        encoder.cfg["crop_only"] |= crop_only
        encoder.check_settings()


def _keep_budget(nlp: Language, budget: str | None, n_process: int) -> Counters | None:
    """Counters of what will be done; None where there is no budget.

    RAISES ModelError: it cannot be kept.
    """
    if budget is not None:
        set_memory_budget(nlp, budget)
    counters = nlp.fit_memory_budget() if isinstance(nlp, TraditionalChineseMedicine) else None
    if counters is not None and n_process != 1:
        raise ModelError(Errors.E526)
    return counters


def _make_folder(out: Path) -> None:
    """RAISES RecordError: it cannot be made."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RecordError(Errors.E506.format(out=out, cause=error.strerror)) from None
