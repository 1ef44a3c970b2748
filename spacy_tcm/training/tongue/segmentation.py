"""Train the net that finds the tongue, on photos with masks."""

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from spacy_tcm.errors import Errors, RecordError
from spacy_tcm.images.load import load_tongue_image
from spacy_tcm.nets.segment import SegmentArch, SegmentNet
from spacy_tcm.training.tongue.augment import PhotoAugmenter
from spacy_tcm.training.tongue.photos import is_held_out

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
EVALUATION_BATCH = 32


@dataclass(frozen=True, eq=False)
class MaskedPhoto:
    """name: of the file, without suffix. held_out: kept to measure on. pixels: (side, side, 3)
    uint8 RGB. mask: (side, side) bool. Both are padded to a square."""

    name: str
    held_out: bool
    pixels: NDArray[numpy.uint8]
    mask: NDArray[numpy.bool_]


def read_masked_photos(folder: Path, side: int, held_out: float = 0.2) -> list[MaskedPhoto]:
    """The photos of ``folder/images`` with the masks of the same name in ``folder/masks``.

    A mask is an image of the photo's shape, if not size, and not black where the tongue is.
    Photos that ``folder/labels.csv`` puts into the split "dev" are held out; where it says nothing
    of splits, a share of held_out, by the hash of their names.
    RAISES RecordError: there are none, or a photo or its mask is missing or unusable.
    """
    photos = []
    dev = _read_dev(folder / "labels.csv")
    for path in sorted((folder / "images").glob("*")):
        if path.suffix.lower() not in SUFFIXES:
            continue
        loaded = load_tongue_image(str(path), side)
        if loaded.pixels is None:
            raise RecordError(Errors.E371.format(path=path, reason=", ".join(loaded.reasons)))
        masks = [folder / "masks" / f"{path.stem}{suffix}" for suffix in SUFFIXES]
        found = next((mask for mask in masks if mask.is_file()), None)
        if found is None:
            raise RecordError(Errors.E372.format(path=path, folder=folder / "masks"))
        kept = is_held_out(path.stem, held_out) if dev is None else path.stem in dev
        mask = _read_mask(found, loaded.content, side)
        photos.append(MaskedPhoto(path.stem, kept, loaded.pixels, mask))
    if not photos:
        raise RecordError(Errors.E373.format(folder=folder / "images"))
    return photos


def _read_dev(labels: Path) -> set[str] | None:
    if not labels.is_file():
        return None
    with labels.open(encoding="utf8", newline="") as file:
        rows = list(csv.DictReader(file))
    if not rows or "split" not in rows[0] or "image" not in rows[0]:
        return None
    return {row["image"] for row in rows if row["split"] == "dev"}


def _read_mask(path: Path, content: tuple[int, int, int, int], side: int) -> NDArray[numpy.bool_]:
    from PIL import Image

    top, left, height, width = content
    try:
        with Image.open(path) as file:
            grey = file.convert("L").point(lambda value: 255 if value else 0)
    except (OSError, ValueError, SyntaxError):
        raise RecordError(Errors.E374.format(path=path)) from None
    if abs(grey.width * height - grey.height * width) > max(grey.size) * 2:
        raise RecordError(Errors.E375.format(path=path))
    mask = numpy.zeros((side, side), dtype=bool)
    small = grey.resize((width, height), Image.Resampling.BILINEAR)
    mask[top : top + height, left : left + width] = numpy.asarray(small) >= 128
    return mask


def read_trunk(path: Path) -> dict[str, Tensor]:
    """Weights of an EfficientNet-Lite0 up to a sixteenth, under timm's names.

    RAISES RecordError: there is no such file, or it is no safetensors file.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return {name: tensor.float() for name, tensor in load_file(path).items()}
    except (OSError, SafetensorError):
        raise RecordError(Errors.E377.format(path=path)) from None


def train_segmenter(
    photos: Sequence[MaskedPhoto],
    *,
    trunk: dict[str, Tensor] | None,
    epochs: float = 6,
    batch_size: int = 16,
    rate: float = 2e-3,
    seed: int = 0,
    report: Callable[[int, int, float], None] = lambda step, steps, loss: None,
) -> SegmentNet:
    """Train on all photos: cross-entropy plus soft Dice (Milletari et al. 2016).

    trunk: weights to begin with; they learn at a quarter of the rate. None: random. report: called
    after each step with its number, how many there are, and the loss.
    """
    torch.manual_seed(seed)
    net = SegmentNet(SegmentArch())
    if trunk is not None:
        net.trunk.load_state_dict(trunk, strict=True)
    shares = {"trunk": rate / 4 if trunk is not None else rate, "rest": rate}
    groups: dict[str, list[Tensor]] = {"trunk": [], "rest": []}
    for name, parameter in net.named_parameters():
        groups["trunk" if name.startswith("trunk.") else "rest"].append(parameter)
    optimizer = torch.optim.AdamW(
        [{"params": groups[name], "lr": shares[name]} for name in groups], weight_decay=0.01
    )
    steps = max(1, round(epochs * len(photos) / batch_size))
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, [shares[name] for name in groups], total_steps=steps
    )
    augment = PhotoAugmenter(seed=seed)
    random = numpy.random.default_rng(seed)
    order: list[int] = []
    net = net.to(memory_format=torch.channels_last)
    net.train()
    for step in range(1, steps + 1):
        while len(order) < batch_size:
            order += random.permutation(len(photos)).tolist()
        batch = [augment(*_tensors(photos[order.pop()])) for _ in range(batch_size)]
        pixels = torch.stack([image for image, _ in batch]).mul(255).permute(0, 2, 3, 1)
        masks = torch.stack([mask for _, mask in batch])
        scores = net(pixels)
        loss = functional.binary_cross_entropy_with_logits(scores, masks)
        loss = loss + 1 - _soft_dice(scores.sigmoid(), masks).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        report(step, steps, loss.item())
    return net.eval()


@torch.no_grad()
def measure_dice(net: SegmentNet, photos: Sequence[MaskedPhoto]) -> list[float]:
    """Dice (1945) of each photo: twice the overlap over the sum of both areas."""
    found: list[float] = []
    for start in range(0, len(photos), EVALUATION_BATCH):
        part = photos[start : start + EVALUATION_BATCH]
        scores = net(torch.from_numpy(numpy.stack([photo.pixels for photo in part])))
        masks = torch.from_numpy(numpy.stack([photo.mask for photo in part])).float()
        found += _soft_dice((scores > 0).float(), masks, smooth=1e-6).tolist()
    return found


def _soft_dice(p: Tensor, q: Tensor, smooth: float = 1.0) -> Tensor:
    """(photos, side, side) twice -> (photos,)."""
    both = (p * q).sum((1, 2))
    return (2 * both + smooth) / (p.sum((1, 2)) + q.sum((1, 2)) + smooth)


def _tensors(photo: MaskedPhoto) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(photo.pixels).permute(2, 0, 1), torch.from_numpy(photo.mask).byte()
