"""``python -m spacy_tcm init-encoder``."""

from pathlib import Path
from typing import Annotated

import typer

from spacy_tcm.cli._common import exits_cleanly


@exits_cleanly
def init_encoder(
    out: Annotated[Path, typer.Argument(help="New folder for the encoder.")],
    corpus: Annotated[
        list[Path], typer.Option(help="Records whose characters it knows. Repeatable.")
    ],
    lexicon: Annotated[
        Path | None, typer.Option(help="Lexicon tables whose characters it knows.")
    ] = None,
    hidden: Annotated[int, typer.Option(min=1, help="Width.")] = 312,
    layers: Annotated[int, typer.Option(min=1)] = 4,
    heads: Annotated[int, typer.Option(min=1, help="Must divide the width.")] = 12,
    feed_forward: Annotated[int, typer.Option(min=1)] = 1200,
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Make a TinyBERT with random weights, for configs/multimodal.cfg without internet."""
    from spacy_tcm.lexicon import read_tables
    from spacy_tcm.training.pretraining.encoder import EncoderShape, build_encoder
    from spacy_tcm.training.reading import read_records

    shape = EncoderShape(hidden, layers, heads, feed_forward)
    texts = [record["text"] for record in read_records(corpus)]
    if lexicon is not None:
        texts += [entry.term for entry in read_tables(lexicon)]
    size = build_encoder(texts, out, shape=shape, seed=seed)
    typer.echo(f"{out}: {layers} layers, {hidden} wide, {size} subwords, random weights")
