"""Compress a trained pipeline: search, slice, tune, deploy, quantise, and say what came of it."""

import random
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from spacy.language import Language
from spacy.training import Example
from torch import Tensor, nn

from spacy_tcm.compress.baselines import uniform_or_global
from spacy_tcm.compress.deploy import deploy
from spacy_tcm.compress.dynamic import evaluate_dynamic
from spacy_tcm.compress.groups import mask_of, step_of
from spacy_tcm.compress.joint import JointBytes, JointNet
from spacy_tcm.compress.memory import ByteModel, Calibration, is_share, parse_budget
from spacy_tcm.compress.quantise_pipeline import quantise_pipeline
from spacy_tcm.compress.refit import refit
from spacy_tcm.compress.report import draw, write_report
from spacy_tcm.compress.search import Candidate, SearchResult, SearchSettings, search
from spacy_tcm.compress.tasks import TextTask, TongueTask
from spacy_tcm.compress.tuning import encode, tune_text, tune_tongue
from spacy_tcm.compress.units import prunable
from spacy_tcm.errors import BudgetInfeasibleError, Errors, ModelError
from spacy_tcm.pipeline.tongue_encoder import TongueEncoder
from spacy_tcm.training.corpus import annotate
from spacy_tcm.training.evaluation import evaluate_records
from spacy_tcm.training.validation import Record

METHODS = ("policy", "l1", "bn_scale", "taylor", "random", "none")
PARTS = ("tongue", "text")
# Of the steps: the search with its warm-up, fine-tuning, INT8 calibration.
SEARCH, TUNING, INT8 = 0.5, 0.4, 0.1
WARMUP = 0.2  # of the search
TOLD = 64  # photos whose attributes are compared
MOST = 256  # texts and photos that a search sees; an eighth of them compare architectures


@dataclass(frozen=True)
class CompressSettings:
    """budget: of all parts together, or, with text_budget, of the photo's net alone. A size is what
    a process that runs the nets in torch takes for them, by the calibration of the byte model; a
    share is one of the bytes that the tensors take now, without what no pruning changes. batch:
    photos and texts at once, length: subwords of a text, both of what the budget is about. steps:
    in all, see SEARCH, TUNING and INT8."""

    budget: str
    text_budget: str | None = None
    parts: tuple[str, ...] = PARTS
    method: str = "policy"
    steps: int = 400
    batch: int = 8
    length: int = 128
    int8: bool = True
    seed: int = 0

    def share(self, of: float) -> int:
        return max(1, round(self.steps * of))


@dataclass(frozen=True)
class Material:
    """What the pipeline is compressed by. texts: of at most ``length`` - 2 characters. images: see
    `load_tongue_image`. records: that it was not trained on, with their photos."""

    texts: Sequence[str] = ()
    images: Sequence[object] = ()
    records: Sequence[tuple[Record, Path | None]] = ()


Say = Callable[[str, int, int, dict[str, Any]], None]


