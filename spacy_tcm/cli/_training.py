"""What the commands that train an encoder on texts share: their options, and how they run."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from tqdm import tqdm

from spacy_tcm.errors import Errors, ModelError
from spacy_tcm.lexicon import Lexicon

if TYPE_CHECKING:
    from spacy_tcm.training.pretraining.run import Run
    from spacy_tcm.training.pretraining.texts import Texts

Out = Annotated[Path, typer.Argument(help="Folder of the encoder. A run begun there goes on.")]
Domain = Annotated[
    list[Path],
    typer.Option(
        help="Texts like those it will read: .jsonl, .txt, .xz, a folder of them. Repeatable."
    ),
]
General = Annotated[
    list[Path] | None, typer.Option(help="More texts (.jsonl, .txt, .xz). Repeatable.")
]
Keep = Annotated[
    float, typer.Option(min=0.0, max=1.0, help="Share of --general most like --domain to use.")
]
Exclude = Annotated[
    list[Path] | None, typer.Option(help="Evaluation texts to keep out. Repeatable.")
]
Lexica = Annotated[Path | None, typer.Option(help="Lexicon tables: their terms are masked as one.")]
Steps = Annotated[int, typer.Option(min=1, help="Updates in all; may be more when going on.")]
BatchTokens = Annotated[int, typer.Option(min=1, help="Subwords of one update.")]
Accumulate = Annotated[int, typer.Option(min=1, help="Parts of one update, to save memory.")]
Length = Annotated[int, typer.Option(min=8, help="Longest text, in subwords.")]
Rate = Annotated[float, typer.Option(help="Highest learning rate.")]
DomainWeight = Annotated[int, typer.Option(min=1, help="Times a domain text an epoch.")]
Hidden = Annotated[int, typer.Option(min=1, help="Width.")]
Layers = Annotated[int, typer.Option(min=1)]
Heads = Annotated[int, typer.Option(min=1, help="Must divide the width.")]
FeedForward = Annotated[int, typer.Option(min=1)]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...")]
Threads = Annotated[int, typer.Option(min=0, help="CPU threads; 0: all.")]
SaveEvery = Annotated[int, typer.Option(min=1, help="Updates between checkpoints.")]
Seed = Annotated[int, typer.Option(min=0)]


def read_texts(
    domain: list[Path],
    general: list[Path] | None,
    exclude: list[Path] | None,
    keep: float,
    length: int,
) -> "Texts":
    """The texts of a run, of up to ``length`` subwords, and a line that counts them."""
    from spacy_tcm.training.pretraining.texts import prepare_texts

    size = length - 2  # the tokenizer adds one subword at each end
    texts = prepare_texts(domain, general or (), exclude or (), keep=keep, size=size)
    typer.echo(
        f"{len(texts.domain)} domain and {len(texts.general)} general texts of up to {size} "
        f"characters, {len(texts.held_out_domain)} and {len(texts.held_out_general)} held out."
    )
    if exclude:
        typer.echo(f"--exclude dropped {texts.excluded} chunks.")
    return texts


def train(run: "Run", texts: "Texts", save_every: int, loss: str) -> None:
    """Train to the end under a progress bar, and draw the curve. loss: what to call it there."""
    from spacy_tcm.training.pretraining.curve import draw_curve

    total = run.settings.steps
    finished = run.step > total
    with tqdm(initial=min(run.step, total), total=total, unit="step") as progress:

        def report(mean: float) -> None:
            progress.set_postfix(loss=f"{mean:.3f}", refresh=False)
            progress.update()

        run.run(texts, save_every=save_every, report=report)
    if finished and not (run.folder / "model.safetensors").exists():
        raise ModelError(Errors.E438.format(path=run.folder, step=run.step))
    if finished:
        typer.echo(f"{run.folder} is already at step {run.step}: nothing is changed.")
        return
    draw_curve(run.history, run.folder / "pretraining.png", loss)
    typer.echo(f"{run.folder}: {run.tokens} subwords seen.")


def read_lexicon(tables: Path | None) -> Lexicon | None:
    return None if tables is None else Lexicon.from_tsv(tables)
