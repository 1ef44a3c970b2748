"""``python -m spacy_tcm pretrain``."""

from pathlib import Path
from typing import Annotated

import typer

from spacy_tcm.cli import _training as training
from spacy_tcm.cli._common import check_output_folder, exits_cleanly


@exits_cleanly
def pretrain(
    out: training.Out,
    domain: training.Domain,
    vocab: Annotated[Path, typer.Option(help="WordPiece vocabulary to trim, a token a line.")],
    general: training.General = None,
    keep: training.Keep = 1.0,
    exclude: training.Exclude = None,
    lexicon: training.Lexica = None,
    steps: training.Steps = 5000,
    batch_tokens: training.BatchTokens = 2048,
    accumulate: training.Accumulate = 1,
    length: training.Length = 128,
    rate: training.Rate = 5e-4,
    domain_weight: training.DomainWeight = 3,
    hidden: training.Hidden = 312,
    layers: training.Layers = 4,
    heads: training.Heads = 12,
    feed_forward: training.FeedForward = 1200,
    device: training.Device = "cpu",
    threads: training.Threads = 0,
    save_every: training.SaveEvery = 250,
    seed: training.Seed = 0,
) -> None:
    """Pretrain a BERT on texts by masked language modelling with whole-term masking.

    Killed, it goes on from its last checkpoint when called again. Writes a Hugging Face folder,
    pretraining.json (loss and held-out pseudo-perplexity by step) and its picture.
    """
    from spacy_tcm.training.pretraining.checkpoint import find_checkpoint
    from spacy_tcm.training.pretraining.encoder import EncoderShape, trim_vocabulary
    from spacy_tcm.training.pretraining.masked_lm import Pretraining, check_start
    from spacy_tcm.training.pretraining.run import set_threads
    from spacy_tcm.training.pretraining.settings import PretrainingSettings
    from spacy_tcm.training.pretraining.texts import read_vocabulary

    check_output_folder(out)
    set_threads(threads)
    settings = PretrainingSettings(
        shape=EncoderShape(hidden, layers, heads, feed_forward),
        steps=steps,
        length=length,
        batch_tokens=batch_tokens,
        accumulate=accumulate,
        rate=rate,
        domain_weight=domain_weight,
        seed=seed,
    )
    check_start(out, settings, device)
    full = read_vocabulary(vocab)
    terms = training.read_lexicon(lexicon)
    texts = training.read_texts(domain, general, exclude, keep, length)
    if find_checkpoint(out):
        vocabulary = read_vocabulary(out / "vocab.txt")
    else:
        vocabulary = trim_vocabulary(full, texts.domain + texts.general)
    typer.echo(f"{len(vocabulary)} of {len(full)} subwords.")
    run = Pretraining(out, vocabulary, settings, terms, device, full)
    training.train(run, texts, save_every, "masked-LM loss (nats a subword)")
