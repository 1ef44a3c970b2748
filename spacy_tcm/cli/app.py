"""``python -m spacy_tcm``: one command per file of this folder."""

import typer

from spacy_tcm.cli.calibrate import calibrate
from spacy_tcm.cli.check import check
from spacy_tcm.cli.compress import compress
from spacy_tcm.cli.convert import convert
from spacy_tcm.cli.deid import deid
from spacy_tcm.cli.distill import distill
from spacy_tcm.cli.evaluate import evaluate
from spacy_tcm.cli.export import export
from spacy_tcm.cli.graph import graph, query
from spacy_tcm.cli.init_encoder import init_encoder
from spacy_tcm.cli.pretrain import pretrain
from spacy_tcm.cli.render import render
from spacy_tcm.cli.rules import rules
from spacy_tcm.cli.segmenter import segmenter
from spacy_tcm.cli.structure import structure

app = typer.Typer(
    help="TCM notes and tongue photos as structured data.",
    no_args_is_help=True,
    add_completion=False,
    # Variables in a traceback would print the patient's text.
    pretty_exceptions_show_locals=False,
)
for command in (
    structure,
    export,
    graph,
    query,
    rules,
    deid,
    convert,
    check,
    render,
    init_encoder,
    pretrain,
    distill,
    evaluate,
    calibrate,
    segmenter,
    compress,
):
    app.command()(command)
