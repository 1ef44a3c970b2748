"""Accuracy against bytes: how a net does with 30 to 70 % of the bytes of its inner widths cut, by
each method, all tuned equally long afterwards.

    python benchmarks/compression.py OUT.json TRAINED --texts FILE --scored FILE --photos DIR
        [--nets text tongue] [--methods ...] [--shares 0.3 ...] [--seeds 0 1 2] [--steps 12]
        [--rounds 48] [--bytes weights|peak] [--limit 192]

TRAINED: a pipeline with a plain BERT as `transformer` and a `tongue_encoder`. FILE: records whose
text is learned from; records to score entities on. DIR: labels.csv and images/; photos of the split
"train" are learned from, those of "dev" scored. The whole net teaches: labels are used for scores
alone. Ours is the search of `spacy_tcm.compress.search`; the other methods keep the same share of
each unit, the largest that fits, of the channels that torch-pruning finds most important, or
"global" the most important of all units together. --bytes: of the weights, or of the peak of one
text of 128 subwords or one photo, activations included. OUT.json keeps the runs that are done, and
the same command goes on from there. --limit: texts and photos learned from, at most. Nothing is
chosen by what is scored: the search compares architectures on batches that it holds out of those
learned from.
"""

import argparse
import json
import os
import random
import statistics
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from time import process_time
from typing import Any

from ner import mean_sd
from runs import keep, read_labels, require_labels

NETS = ("text", "tongue")
NONE, OURS = "none", "ours"
METHODS = ("random", "l1", "bn_scale", "taylor", "l1, global", "taylor, global", OURS)
SHARES = (0.3, 0.4, 0.5, 0.6, 0.7)
BATCH = 8
HELD_OUT = 4  # batches of what is learned from, by which architectures are compared
SEEN = 8  # batches, for importances
LENGTH = 62  # characters of a text learned from, of 64 subwords then
SIZE = {"text": 128, "tongue": 224}
MEASURES = ("f", "accuracy", "macro_f", "error", "loss")


class InnerBytes:
    """Bytes that the inner widths account for, above what the net has without them; in place of a
    `ByteModel`."""

    def __init__(self, model: Any, kind: str):
        self.bytes = model.weights if kind == "weights" else model.peak
        self.nothing = self.bytes([0] * len(model.widths))
        self.whole = self.peak(model.widths)

    def peak(self, widths: Sequence[int]) -> int:
        return self.bytes(widths) - self.nothing

    weights = peak


def make_task(name: str, nlp: Any, args: argparse.Namespace) -> Any:
    """Of `spacy_tcm.compress.tasks`: net, batches, loss."""
    from spacy_tcm.compress.tasks import TextTask, TongueTask

    shuffled = random.Random(0)
    if name == "text":
        lines = args.texts.read_text(encoding="utf8").splitlines()
        texts = [json.loads(line)["text"][:LENGTH] for line in lines]
        shuffled.shuffle(texts)
        return TextTask(nlp, texts[: args.limit], BATCH)
    rows = [row for row in read_labels(args.photos) if row["split"] == "train"]
    shuffled.shuffle(rows)
    paths = [photo_path(args.photos, row) for row in rows[: args.limit]]
    return TongueTask(nlp.get_pipe("tongue_encoder"), paths, BATCH)


def photo_path(photos: Path, row: dict[str, str]) -> str:
    return str(photos / "images" / f"{row['image']}.jpg")


def sharpened(batch: Any) -> Any:
    """With the teacher's choice in place of its probabilities. The divergence from these has no
    gradient at the teacher itself, so that Taylor's criterion would see nothing."""
    if hasattr(batch, "scores"):
        return replace(batch, scores=100 * batch.scores)
    if batch.rest is None:
        return batch
    return replace(batch, rest=replace(batch.rest, emissions=100 * batch.rest.emissions))


def find_importances(net: Any, task: Any, batches: Sequence[Any], method: str, seed: int) -> Any:
    """net: a `PrunableNet`. RETURNS: of each unit, (width,)."""
    inputs = [b.inputs for b in batches]
    known = {id(i): sharpened(b) for i, b in zip(inputs, batches, strict=True)}
    return net.importances(
        method,
        inputs,
        lambda output, batch: task.loss(lambda *_: output, known[id(batch)]),
        seed,
    )