def compress(
    nlp: Language,
    out: Path,
    settings: CompressSettings,
    material: Material,
    say: Say = lambda phase, step, steps, facts: None,
) -> dict[str, Any]:
    """Write the compressed pipeline to ``out/model`` and what came of it to ``out``.

    A killed run goes on where it was, from ``out/state``. say: is called with the phase, its step
    and steps, and what there is to tell.
    RETURNS: the report, see `write_report`.
    RAISES ModelError: there is nothing to prune or nothing to judge by; BudgetInfeasibleError.
    """
    tasks = _find_tasks(nlp, settings, material)
    budgets: dict[str, Any] = {}
    small: dict[str, Any] = {}
    for parts in _share_budget(tasks, settings):
        some = {part: tasks[part] for part in parts}
        text = settings.text_budget if parts == ("text",) and settings.text_budget else None
        asked = text or settings.budget
        net, memory = _join(some, settings, measured=not is_share(asked))
        whole = [unit.width for unit in net.units]
        budget = parse_budget(asked, memory.peak(whole))
        name = "+".join(parts)
        found = _choose(net, memory, budget, some, settings, out / "state" / name, say)
        nets = net.slice(found.best.to_slices())
        for part in parts:
            tune = _tune_tongue if part == "tongue" else _tune_text
            tune(nets[part], tasks[part], settings, material, out / "state" / part, say)
        small |= nets
        budgets[name] = _describe(net, memory, found, nets, settings)
        budgets[name]["dynamic"] = _run_dynamic(net, found, some)
        draw(found, net.units, out / f"widths_{name}.png", out / f"search_{name}.png")
    before = _score(nlp, material)
    deployed = deploy(nlp, small.get("text"), small.get("tongue"))
    after = {"pruned": _score(deployed, material)}
    told = _tell(nlp, material)
    attributes = {"pruned": _equal(told, _tell(deployed, material))}
    graphs = []
    if settings.int8:
        say("INT8", 0, 1, {})
        graphs = _quantise(deployed, settings, material)
        after["INT8"] = _score(deployed, material)
        attributes["INT8"] = _equal(told, _tell(deployed, material))
        say("INT8", 1, 1, {})
    deployed.to_disk(out / "model")
    report = {
        "settings": asdict(settings),
        "budgets": budgets,
        "scores": {"before": before, **after},
        "attributes": attributes if told else {},
        "int8": graphs,
        "model_bytes": sum(f.stat().st_size for f in (out / "model").rglob("*") if f.is_file()),
    }
    write_report(report, out)
    return report


def _find_tasks(nlp: Language, settings: CompressSettings, material: Material) -> dict[str, Any]:
    """RAISES ModelError: none of the parts is in the pipeline, or there is nothing to judge by."""
    tasks: dict[str, Any] = {}
    shuffle = random.Random(settings.seed)
    for part in PARTS:
        if part not in settings.parts:
            continue
        pipe = next((p for _, p in nlp.pipeline if isinstance(p, TongueEncoder)), None)
        if part == "tongue" and pipe is not None:
            images = shuffle.sample(list(material.images), min(MOST, len(material.images)))
            tasks[part] = TongueTask(pipe, images, settings.batch)
        if part == "text" and "transformer" in nlp.pipe_names:
            texts = shuffle.sample(list(material.texts), min(MOST, len(material.texts)))
            tasks[part] = TextTask(nlp, texts, settings.batch)
    if not tasks:
        raise ModelError(Errors.E497.format(parts=", ".join(settings.parts)))
    return tasks


def _share_budget(tasks: Mapping[str, Any], settings: CompressSettings) -> list[tuple[str, ...]]:
    """The parts that have a budget together."""
    return [(part,) for part in tasks] if settings.text_budget else [tuple(tasks)]


def _join(
    tasks: Mapping[str, Any], settings: CompressSettings, measured: bool
) -> tuple[JointNet, JointBytes]:
    nets, models = {}, {}
    for part, task in tasks.items():
        size = task.image_size if part == "tongue" else settings.length
        nets[part] = prunable(task.net, size)
        calibration = Calibration.read(task.net)
        models[part] = ByteModel.of(task.net, settings.batch, size, calibration=calibration)
    net = JointNet(nets)
    return net, JointBytes(net, models, measured)


