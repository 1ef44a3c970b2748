"""``python -m spacy_tcm distill``."""

from typing import Annotated

import typer

from spacy_tcm.cli import _training as training
from spacy_tcm.cli._common import check_output_folder, exits_cleanly

Weight = Annotated[float, typer.Option(min=0.0, help="Weight of this loss.")]


@exits_cleanly
def distill(
    teacher: Annotated[str, typer.Argument(help="Hugging Face folder, or name of a hub model.")],
    out: training.Out,
    domain: training.Domain,
    student: Annotated[
        str | None,
        typer.Option(
            help="A BERT with the teacher's vocabulary to begin with, instead of a new one."
        ),
    ] = None,
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
    embedding_weight: Weight = 1.0,
    hidden_weight: Weight = 1.0,
    attention_weight: Weight = 1.0,
    mlm_weight: Weight = 1.0,
    hidden: training.Hidden = 312,
    layers: training.Layers = 4,
    heads: training.Heads = 12,
    feed_forward: training.FeedForward = 1200,
    device: training.Device = "cpu",
    threads: training.Threads = 0,
    save_every: training.SaveEvery = 250,
    seed: training.Seed = 0,
) -> None:
    """Distil any encoder into a small BERT: embeddings, layers, attention, and masked language
    modelling on the same texts (TinyBERT's general distillation).

    The student has the teacher's tokenizer. --hidden to --feed-forward are the shape of a new one;
    its layers must divide the teacher's. Killed, it goes on from its last checkpoint when called
    again. Writes a Hugging Face folder, pretraining.json (losses and held-out pseudo-perplexity by
    step) and its picture.
    """
    from spacy_tcm.training.pretraining.distillation import Distillation
    from spacy_tcm.training.pretraining.encoder import EncoderShape
    from spacy_tcm.training.pretraining.run import set_threads
    from spacy_tcm.training.pretraining.settings import DistillationSettings

    check_output_folder(out)
    set_threads(threads)
    settings = DistillationSettings(
        teacher=teacher,
        student=student,
        shape=EncoderShape(hidden, layers, heads, feed_forward),
        steps=steps,
        length=length,
        batch_tokens=batch_tokens,
        accumulate=accumulate,
        rate=rate,
        domain_weight=domain_weight,
        embedding_weight=embedding_weight,
        hidden_weight=hidden_weight,
        attention_weight=attention_weight,
        mlm_weight=mlm_weight,
        seed=seed,
    )
    run = Distillation(out, settings, training.read_lexicon(lexicon), device)
    kind = "scores before the softmax" if run.compares_scores else "probabilities"
    typer.echo(f"Attention is compared by its {kind}.")
    texts = training.read_texts(domain, general, exclude, keep, length)
    training.train(run, texts, save_every, "distillation loss")
