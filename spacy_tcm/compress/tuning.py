"""Fine-tuning of a pruned net by distillation from the whole one: no labels are needed."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy
import torch
from spacy.util import minibatch
from torch import Tensor, nn
from torch.nn import functional

from spacy_tcm.compress.tuning_state import read_tuning, write_tuning
from spacy_tcm.errors import Errors, ModelError
from spacy_tcm.images.colour import random_light, relight
from spacy_tcm.models.photos import Photo
from spacy_tcm.nets.fusion import Tagger
from spacy_tcm.nets.text_encoder import TextEncoder
from spacy_tcm.nets.tongue import TongueNet

Progress = Callable[[int, float], None]
WARMUP = 0.05  # of the steps


def tune_tongue(
    student: TongueNet,
    teacher: TongueNet,
    photos: Sequence[Photo],
    steps: int,
    *,
    batch: int = 16,
    rate: float = 3e-4,
    light: float = 1.0,
    temperature: float = 2.0,
    seed: int = 0,
    folder: Path | None = None,
    save_every: int = 100,
    progress: Progress | None = None,
) -> float:
    """Make the student's trunk see what the teacher's sees, and return the last loss.

    The loss is the sum of the mean squared differences of the pooled features, each brought to
    deviation 1, and of the regions, over their variance; and of the divergence of the attributes'
    probabilities at a temperature. Heads and projection stay as they are, and so do statistics of
    batch norms: begin with `spacy_tcm.compress.refit.refit`.

    photos: as `prepare_photos` gives them; those that cannot be used are left out. light: of the
        simulated lights, see `random_light`; half of the photos are mirrored. folder: where it is
        kept every so many steps, and from where a run goes on. progress: called with step and loss.
    RAISES ModelError: there is no photo; the folder holds another or a damaged run.
    """
    seen = usable(photos)
    teacher.eval()
    deviations = feature_deviations(teacher, seen[:256])

    def loss(random: numpy.random.Generator) -> Tensor:
        chosen = [seen[i] for i in random.integers(len(seen), size=batch)]
        pixels, masks, colours = stack_photos(chosen, _device(student), random, light)
        with torch.no_grad():
            maps, pooled = teacher.look(pixels, masks)
            regions, scores = teacher.judge(maps, pooled, colours)
        my_maps, my_pooled = student.look(pixels, masks)
        my_regions, my_scores = student.judge(my_maps, my_pooled, colours)
        parts = [
            ((my_pooled - pooled) / deviations).square().mean(),
            (my_regions - regions).square().mean() / regions.var(),
        ]
        sizes = list(teacher.arch.heads.n_values)
        for mine, wanted in zip(my_scores.split(sizes, 1), scores.split(sizes, 1), strict=True):
            parts.append(_divergence(mine, wanted, temperature) / len(sizes))
        return torch.stack(parts).sum()

    settings = {"batch": batch, "light": light, "temperature": temperature}
    with _learning(student, student.trunk):
        return _run(
            student, loss, steps, rate, seed, settings, folder, save_every, progress or _silent
        )


def tune_text(
    student: TextEncoder,
    teacher: TextEncoder,
    texts: Sequence[Sequence[int]],
    steps: int,
    *,
    tagger: Tagger | None = None,
    batch: int = 16,
    rate: float = 5e-4,
    temperature: float = 2.0,
    seed: int = 0,
    folder: Path | None = None,
    save_every: int = 100,
    progress: Progress | None = None,
) -> float:
    """Make the student's layers give what the teacher's give, and return the last loss.

    The loss is the mean squared difference over the teacher's mean square, of the last layer plus
    the mean of those before it.

    texts: subwords of each, as `encode` gives them. tagger: adds the divergence of the emissions
        that it makes of either's vectors, without lexicon and photo; it is not changed. Others: see
        `tune_tongue`.
    RAISES ModelError: there is no text; the folder holds another or a damaged run.
    """
    if not texts:
        raise ModelError(Errors.E494.format(method="the distillation"))
    ordered = sorted(texts, key=len)  # texts of like length share a batch
    teacher.eval()

    def loss(random: numpy.random.Generator) -> Tensor:
        at = int(random.integers(max(len(ordered) - batch, 0) + 1))
        ids, mask = pad(ordered[at : at + batch], _device(student))
        with torch.no_grad():
            wanted = layer_outputs(teacher, ids, mask)
        found = layer_outputs(student, ids, mask)
        errors = [
            (mine - theirs)[mask].square().mean() / theirs[mask].square().mean()
            for mine, theirs in zip(found, wanted, strict=True)
        ]
        total = errors[-1] + sum(errors[:-1]) / max(len(errors) - 1, 1)
        if tagger is not None:
            mine, theirs = (_emissions(tagger, x[-1], mask)[mask] for x in (found, wanted))
            total = total + _divergence(mine, theirs, temperature)
        return total

    settings = {"batch": batch, "tagger": tagger is not None, "temperature": temperature}
    with _learning(student, student), _learning(tagger, None):
        return _run(
            student, loss, steps, rate, seed, settings, folder, save_every, progress or _silent
        )


@torch.no_grad()
def recalibrate(net: TongueNet, photos: Sequence[Photo], batch: int = 16) -> None:
    """Measure the statistics of the batch norms anew: after slicing they are those of other inputs.

    RAISES ModelError: there is no usable photo.
    """
    norms = [m for m in net.trunk.modules() if isinstance(m, nn.BatchNorm2d)]
    before = [(norm.momentum, norm.training) for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all batches
        norm.train()
    for part in minibatch(usable(photos), batch):
        net.look(*stack_photos(part, _device(net))[:2])
    for norm, (momentum, training) in zip(norms, before, strict=True):
        norm.momentum = momentum
        norm.train(training)


def refit_heads(
    net: TongueNet,
    photos: Sequence[Photo],
    labels: Tensor,
    steps: int = 300,
    rate: float = 1e-3,
    seed: int = 0,
) -> float:
    """Fit what tells attributes from the trunk's maps to labels, and return the last loss; the
    trunk and what tells colours stay as they are.

    labels: (photos, attributes), the number of the value, -1 where it is not known.
    RAISES ModelError: a photo cannot be used, or nothing is known that the maps tell.
    """
    heads = net.heads.arch
    wanted = [(n, i) for i, n in enumerate(heads.n_values) if not heads.by_colour[i]]
    known = [bool((labels[:, i] >= 0).any()) for _, i in wanted]
    head = net.heads.by_map
    if head.score is None or not any(known) or any(photo.pixels is None for photo in photos):
        raise ModelError(Errors.E494.format(method="the heads"))
    features, labels = _features(net, photos, 16), labels.to(_device(net))
    head.norm.running_mean = features.mean(0)
    head.norm.running_var = features.var(0)
    features = functional.batch_norm(features, head.norm.running_mean, head.norm.running_var)
    last = float("nan")
    with _learning(net, head.score), torch.random.fork_rng([]):
        torch.manual_seed(seed)
        optimizer = torch.optim.AdamW(head.score.parameters(), rate)
        for _ in range(steps):
            dropped = functional.dropout(features, heads.dropout)
            scores = head.score(dropped).split([n for n, _ in wanted], 1)
            losses = [
                functional.cross_entropy(mine, labels[:, i], ignore_index=-1)
                for mine, (_, i), some in zip(scores, wanted, known, strict=True)
                if some
            ]
            loss = torch.stack(losses).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            last = loss.item()
    return last


@torch.no_grad()
def feature_deviations(net: TongueNet, photos: Sequence[Photo], batch: int = 16) -> Tensor:
    """Of each pooled feature over photos, (features,); none is less than a hundredth of the mean
    one, or what hardly varies would count most."""
    return _deviations(_features(net, photos, batch))


@torch.no_grad()
def feature_error(
    student: TongueNet, teacher: TongueNet, photos: Sequence[Photo], batch: int = 16
) -> float:
    """How much of the variance of the teacher's pooled features the student misses: the mean
    squared difference of the features, each brought to deviation 1."""
    wanted, found = (_features(net, photos, batch) for net in (teacher, student))
    return ((found - wanted) / _deviations(wanted)).square().mean().item()


@torch.no_grad()
def vector_error(
    student: TextEncoder, teacher: TextEncoder, texts: Sequence[Sequence[int]], batch: int = 16
) -> float:
    """The mean squared difference of the last layer's vectors over the teacher's mean square."""
    missed, total = 0.0, 0.0
    student.eval(), teacher.eval()
    for part in minibatch(sorted(texts, key=len), batch):
        ids, mask = pad(part, _device(student))
        wanted, found = teacher(ids, mask)[mask], student(ids, mask)[mask]
        missed += (found - wanted).square().sum().item()
        total += wanted.square().sum().item()
    return missed / total


def layer_outputs(net: TextEncoder, ids: Tensor, mask: Tensor) -> list[Tensor]:
    """Of each layer, (rows, length, width)."""
    found = [net.embeddings(ids)]
    for layer in net.layers:
        found.append(layer(found[-1], mask[:, None, None]))
    return found[1:]


def encode(texts: Sequence[str], tokenizer: Any, length: int = 128) -> list[list[int]]:
    """Subwords of texts with the special ones around; longer texts are cut, so give windows, e.g.
    those of `spacy_tcm.training.pretraining.texts`. tokenizer: a Hugging Face one."""
    return tokenizer(list(texts), truncation=True, max_length=length)["input_ids"]


def pad(texts: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """ids and mask, (texts, longest)."""
    longest = max(len(text) for text in texts)
    ids = torch.zeros(len(texts), longest, dtype=torch.long)
    mask = torch.zeros(len(texts), longest, dtype=torch.bool)
    for row, text in enumerate(texts):
        ids[row, : len(text)] = torch.tensor(text)
        mask[row, : len(text)] = True
    return ids.to(device), mask.to(device)


def _run(
    net: TongueNet | TextEncoder,
    loss: Callable[[numpy.random.Generator], Tensor],
    steps: int,
    rate: float,
    seed: int,
    settings: dict[str, Any],
    folder: Path | None,
    save_every: int,
    progress: Progress,
) -> float:
    settings = {**settings, "steps": steps, "rate": rate, "seed": seed, "arch": net.arch.to_dict()}
    learning = [p for p in net.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learning, rate)
    first, last = read_tuning(folder, net, optimizer, settings)
    for step in range(first, steps):
        warm = min(1.0, (step + 1) / max(1.0, WARMUP * steps))
        for group in optimizer.param_groups:
            group["lr"] = rate * warm * 0.5 * (1 + math.cos(math.pi * step / steps))
        # The random numbers of a step are the same wherever one begins.
        value = loss(numpy.random.default_rng([seed, step]))
        optimizer.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(learning, 1.0)
        optimizer.step()
        last = value.item()
        progress(step + 1, last)
        if folder is not None and ((step + 1) % save_every == 0 or step + 1 == steps):
            write_tuning(folder, net, optimizer, settings, step + 1, last)
    return last


def _silent(step: int, loss: float) -> None:
    pass


@contextmanager
def _learning(net: nn.Module | None, part: nn.Module | None) -> Iterator[None]:
    """Within it, the net evaluates, and what learns of it is a part. Afterwards it is as before."""
    if net is None:
        yield
        return
    before = [(p, p.requires_grad) for p in net.parameters()]
    training = net.training
    net.requires_grad_(False).eval()
    if part is not None:
        part.requires_grad_(True)
    try:
        yield
    finally:
        for parameter, wanted in before:
            parameter.requires_grad_(wanted)
            parameter.grad = None
        net.train(training)


def usable(photos: Sequence[Photo]) -> list[Photo]:
    """Without the photos that are rejected. RAISES ModelError: there is no other."""
    found = [photo for photo in photos if photo.pixels is not None]
    if not found:
        raise ModelError(Errors.E494.format(method="the distillation"))
    return found


def stack_photos(
    photos: Sequence[Photo],
    device: torch.device,
    random: numpy.random.Generator | None = None,
    light: float = 0.0,
) -> tuple[Tensor, Tensor, Tensor]:
    """Arguments of the net. random: mirrors half of them and lights them anew."""
    pixels, masks = [], []
    for photo in photos:
        shown, mask = photo.pixels, photo.mask
        assert shown is not None
        if random is not None:
            shown = relight(shown, random_light(random, light))
            if random.random() < 0.5:
                shown, mask = shown[:, ::-1], mask[:, ::-1]
        pixels.append(shown)
        masks.append(mask)
    colours = numpy.stack([photo.colours for photo in photos])
    arrays = (numpy.stack(pixels), numpy.stack(masks), colours)
    found = [torch.from_numpy(array).to(device) for array in arrays]
    return found[0], found[1], found[2]


@torch.no_grad()
def _features(net: TongueNet, photos: Sequence[Photo], batch: int) -> Tensor:
    net.eval()
    parts = minibatch(usable(photos), batch)
    return torch.cat([net.look(*stack_photos(part, _device(net))[:2])[1] for part in parts])


def _deviations(features: Tensor) -> Tensor:
    found = features.std(0, unbiased=False)
    return found.clamp(min=0.01 * found.mean().item() or 1.0)


def _divergence(found: Tensor, wanted: Tensor, temperature: float) -> Tensor:
    """Of the probabilities of scores (rows, values), mean over the rows (Hinton et al. 2015)."""
    mine, theirs = ((x / temperature).log_softmax(-1) for x in (found, wanted))
    kl = functional.kl_div(mine, theirs, reduction="batchmean", log_target=True)
    return kl * temperature**2


def _emissions(tagger: Tagger, vectors: Tensor, mask: Tensor) -> Tensor:
    rows, length, _ = vectors.shape
    lexicon = vectors.new_zeros(rows, length, tagger.arch.lexicon)
    regions = vectors.new_zeros(rows, 1, tagger.arch.tongue)
    return tagger(vectors, mask.sum(1), lexicon, regions, mask.new_zeros(rows))[0]


def _device(net: nn.Module) -> torch.device:
    return next(net.parameters()).device