def _choose(
    net: JointNet,
    memory: JointBytes,
    budget: int,
    tasks: Mapping[str, Any],
    settings: CompressSettings,
    state: Path,
    say: Say,
) -> SearchResult:
    """The architecture by the method that is asked for."""
    training, held_out = {}, {}
    for part, task in tasks.items():
        held_out[part], training[part] = _split(task)

    def loss(round_: int) -> Tensor:
        some = {part: batches[round_ % len(batches)] for part, batches in training.items()}
        return torch.stack([t.loss(t.net, some[part]) for part, t in tasks.items()]).sum()

    def validation_loss() -> Tensor:
        means = [
            torch.stack([task.loss(task.net, batch) for batch in held_out[part]]).mean()
            for part, task in tasks.items()
        ]
        return torch.stack(means).sum()

    whole = [unit.width for unit in net.units]
    everything = tuple(tuple(range(w)) for w in whole)
    with torch.no_grad():
        whole_loss = float(validation_loss())
    none = Candidate("none", tuple(whole), everything, memory.peak(whole), whole_loss)
    if settings.method == "none":
        if none.peak > budget:
            raise BudgetInfeasibleError(budget, none.peak)
        return SearchResult(budget, none.peak, whole_loss, none, {"none": none}, [])
    rankings = _rank(net, tasks, training, settings.seed)
    if settings.method == "policy":
        rounds = settings.share(SEARCH)
        steps = SearchSettings(rounds, WARMUP, seed=settings.seed, refine=max(8, rounds // 5))
        return search(
            net,
            memory,
            budget,
            loss,
            steps,
            validation_loss=validation_loss,
            rankings=rankings,
            on_round=lambda entry: say(
                "search", entry["round"] + 1, rounds, {**entry, "budget": budget}
            ),
            state=state / "search.safetensors",
        )
    if settings.method not in rankings:
        expected = f"one of {', '.join(['policy', 'none', *rankings])} for these parts"
        raise ModelError(
            Errors.E499.format(option="--method", expected=expected, value=settings.method)
        )
    kept = uniform_or_global(
        net, rankings[settings.method], memory.peak, budget, step_of(net.units)
    )
    widths = [len(k) for k in kept]
    gates = [mask_of(k, w) for w, k in zip(whole, kept, strict=True)]
    with torch.no_grad(), net.gated(gates):
        value = float(validation_loss())
    chosen = tuple(tuple(k.tolist()) for k in kept)
    best = Candidate(settings.method, tuple(widths), chosen, memory.peak(widths), value)
    return SearchResult(budget, none.peak, whole_loss, best, {settings.method: best}, [])


def _rank(
    net: JointNet, tasks: Mapping[str, Any], batches: Mapping[str, Sequence[Any]], seed: int
) -> dict[str, list[Tensor]]:
    """Importances by method; bn_scale where all parts have batch norms. Those of Taylor are by the
    squares of the outputs, since a distance to the net itself has no gradient at the whole net."""
    found: dict[str, list[Tensor]] = {}
    for method in ("l1", "bn_scale", "taylor", "random"):
        if method == "bn_scale" and "text" in tasks:
            continue
        found[method] = [
            importance
            for part, task in tasks.items()
            for importance in net.nets[part].importances(
                method, [batch.inputs for batch in batches[part]], seed=seed
            )
        ]
    return found


def _tune_tongue(
    net: Any,
    task: TongueTask,
    settings: CompressSettings,
    material: Material,
    state: Path,
    say: Say,
) -> None:
    refit(net, task.net, task.photos)
    steps = settings.share(TUNING)
    tune_tongue(
        net,
        deepcopy(task.net),
        task.photos,
        steps,
        batch=settings.batch,
        seed=settings.seed,
        folder=state,
        progress=lambda step, loss: say("tuning the tongue", step, steps, {"loss": loss}),
    )


def _tune_text(
    net: Any, task: TextTask, settings: CompressSettings, material: Material, state: Path, say: Say
) -> None:
    steps = settings.share(TUNING)
    tagger: Any = task.tagger
    reads = tagger is not None and tagger.arch.width == net.arch.width
    texts = encode(material.texts, task.pipe.model.tokenizer, settings.length)
    tune_text(
        net,
        deepcopy(task.net),
        texts,
        steps,
        tagger=tagger if reads else None,
        batch=settings.batch,
        seed=settings.seed,
        folder=state,
        progress=lambda step, loss: say("tuning the text", step, steps, {"loss": loss}),
    )


def _describe(
    net: JointNet,
    memory: JointBytes,
    found: SearchResult,
    nets: Mapping[str, Any],
    settings: CompressSettings,
) -> dict[str, Any]:
    """What came of one budget, JSON-able. Peak: of the tensors; measured: traced on the nets as
    they now are. Process: the same, calibrated."""
    sizes = {part: n.size for part, n in net.nets.items()}
    models = {part: ByteModel.of(n, settings.batch, sizes[part]) for part, n in nets.items()}
    weights = sum(sum(x.nbytes for x in _tensors(n)) for n in nets.values())
    activations = max(model.activations(model.widths) for model in models.values())
    whole = [unit.width for unit in net.units]
    return {
        "budget": found.budget,
        "budget_of": "process" if memory.measured else "peak",
        "peak": {
            "before": memory.tensors(whole),
            "predicted": memory.tensors(found.best.widths),
            "measured": weights + activations,
        },
        "process": {
            "before": memory.process(whole),
            "predicted": memory.process(found.best.widths),
        },
        "weights": {"before": memory.weights(whole), "after": weights},
        "method": found.best.method,
        "candidates": {
            name: {"loss": c.loss, "peak": c.peak, "widths": list(c.widths)}
            for name, c in found.candidates.items()
        },
        "units": [
            {"name": unit.name, "width": unit.width, "kept": width}
            for unit, width in zip(net.units, found.best.widths, strict=True)
        ],
        "history": found.history,
    }


def _run_dynamic(
    net: JointNet, found: SearchResult, tasks: Mapping[str, Any]
) -> dict[str, dict[str, float]]:
    """What the policy does if it chooses for each sample of the validation batches, by part."""
    if found.decider is None:
        return {}
    results, before = {}, 0
    for part, task in tasks.items():
        batches = _split(task)[0]

        def loss(task: Any = task, batches: Sequence[Any] = batches) -> Tensor:
            return torch.stack([task.loss(task.net, batch) for batch in batches]).mean()

        prefix = found.best.widths[:before]
        results[part] = evaluate_dynamic(net.nets[part], found.decider, loss, prefix)
        before += len(net.nets[part].units)
    return results


def _split(task: Any) -> tuple[list[Any], list[Any]]:
    """Batches by which architectures are compared, and those of the search; of a single batch,
    both."""
    n = max(1, len(task.batches) // 8)
    return task.batches[:n], task.batches[n:] or task.batches


def _tensors(net: nn.Module) -> list[Tensor]:
    return [*net.parameters(), *net.buffers()]


def _score(nlp: Language, material: Material) -> dict[str, Any] | None:
    """F of the entities; None without records."""
    if not material.records:
        return None
    found = evaluate_records(nlp, material.records)
    return {"records": found["records"], "f": found["exact"]["f"], "macro_f": found["macro_f"]}


def _tell(nlp: Language, material: Material) -> list[str]:
    """The value of each attribute of the photos, those that cannot be used left out."""
    pipe: Any = next((p for _, p in nlp.pipeline if isinstance(p, TongueEncoder)), None)
    if pipe is None:
        return []
    docs = [nlp.make_doc("") for _ in material.images[:TOLD]]
    for doc, image in zip(docs, material.images, strict=False):
        doc._.tongue_image = image
    told = (doc._.tongue["attributes"].values() for doc in pipe.pipe(iter(docs), batch_size=8))
    return [attribute["value"] for found in told for attribute in found]


def _equal(before: Sequence[str], after: Sequence[str]) -> float | None:
    """The share of values that are as before."""
    same = [a == b for a, b in zip(before, after, strict=True)]
    return sum(same) / len(same) if same else None


def _quantise(
    nlp: Language, settings: CompressSettings, material: Material
) -> list[dict[str, Any]]:
    """INT8 wherever what the pipeline finds stays the same, calibrated on as many texts and photos
    as the steps allow; judged on the records, or, without, on the texts and photos themselves."""
    n = min(MOST, settings.share(INT8) * settings.batch)
    texts = [*material.texts[:n]] or [record["text"] for record, _ in material.records[:n]]
    found = quantise_pipeline(
        nlp, texts, list(material.images[:n]), validation=_examples(nlp, material)
    )
    return [{"graph": name, **report.to_dict()} for name, report in found.graphs.items()]


def _examples(nlp: Language, material: Material) -> list[Example]:
    """The records, or, without, texts and photos of which nothing is known."""
    pairs: list[tuple[Record, Any]] = list(material.records)
    for i in range(0 if pairs else min(TOLD, max(len(material.texts), len(material.images)))):
        text = material.texts[i] if i < len(material.texts) else ""
        image = material.images[i] if i < len(material.images) else None
        pairs.append(({"id": str(i), "text": text, "entities": [], "labels": []}, image))
    examples = []
    for record, image in pairs:
        reference = nlp.make_doc(record["text"])
        annotate(reference, record)
        reference._.tongue_image = str(image) if isinstance(image, Path) else image
        examples.append(Example(nlp.make_doc(record["text"]), reference))
    return examples