def choose(
    net: Any,
    task: Any,
    memory: InnerBytes,
    budget: int,
    method: str,
    seed: int,
    rounds: int,
    known: dict[tuple[str, int], Any] | None = None,
) -> tuple[list[Any], dict[str, float]]:
    """What is kept of each unit, and the losses of what the search compared. net: a `PrunableNet`.
    known: importances by method and seed, kept here from run to run."""
    import torch

    from spacy_tcm.compress.baselines import uniform_or_global
    from spacy_tcm.compress.search import SearchSettings, search

    known = {} if known is None else known
    held_out, learned = task.batches[:HELD_OUT], task.batches[HELD_OUT:]
    criterion, _, everywhere = method.partition(", ")
    criterion = "taylor" if method == OURS else criterion
    if (criterion, seed) not in known:
        seen = random.Random(seed).sample(learned, min(SEEN, len(learned)))
        known[criterion, seed] = find_importances(net, task, seen, criterion, seed)
    importances = known[criterion, seed]
    if method != OURS:
        uniform = everywhere != "global"
        return uniform_or_global(net, importances, memory.peak, budget, uniform=uniform), {}
    order = random.Random(seed).choices(range(len(learned)), k=rounds)

    def validation_loss() -> Any:
        return torch.stack([task.loss(net.net, batch) for batch in held_out]).mean()

    found = search(
        net,
        memory,
        budget,
        lambda number: task.loss(net.net, learned[order[number]]),
        SearchSettings(rounds=rounds, seed=seed, refine=rounds // 3),
        validation_loss=validation_loss,
        rankings={criterion: importances},
    )
    return found.kept, {name: each.loss for name, each in found.candidates.items()}


def tune(net: Any, task: Any, name: str, steps: int, seed: int) -> None:
    """Learn from the whole net, as the command `compress` does."""
    from spacy_tcm.compress import tuning
    from spacy_tcm.compress.refit import refit

    learned = task.batches[HELD_OUT:]
    if name == "text":
        tuning.tune_text(net, task.net, texts_of(learned), steps, batch=BATCH, seed=seed)
        return
    photos = photos_of(learned)
    refit(net, task.net, photos)
    tuning.tune_tongue(net, task.net, photos, steps, batch=BATCH, seed=seed)


def texts_of(batches: Sequence[Any]) -> list[list[int]]:
    """The subwords of each row."""
    return [ids[mask].tolist() for b in batches for ids, mask in zip(b.ids, b.mask, strict=True)]


def photos_of(batches: Sequence[Any]) -> list[Any]:
    from spacy_tcm.models.photos import Photo
    from spacy_tcm.types import PhotoInfo

    info = PhotoInfo("ok")
    rows = (row for b in batches for row in zip(*b.inputs, strict=True))
    return [Photo(info, *(part.numpy() for part in row)) for row in rows]


def measure(net: Any, task: Any, name: str) -> dict[str, float]:
    """error: see `vector_error` and `feature_error` of `spacy_tcm.compress.tuning`; loss: of the
    task; both on batches held out."""
    import torch

    from spacy_tcm.compress import tuning

    held_out = task.batches[:HELD_OUT]
    with torch.inference_mode():
        loss = statistics.mean(float(task.loss(net, batch)) for batch in held_out)
    if name == "text":
        return {"error": tuning.vector_error(net, task.net, texts_of(held_out)), "loss": loss}
    return {"error": tuning.feature_error(net, task.net, photos_of(held_out)), "loss": loss}


class Trained:
    """The pipeline, with what all runs of one of its nets have in common."""

    def __init__(self, name: str, args: argparse.Namespace):
        import spacy

        from spacy_tcm.compress.memory import ByteModel

        self.name, self.args = name, args
        self.nlp = spacy.load(args.trained)
        self.task = make_task(name, self.nlp, args)
        if len(self.task.batches) <= HELD_OUT:
            raise SystemExit(f"{len(self.task.batches)} batches of {name} are too few.")
        self.memory = InnerBytes(ByteModel.of(self.task.net, 1, SIZE[name]), args.bytes)
        self.importances: dict[tuple[str, int], Any] = {}
        if name == "tongue":
            self._read_photos()

    def _read_photos(self) -> None:
        from spacy_tcm.models.photos import prepare_photos

        rows = read_labels(self.args.photos)
        self.rows = [row for row in rows if row["split"] == "dev"]
        model = self.nlp.get_pipe("tongue_encoder").model
        self.photos = prepare_photos(
            [photo_path(self.args.photos, row) for row in self.rows],
            model.attrs["image_size"],
            model.maybe_get_ref("segmenter"),
            balanced=model.attrs["balanced"],
        )

    def run(self, method: str, share: float, seed: int) -> dict[str, Any]:
        import torch

        from spacy_tcm.compress.units import prunable

        torch.manual_seed(seed)
        net = deepcopy(self.task.net)
        result: dict[str, Any] = {"inner_bytes": self.memory.whole}
        if method != NONE:
            units = prunable(net)
            budget = int((1 - share) * self.memory.whole)
            start = process_time()
            kept, losses = choose(
                units,
                self.task,
                self.memory,
                budget,
                method,
                seed,
                self.args.rounds,
                self.importances,
            )
            widths = [len(some) for some in kept]
            net = units.slice(kept)
            result |= {
                "budget": budget,
                "bytes": self.memory.peak(widths),
                "widths": widths,
                "chosen_in": process_time() - start,
                "candidates": losses,
                "before_tuning": measure(net, self.task, self.name),
            }
            tune(net, self.task, self.name, self.args.steps, seed)
        return {**result, **measure(net, self.task, self.name), **self.score(net)}

    def score(self, net: Any) -> dict[str, float]:
        """f, macro_f: of entities, by the deployed pipeline around the net; accuracy, macro_f: of
        attributes of photos, their means."""
        if self.name == "text":
            from deployed_equality import entity_scores

            from spacy_tcm.compress.deploy import deploy

            found = entity_scores(deploy(self.nlp, encoder=net), self.args.scored)
            return {name: found[name] for name in ("f", "macro_f")}
        from deployed_equality import attribute_scores

        attributes = self.nlp.get_pipe("tongue_encoder").attributes
        told = tell(net, self.photos, attributes)
        names = [name for name in attributes if any(row.get(name) for row in self.rows)]
        scores = [attribute_scores(told, self.rows, name) for name in names]
        return {n: statistics.mean(s[n] for s in scores) for n in ("accuracy", "macro_f")}


def tell(net: Any, photos: Sequence[Any], attributes: dict[str, list[str]]) -> list[dict[str, Any]]:
    """Of each photo the most probable value of each attribute; {} of one that is rejected."""
    import numpy
    import torch

    found: list[dict[str, Any]] = [{} for _ in photos]
    usable = [i for i, photo in enumerate(photos) if photo.pixels is not None]
    net.eval()
    for start in range(0, len(usable), BATCH):
        some = usable[start : start + BATCH]
        parts = [(photos[i].pixels, photos[i].mask, photos[i].colours) for i in some]
        inputs = [torch.from_numpy(numpy.stack(each)) for each in zip(*parts, strict=True)]
        with torch.inference_mode():
            scores = net(*inputs)[1].split([len(values) for values in attributes.values()], 1)
        for (name, values), rows in zip(attributes.items(), scores, strict=True):
            for i, best in zip(some, rows.argmax(1).tolist(), strict=True):
                found[i][name] = {"value": values[best]}
    return found


def make_keys(args: argparse.Namespace) -> list[str]:
    """Method by method of one share and seed, so that an interrupted run compares all."""
    keys = [f"{net} | {NONE} | 0 | 0" for net in args.nets]
    for seed in args.seeds:
        for share in args.shares:
            for net in args.nets:
                some = [m for m in args.methods if net != "text" or m != "bn_scale"]  # it has none
                keys += [f"{net} | {method} | {share:g} | {seed}" for method in some]
    return keys


def summarize(runs: dict[str, Any]) -> dict[str, Any]:
    """net -> method -> share -> measure -> mean and deviation over seeds."""
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for key, result in runs.items():
        net, method, share, _ = key.split(" | ")
        groups.setdefault((net, method, share), []).append(result)
    summary: dict[str, Any] = {}
    for (net, method, share), some in groups.items():
        names = [name for name in MEASURES if name in some[0]]
        summary.setdefault(net, {}).setdefault(method, {})[share] = {
            **{name: mean_sd([result[name] for result in some]) for name in names},
            "seeds": len(some),
        }
    return summary


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("trained")
    parser.add_argument("--texts", type=Path)
    parser.add_argument("--scored", type=Path)
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--nets", nargs="+", default=list(NETS), choices=NETS)
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--shares", type=float, nargs="+", default=list(SHARES))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=48)
    parser.add_argument("--bytes", choices=("weights", "peak"), default="weights")
    parser.add_argument("--limit", type=int, default=192)
    args = parser.parse_args()
    if "text" in args.nets and None in (args.texts, args.scored):
        parser.error("the text encoder needs --texts and --scored")
    if "tongue" in args.nets:
        if args.photos is None:
            parser.error("the tongue net needs --photos")
        require_labels(args.photos)
    settings = {name: getattr(args, name) for name in ("bytes", "steps", "rounds", "limit")}
    if args.out.exists():
        known = json.loads(args.out.read_text(encoding="utf8")).get("settings", settings)
        if known != settings:
            raise SystemExit(f"{args.out} was begun with other settings: {known}.")
    else:
        args.out.write_text(json.dumps({"settings": settings, "runs": {}}), encoding="utf8")
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    trained: dict[str, Trained] = {}
    report = json.loads(args.out.read_text(encoding="utf8"))
    for key in make_keys(args):
        if key in report["runs"]:
            continue
        net, method, share, seed = key.split(" | ")
        if net not in trained:
            trained[net] = Trained(net, args)
        start = process_time()
        result = trained[net].run(method, float(share), int(seed))
        result["cpu_seconds"] = process_time() - start
        keep(args.out, report, key, result, summarize)
        told = {n: round(result[n], 4) for n in ("f", "macro_f", "error") if n in result}
        print(f"{key}: {told}", flush=True)


if __name__ == "__main__":
    main()
