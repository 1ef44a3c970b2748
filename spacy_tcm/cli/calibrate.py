"""``python -m spacy_tcm calibrate``."""

from pathlib import Path
from typing import Annotated

import typer

from spacy_tcm.cli._common import check_output_folder, exits_cleanly, load_pipeline
from spacy_tcm.errors import Errors, ModelError, RecordError


@exits_cleanly
def calibrate(
    model: Annotated[str, typer.Argument(help="Folder or package of a trained pipeline.")],
    corpus: Annotated[Path, typer.Argument(help="Records that it was not trained on.")],
    out: Annotated[Path, typer.Argument(help="New or empty folder for the calibrated pipeline.")],
    images: Annotated[
        Path | None, typer.Option(help="Folder of the photos. Default: that of the corpus file.")
    ] = None,
) -> None:
    """Make ``span._.score`` agree with how often such an entity is right."""
    from spacy_tcm.training.calibration import calibrate as fit
    from spacy_tcm.training.reading import read_with_images

    check_output_folder(out)
    if out.exists() and any(out.iterdir()):
        raise ModelError(Errors.E412.format(path=out))
    nlp = load_pipeline(model)
    records = list(read_with_images(corpus, image_root=images))
    if not records:
        raise RecordError(Errors.E352.format(path=corpus))
    found = fit(nlp, records)
    nlp.to_disk(out)
    before, after = (found[when]["expected_calibration_error"] for when in ("before", "after"))
    typer.echo(
        f"Temperature {found['temperature']:.2f}; expected calibration error on these records "
        f"{100 * before:.1f} % before, {100 * after:.1f} % after."
    )
    for warning in found["warnings"]:
        typer.echo(warning, err=True)
