"""``python -m spacy_tcm segmenter``."""

import json
from pathlib import Path
from statistics import fmean, median
from typing import Annotated

import typer
from tqdm import tqdm

from spacy_tcm.cli._common import check_output_file, exits_cleanly
from spacy_tcm.errors import Errors, RecordError


@exits_cleanly
def segmenter(
    out: Annotated[Path, typer.Argument(help="File for the weights, *.safetensors.")],
    photos: Annotated[
        list[Path], typer.Option(help="Folder with images/ and masks/ of one name. Repeatable.")
    ],
    trunk: Annotated[
        Path | None, typer.Option(help="Weights to begin with, as assets/tongue/trunk.safetensors.")
    ] = None,
    epochs: Annotated[float, typer.Option(min=0.01)] = 5.0,
    batch_size: Annotated[int, typer.Option(min=2)] = 16,
    rate: Annotated[float, typer.Option(help="Highest learning rate.")] = 2e-3,
    image_size: Annotated[int, typer.Option(help="Pixels, a multiple of 16.")] = 160,
    held_out: Annotated[
        float,
        typer.Option(min=0.0, max=0.9, help="Share of a folder without splits kept to measure on."),
    ] = 0.2,
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0: all.")] = 0,
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Train the net that finds the tongue in a photo, and measure it on photos held out.

    Held out are the photos of the split "dev", where a folder's labels.csv tells of splits, else
    some, by their names alone. Beside the weights, a .json of the same name tells the Dice.
    """
    from spacy_tcm.models.segmenter import KIND, check_image_size
    from spacy_tcm.models.weights import write_module
    from spacy_tcm.training.pretraining.run import set_threads
    from spacy_tcm.training.tongue.segmentation import (
        measure_dice,
        read_masked_photos,
        read_trunk,
        train_segmenter,
    )

    check_image_size(image_size)
    check_output_file(out)
    set_threads(threads)
    learned, kept = [], {}
    for folder in photos:
        found = read_masked_photos(folder, image_size, held_out)
        kept[folder.name] = [photo for photo in found if photo.held_out]
        learned += [photo for photo in found if not photo.held_out]
    if not learned:
        raise RecordError(Errors.E376)
    weights = None if trunk is None else read_trunk(trunk)
    with tqdm(unit="step") as progress:

        def report(step: int, steps: int, loss: float) -> None:
            progress.total = steps
            progress.set_postfix(loss=f"{loss:.3f}", refresh=False)
            progress.update()

        net = train_segmenter(
            learned,
            trunk=weights,
            epochs=epochs,
            batch_size=batch_size,
            rate=rate,
            seed=seed,
            report=report,
        )
    write_module(net, out, kind=KIND)
    measured = {}
    for name, part in kept.items():
        if part:
            dice = measure_dice(net, part)
            measured[name] = {
                "photos": len(part),
                "mean": fmean(dice),
                "median": median(dice),
                "worst": min(dice),
            }
            typer.echo(f"{name}: Dice {fmean(dice):.3f} on {len(part)} photos held out.")
    summary = {"trained_on": len(learned), "epochs": epochs, "seed": seed, "dice": measured}
    text = json.dumps(summary, indent=1, ensure_ascii=False)
    out.with_suffix(".json").write_text(text + "\n", encoding="utf8")
