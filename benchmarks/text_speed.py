"""Speed and memory of the text side, beside the same around BERT-base and BERT-Large shapes.

    python benchmarks/text_speed.py OUT.json RECORDS.jsonl NAME=MODEL ... [--encoder DIR]
        [--rounds 3] [--threads 1]

NAME=MODEL: trained pipelines. The BERT rows are `configs/tinybert.cfg` with an encoder of that
shape and the 21,128 rows of the Chinese BERT vocabulary: random weights, which changes neither
speed nor memory, and the tokenizer of --encoder. Every pipeline is loaded from disk in a process of
its own; the processes take turns, a round of all texts each, without photos. Reported are
characters a second as multiples of BERT-Large's, by the median of the rounds, peak memory of the
process, and size on disk.
"""

import argparse
import json
import multiprocessing
import os
import platform
import resource
import statistics
import sys
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

ROOT = Path(__file__).parents[1]
VOCABULARY = 21_128
REFERENCE = "BERT-Large shape"
# hidden, layers, heads, feed-forward: Devlin et al. 2019, table of section 3.
SHAPES = {"BERT-base shape": (768, 12, 12, 3072), REFERENCE: (1024, 24, 16, 4096)}


def build(shape: tuple[int, int, int, int], encoder: Path, records: Path, out: Path) -> None:
    """Write the pipeline around an encoder of a shape. Runs in a process of its own."""
    import torch
    from spacy.training.initialize import init_nlp
    from spacy.util import load_config
    from transformers import AutoTokenizer, BertModel

    from spacy_tcm.tags import LABELS
    from spacy_tcm.training.pretraining.encoder import EncoderShape

    torch.manual_seed(0)
    with TemporaryDirectory() as folder:
        AutoTokenizer.from_pretrained(encoder).save_pretrained(folder)
        BertModel(EncoderShape(*shape).config(VOCABULARY)).save_pretrained(folder)
        overrides = {
            "paths.train": str(records),
            "paths.tune": str(records),
            "paths.lexicon": str(ROOT / "assets" / "lexicon"),
            "paths.encoder": folder,
            "initialize.components.multimodal_ner.labels": list(LABELS),
        }
        init_nlp(load_config(ROOT / "configs" / "tinybert.cfg", overrides=overrides)).to_disk(out)


def serve(pipe: Connection, model: str, texts: list[str], threads: int) -> None:
    """In a process of its own: a round of all texts whenever asked, then what it needed."""
    import spacy
    import torch

    torch.set_num_threads(threads)
    nlp = spacy.load(model)
    pipe.send(None)
    while pipe.recv():
        start = perf_counter()
        entities = sum(len(doc.ents) for doc in nlp.pipe(texts))
        pipe.send((perf_counter() - start, entities))
    unit = 1 if sys.platform == "darwin" else 1024
    pipe.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)


def measure(
    models: dict[str, str], texts: list[str], rounds: int, threads: int
) -> dict[str, dict[str, Any]]:
    context = multiprocessing.get_context("spawn")
    pipes, processes = {}, []
    for name, model in models.items():
        pipes[name], theirs = context.Pipe()
        process = context.Process(target=serve, args=(theirs, model, texts, threads))
        process.start()
        processes.append(process)
        pipes[name].recv()
    seconds: dict[str, list[float]] = {name: [] for name in models}
    for number in range(rounds + 1):
        for name, pipe in pipes.items():
            pipe.send(True)
            taken, _ = pipe.recv()
            if number:  # the first warms up
                seconds[name].append(taken)
            print(f"{name}: {taken:.1f} s", flush=True)
    found = {}
    for name, pipe in pipes.items():
        pipe.send(False)
        found[name] = {
            "seconds": seconds[name],
            "peak_bytes": pipe.recv(),
            "disk_bytes": sum(p.stat().st_size for p in Path(models[name]).rglob("*")),
        }
    for process in processes:
        process.join()
    reference = found[REFERENCE]
    for row in found.values():
        ratios = [a / b for a, b in zip(reference["seconds"], row["seconds"], strict=True)]
        row["times_as_fast"] = statistics.median(ratios)
        row["share_of_peak"] = row["peak_bytes"] / reference["peak_bytes"]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("records", type=Path)
    parser.add_argument("models", nargs="*", metavar="NAME=MODEL")
    parser.add_argument("--encoder", type=Path, default=ROOT / "assets" / "encoder")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": str(args.threads), "TOKENIZERS_PARALLELISM": "false"}
    lines = args.records.read_text(encoding="utf8").splitlines()
    texts = [json.loads(line)["text"] for line in lines]
    models = dict(model.split("=", 1) for model in args.models)
    with TemporaryDirectory() as folder:
        context = multiprocessing.get_context("spawn")
        for name, shape in SHAPES.items():
            models[name] = str(Path(folder) / name)
            process = context.Process(
                target=build, args=(shape, args.encoder, args.records, Path(models[name]))
            )
            process.start()
            process.join()
        rows = measure(models, texts, args.rounds, args.threads)
    report = {
        "records": len(texts),
        "characters": sum(map(len, texts)),
        "rounds": args.rounds,
        "threads": args.threads,
        "machine": platform.machine(),
        "rows": rows,
    }
    args.out.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf8")


if __name__ == "__main__":
    main()
