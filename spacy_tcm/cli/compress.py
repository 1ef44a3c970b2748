"""``python -m spacy_tcm compress``."""

import random
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from tqdm import tqdm
from wasabi import table

from spacy_tcm.cli._common import check_output_folder, exits_cleanly, load_pipeline
from spacy_tcm.errors import Errors, ModelError, RecordError

if TYPE_CHECKING:
    from spacy_tcm.compress.run import Material

PHOTOS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")


@exits_cleanly
def compress(
    model: Annotated[str, typer.Argument(help="Folder or package of a trained pipeline.")],
    out: Annotated[Path, typer.Argument(help="New or empty folder; the pipeline is in model/.")],
    budget: Annotated[
        str,
        typer.Option(
            help="What the nets may take while they run: 256MB as a process takes them, or 60% of "
            "the bytes of their tensors now."
        ),
    ],
    text_budget: Annotated[
        str | None,
        typer.Option(help="A budget of the text encoder's own; --budget is then the photo net's."),
    ] = None,
    photos: Annotated[Path | None, typer.Option(help="Folder of tongue photos.")] = None,
    texts: Annotated[
        list[Path] | None, typer.Option(help="Texts: .jsonl, .txt, .xz, a folder. Repeatable.")
    ] = None,
    validation: Annotated[
        Path | None,
        typer.Option(
            help="Records to score before and after, and without --photos or --texts to prune by."
        ),
    ] = None,
    method: Annotated[
        str, typer.Option(help="policy, l1, bn_scale, taylor, random, or none.")
    ] = "policy",
    parts: Annotated[str, typer.Option(help="What to prune, of: tongue,text.")] = "tongue,text",
    steps: Annotated[
        int,
        typer.Option(min=10, help="10 % warm-up, 40 % search, 40 % fine-tuning, 10 % INT8."),
    ] = 400,
    batch: Annotated[int, typer.Option(min=1, help="Photos and texts at once in the budget.")] = 8,
    length: Annotated[int, typer.Option(min=8, help="Subwords of a text in the budget.")] = 128,
    int8: Annotated[bool, typer.Option(help="Quantise to INT8.")] = True,
    resume: Annotated[bool, typer.Option(help="Go on with what a killed call left.")] = False,
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Prune a trained pipeline into a memory budget, fine-tune it, and make it one that runs
    without torch.

    One budget holds for photo net and text encoder together: the weights of both, and the
    activations of the one that has most, since they run one after the other. Writes model/,
    report.md, report.json and pictures.
    """
    check_output_folder(out)
    if out.exists() and any(out.iterdir()) and not (resume and (out / "state").is_dir()):
        raise ModelError(Errors.E412.format(path=out))
    from spacy_tcm.compress.run import METHODS, PARTS, CompressSettings
    from spacy_tcm.compress.run import compress as run

    chosen = tuple(part.strip() for part in parts.split(","))
    if not chosen or not set(chosen) <= set(PARTS):
        raise _bad("--parts", f"any of {', '.join(PARTS)}, with commas", parts)
    if method not in METHODS:
        raise _bad("--method", f"one of {', '.join(METHODS)}", method)
    settings = CompressSettings(
        budget, text_budget, chosen, method, steps, batch, length, int8, seed
    )
    material = _read(photos, texts, validation, length, seed)
    nlp = load_pipeline(model)
    with tqdm(unit="step") as progress:

        def say(phase: str, step: int, of: int, facts: dict[str, Any]) -> None:
            progress.set_description(phase, refresh=False)
            progress.total = of
            progress.set_postfix(_shown(facts), refresh=False)
            progress.update(step - progress.n)
            progress.refresh()

        report = run(nlp, out, settings, material, say)
    for name, found in report["budgets"].items():
        rows = [
            (unit["name"], unit["width"], unit["kept"], f"{unit['kept'] / unit['width']:.0%}")
            for unit in found["units"]
        ]
        typer.echo(
            table(rows, header=("unit", "whole", "kept", ""), divider=True, aligns=("l", *"rrr"))
        )
        peak, process = found["peak"], found["process"]
        of = "process" if found["budget_of"] == "process" else "tensors"
        typer.echo(
            f"{name}: tensors {_mb(peak['before'])} before, {_mb(peak['measured'])} after; process "
            f"{_mb(process['before'])} before, {_mb(process['predicted'])} after. Budget of the "
            f"{of}: {_mb(found['budget'])}; chosen by: {found['method']}."
        )
    for stage, scores in report["scores"].items():
        if scores is not None:
            typer.echo(
                f"F {stage}: {100 * (scores['f'] or 0):.1f} % on {scores['records']} records."
            )
    typer.echo(f"Written to {out}; see report.md.")


def _shown(facts: dict[str, Any]) -> dict[str, str]:
    shown = {}
    if "budget" in facts:
        shown["budget"] = _mb(facts["budget"])
    if "peak" in facts:
        shown |= {"bytes": _mb(facts["peak"]), "reward": f"{facts['reward']:.3f}"}
    elif "loss" in facts:
        shown["loss"] = f"{facts['loss']:.3f}"
    return shown


def _read(
    photos: Path | None, texts: list[Path] | None, validation: Path | None, length: int, seed: int
) -> "Material":
    """RAISES ModelError, RecordError: a path holds nothing of its kind."""
    from spacy_tcm.compress.run import Material
    from spacy_tcm.training.pretraining.texts import prepare_texts
    from spacy_tcm.training.reading import read_with_images

    records = [] if validation is None else list(read_with_images(validation))
    if validation is not None and not records:
        raise RecordError(Errors.E352.format(path=validation))
    images = [str(image) for _, image in records if image is not None]
    if photos is not None:
        if not photos.is_dir():
            raise _bad("--photos", "a folder of photos", str(photos))
        images = [str(p) for p in sorted(photos.rglob("*")) if p.suffix.lower() in PHOTOS]
        if not images:
            raise _bad("--photos", f"a folder that holds files of {', '.join(PHOTOS)}", str(photos))
    files = texts or ([] if validation is None else [validation])
    # One character is at most one subword, and two are special.
    chunks = prepare_texts(files, size=length - 2).domain if files else []
    random.Random(seed).shuffle(images)
    return Material(chunks, images, records)


def _bad(option: str, expected: str, value: str) -> ModelError:
    return ModelError(Errors.E499.format(option=option, expected=expected, value=value))


def _mb(size: float) -> str:
    return f"{size / 1e6:.2f} MB"
