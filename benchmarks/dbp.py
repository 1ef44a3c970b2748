"""Peak memory and speed with and without a memory budget (dynamic batch pruning).

    python benchmarks/dbp.py OUT.json NAME MODEL RECORDS.jsonl [--exclude tongue_encoder]
        [--records 48] [--longest 12000] [--tight 250MB] [--loose 1GB] [--trials 20]

The mix: records of lognormal lengths, 233 characters in the mean, and a few of 6,000 characters to
--longest, cut from the joined texts of RECORDS. "Without" is padded batches of 32 in order of
arrival, of whole records; results are compared with those of no budget, where components have
bounds of their own. A budget is so much more than the loaded pipeline takes. Then --trials random
budgets of 200 to 700 MB more, each with a mix of its own: is the measured peak within the budget?
OUT keeps what was measured of other pipelines, by NAME.

The pipeline is loaded once; each run is a process forked from there, whose peak is that of the
whole process, pipeline and libraries included. POSIX only.
"""

import argparse
import json
import multiprocessing
import os
import platform
import random
import sys
from multiprocessing.connection import Connection
from pathlib import Path
from time import perf_counter
from typing import Any

LONG = 5000  # characters; what is longer counts as a long record
BATCH = 32


def make_mix(text: str, records: int, long: int, longest: int, seed: int) -> list[str]:
    draw = random.Random(seed)
    lengths = [max(8, round(draw.lognormvariate(5.2, 0.71))) for _ in range(records - long)]
    steps = max(1, long - 1)
    lengths += [longest - (longest - 6000) * i // steps for i in range(long)]
    draw.shuffle(lengths)
    starts = [draw.randrange(len(text) - length) for length in lengths]
    return [text[s : s + length] for s, length in zip(starts, lengths, strict=True)]


def unbind(nlp: Any) -> None:
    """Without the bounds that the components have."""
    from spacy_tcm.models import multimodal_crf, text_graph
    from spacy_tcm.pipeline import multimodal_ner

    endless = sys.maxsize
    text_graph.ENCODER = text_graph.TAGGER = (endless, endless, endless)
    multimodal_crf.LONGEST = multimodal_crf.MAX_PADDED = endless
    multimodal_ner.MAX_PADDED = multimodal_ner.MAX_TOKENS = endless
    for name, pipe in nlp.pipeline:
        if name == "transformer":
            pipe.cfg["max_batch_items"] = pipe.model.max_batch_subwords = endless


def run(pipe: Connection, nlp: Any, texts: list[str], budget: float | str | None) -> None:
    """budget: how many bytes more than the loaded pipeline takes, "own" for the bounds that
    components have by themselves, None for no bounds."""
    from spacy_tcm.language import set_memory_budget
    from spacy_tcm.meters import ProcessMeter

    counters = None
    if budget is None:
        unbind(nlp)
    elif isinstance(budget, float):
        nlp("患者便血三天，舌淡红。")
        set_memory_budget(nlp, int(budget) + (ProcessMeter().now() or 0))
        counters = nlp.fit_memory_budget()
    start = perf_counter()
    found = [
        [(e.start, e.end, e.label_, float(e._.score)) for e in doc.ents]
        for doc in nlp.pipe(texts, batch_size=BATCH)
    ]
    seconds = perf_counter() - start
    peak = max(ProcessMeter().peak() or 0, counters.peak_bytes if counters else 0)
    told = counters.to_json() if counters else None
    pipe.send({"seconds": seconds, "peak": peak, "entities": found, "counters": told})


def measure(nlp: Any, texts: list[str], budget: float | str | None) -> dict[str, Any] | None:
    """None: the process was killed, or failed."""
    context = multiprocessing.get_context("fork")
    mine, theirs = context.Pipe()
    process = context.Process(target=run, args=(theirs, nlp, texts, budget))
    process.start()
    theirs.close()
    try:
        return mine.recv()
    except EOFError:
        return None
    finally:
        process.join()


def compare(texts: list[str], found: dict[str, Any] | None, other: Any) -> dict[str, Any]:
    if found is None:
        return {"completed": 0}
    pairs = list(zip(found["entities"], other["entities"] if other else [], strict=False))
    same = [[e[:3] for e in a] == [e[:3] for e in b] for a, b in pairs]
    off = [abs(x[3] - y[3]) for (a, b), s in zip(pairs, same, strict=True) if s
           for x, y in zip(a, b, strict=True)]  # fmt: skip
    return {
        "peak_bytes": found["peak"],
        "records_per_second": len(texts) / found["seconds"],
        "completed": len(found["entities"]),
        "records_with_equal_entities": sum(same),
        "largest_difference_of_scores": max(off, default=0.0),
        "batching": found["counters"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("name")
    parser.add_argument("model")
    parser.add_argument("records_file", metavar="RECORDS", type=Path)
    parser.add_argument("--exclude", nargs="*", default=[])
    parser.add_argument("--records", type=int, default=48)
    parser.add_argument("--longest", type=int, default=12000)
    parser.add_argument("--tight", default="250MB")
    parser.add_argument("--loose", default="1GB")
    parser.add_argument("--trials", type=int, default=20)
    args = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    import spacy

    from spacy_tcm.batching import parse_size
    from spacy_tcm.meters import ProcessMeter

    lines = args.records_file.read_text(encoding="utf8").splitlines()
    text = "\n".join(json.loads(line)["text"] for line in lines)
    nlp = spacy.load(args.model, exclude=args.exclude)
    resident = ProcessMeter().now() or 0
    mix = make_mix(text, args.records, 3, args.longest, seed=0)
    report: dict[str, Any] = {
        "machine": platform.machine(),
        "loaded_bytes": resident,
        "records": len(mix),
        "characters": sum(map(len, mix)),
        "long_records": sum(len(t) > LONG for t in mix),
        "rows": {},
        "trials": [],
    }
    without, own = measure(nlp, mix, None), measure(nlp, mix, "own")
    # Parts of a long record are read with 128 tokens around them: not quite what the whole gives.
    rows = {"without": compare(mix, without, own), "no budget": compare(mix, own, own)}
    for name, room in (("loose", args.loose), ("tight", args.tight)):
        rows[name] = compare(mix, measure(nlp, mix, float(parse_size(room))), own)
    report["rows"] = rows
    for name, row in rows.items():
        print(name, row, flush=True)
    for seed in range(1, args.trials + 1):
        draw = random.Random(seed)
        longest = draw.randrange(6000, args.longest)
        texts = make_mix(text, draw.randrange(4, 16), 1, longest, seed)
        found = measure(nlp, texts, draw.uniform(0.2, 0.7) * 10**9)
        peak = found["peak"] if found else None
        budget = found["counters"]["budget_bytes"] if found else None
        trial = {
            "budget_bytes": budget,
            "longest": max(map(len, texts)),
            "peak_bytes": peak,
            "within": found is not None and peak <= budget,
            "completed": found is not None and len(found["entities"]) == len(texts),
        }
        report["trials"].append(trial)
        print(seed, trial, flush=True)
    report["within_budget"] = sum(trial["within"] for trial in report["trials"])
    known = json.loads(args.out.read_text(encoding="utf8")) if args.out.exists() else {}
    known[args.name] = report
    args.out.write_text(json.dumps(known, indent=1, ensure_ascii=False) + "\n", encoding="utf8")


if __name__ == "__main__":
    main()
