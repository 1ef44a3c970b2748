"""``python -m spacy_tcm evaluate``: score a pipeline on a corpus, photos included."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from wasabi import table

from spacy_tcm.cli._common import check_output_file, exits_cleanly, limit_threads, load_pipeline
from spacy_tcm.errors import Errors, RecordError


@exits_cleanly
def evaluate(
    model: Annotated[str, typer.Argument(help="Folder or package of a trained pipeline.")],
    corpus: Annotated[Path, typer.Argument(help="Records (.jsonl, .spacy, .txt) or a folder.")],
    images: Annotated[
        Path | None, typer.Option(help="Folder of the photos. Default: that of the corpus file.")
    ] = None,
    train: Annotated[
        list[Path] | None,
        typer.Option(help="Training records, for the recall of surfaces never seen. Repeatable."),
    ] = None,
    output: Annotated[Path | None, typer.Option(help="JSON file to write.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Records a batch.")] = None,
    n_process: Annotated[int, typer.Option(min=1, help="Worker processes.")] = 1,
) -> None:
    """Score the entities of a pipeline: precision, recall and F, by label, photos included.

    Spans are compared by character offsets with the gold as written, exactly (P, R, F) and by
    overlap (same label, at least one character in common).
    """
    limit_threads(n_process)
    from spacy_tcm.training.evaluation import evaluate_records
    from spacy_tcm.training.reading import read_records, read_with_images

    if output is not None:
        check_output_file(output)  # before the scoring, which takes long
    nlp = load_pipeline(model)
    metrics = evaluate_records(
        nlp,
        read_with_images(corpus, image_root=images),
        training=read_records(train) if train else None,
        batch_size=batch_size,
        n_process=n_process,
    )
    if not metrics["records"]:
        raise RecordError(Errors.E352.format(path=corpus))
    typer.echo(_as_text(metrics))
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(metrics, ensure_ascii=False, indent=2)
        output.write_text(text + "\n", encoding="utf-8")


def _as_text(metrics: dict[str, Any]) -> str:
    scores = {**metrics["per_label"], "all": metrics}
    rows = [
        (
            label,
            *(_percent(found["exact"][name]) for name in ("precision", "recall", "f")),
            _percent(found["overlap"]["f"]),
            found["exact"]["gold"],
            found["exact"]["predicted"],
        )
        for label, found in scores.items()
    ]
    header = ("label", "P", "R", "F", "overlap F", "gold", "predicted")
    lines = [
        table(rows[:-1], header=header, footer=rows[-1], divider=True, aligns=("l", *"rrrrrr")),
        f"macro F {_percent(metrics['macro_f'])}",
    ]
    if metrics["rare"] is not None:
        rare = metrics["rare"]
        lines.append(
            f"recall of surfaces never seen in training {_percent(rare['recall'])} "
            f"({rare['correct']} of {rare['gold']})"
        )
    if metrics["calibration"] is not None:
        error = metrics["calibration"]["expected_calibration_error"]
        lines.append(f"expected calibration error of the scores {_percent(error)}")
    photos = ", ".join(f"{status} {n}" for status, n in sorted(metrics["images"].items()))
    lines.append(f"{metrics['records']} records; photos: {photos}")
    if metrics["misaligned_gold"]:
        lines.append(f"{metrics['misaligned_gold']} gold entities end inside a token")
    return "\n".join(lines)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}"
