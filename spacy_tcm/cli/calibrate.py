"""``python -m spacy_tcm calibrate``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spacy_tcm.cli._common import (
    check_output_file,
    check_output_folder,
    exits_cleanly,
    load_pipeline,
)
from spacy_tcm.errors import Errors, ModelError, RecordError

if TYPE_CHECKING:
    from spacy.language import Language


@exits_cleanly
def calibrate(
    model: Annotated[str, typer.Argument(help="Folder or package of a trained pipeline.")],
    corpus: Annotated[
        Path,
        typer.Argument(
            help="Records that it was not trained on; or a .csv of photo labels, as for training."
        ),
    ],
    out: Annotated[Path, typer.Argument(help="New or empty folder for the calibrated pipeline.")],
    images: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the photos. Default: that of the corpus file, of a .csv images/."
        ),
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Of a .csv: the split to read. Default: all.")
    ] = None,
    held_out: Annotated[
        float,
        typer.Option(min=0.0, max=0.9, help="Of a .csv: the share that training has left out."),
    ] = 0.0,
    target: Annotated[
        float, typer.Option(help="Of a .csv: the accuracy wanted where it does not abstain.")
    ] = 0.9,
    heads: Annotated[
        Path | None,
        typer.Option(help="Of a .csv: also write here what tells the attributes, *.safetensors."),
    ] = None,
) -> None:
    """Make probabilities agree with how often they are right: ``span._.score``, or, from labels of
    photos, those of ``doc._.tongue``, with the bounds below which it abstains."""
    check_output_folder(out)
    if out.exists() and any(out.iterdir()):
        raise ModelError(Errors.E412.format(path=out))
    if heads is not None:
        check_output_file(heads)
    nlp = load_pipeline(model)
    if corpus.suffix.lower() == ".csv":
        _calibrate_photos(nlp, corpus, images, split, held_out, target, heads)
    else:
        _calibrate_entities(nlp, corpus, images)
    nlp.to_disk(out)


def _calibrate_entities(nlp: "Language", corpus: Path, images: Path | None) -> None:
    from spacy_tcm.training.calibration import calibrate as fit
    from spacy_tcm.training.reading import read_with_images

    records = list(read_with_images(corpus, image_root=images))
    if not records:
        raise RecordError(Errors.E352.format(path=corpus))
    found = fit(nlp, records)
    before, after = (found[when]["expected_calibration_error"] for when in ("before", "after"))
    typer.echo(
        f"Temperature {found['temperature']:.2f}; expected calibration error on these records "
        f"{100 * before:.1f} % before, {100 * after:.1f} % after."
    )
    for warning in found["warnings"]:
        typer.echo(warning, err=True)


def _calibrate_photos(
    nlp: "Language",
    corpus: Path,
    images: Path | None,
    split: str | None,
    held_out: float,
    target: float,
    heads: Path | None,
) -> None:
    from spacy_tcm.training.tongue.calibration import NEVER, calibrate_tongue
    from spacy_tcm.training.tongue.photos import Part, TonguePhotoCorpus

    part: Part = "held_out" if held_out else "all"
    examples = TonguePhotoCorpus(corpus, images, split, held_out=held_out, part=part)
    for name, s in calibrate_tongue(nlp, examples(nlp), target=target).items():
        error = s["calibration_error"]
        bound = "always" if s["bound"] == NEVER else f"below {s['bound']:.2f}"
        typer.echo(
            f"{name}: {s['photos']} photos, temperature {s['temperature']:.2f}, calibration error "
            f"{100 * error['before']:.1f} % before, {100 * error['after']:.1f} % after; abstains "
            f"{bound}, here on {100 - 100 * s['coverage']:.0f} %."
        )
    if heads is not None:
        encoder: Any = nlp.get_pipe("tongue_encoder")
        encoder.heads_to_disk(heads)
