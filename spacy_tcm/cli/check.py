"""``python -m spacy_tcm check``: what is wrong with a corpus, and what tokens cannot express."""

from pathlib import Path
from typing import Annotated

import typer
from wasabi import table

from spacy_tcm.cli._common import exits_cleanly
from spacy_tcm.errors import Errors, RecordError

# So many problems of one kind are listed; the rest are counted.
_SHOWN = 20


@exits_cleanly
def check(
    corpus: Annotated[
        list[Path],
        typer.Argument(metavar="CORPUS...", help="Files (.jsonl, .spacy, .txt) or folders."),
    ],
    max_misaligned: Annotated[
        float, typer.Option(min=0, max=1, help="The largest accepted share of misaligned entities.")
    ] = 0.01,
    images: Annotated[
        Path | None, typer.Option(help="Folder of the photos. Default: that of the corpus file.")
    ] = None,
) -> None:
    """Check records, their photos and their alignment with tokens.

    Reports ids and offsets, never the text. Exit code 1: a problem, a missing photo, or more
    misaligned entities than accepted, or no record at all.
    """
    import spacy

    from spacy_tcm.training.alignment import check_alignment

    report = check_alignment(corpus, spacy.blank("tcm"), image_root=images)
    if not report.records:
        raise RecordError(Errors.E352.format(path=", ".join(map(str, corpus))))
    misaligned = report.misaligned_by_label
    rows = [
        (label, count, misaligned[label], f"{misaligned[label] / count:.2%}")
        for label, count in report.entities.most_common()
    ]
    total = (report.entities.total(), len(report.misaligned), f"{report.misaligned_share:.2%}")
    header = ("label", "entities", "misaligned", "share")
    footer = ("all", *total)
    typer.echo(table(rows, header=header, footer=footer, divider=True, aligns=("l", *"rrr")))
    typer.echo(
        f"{report.records} records, {report.images} photos ({len(report.missing_images)} missing)"
    )
    _show("misaligned entities", [m.describe() for m in report.misaligned])
    _show("missing photos", report.missing_images)
    for kind, messages in report.problems_by_kind.items():
        _show(f"problems: {kind}", messages)
    too_many = report.misaligned_share > max_misaligned
    if too_many:
        typer.echo(f"misaligned share {report.misaligned_share:.2%} > {max_misaligned:.2%}")
    if too_many or report.problems or report.missing_images:
        raise typer.Exit(1)


def _show(title: str, lines: list[str]) -> None:
    if lines:
        typer.echo(f"\n{title}: {len(lines)}")
        for line in lines[:_SHOWN]:
            typer.echo(f"  {line}")
        if len(lines) > _SHOWN:
            typer.echo(f"  ... and {len(lines) - _SHOWN} more")
