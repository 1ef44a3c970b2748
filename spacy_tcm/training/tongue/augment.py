"""What a tongue photo may look like under another lamp, from another hand, with another phone."""

import numpy
import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from spacy_tcm.images.colour import random_light, relight


class PhotoAugmenter:
    """Turns a photo and its mask into another of the same tongue; draws from torch's own random
    numbers and from ``seed``.

    turn: degrees. shift: of the side. scale: lowest and highest. light: see `random_light`.
    """

    def __init__(
        self,
        *,
        turn: float = 30.0,
        shift: float = 0.25,
        scale: tuple[float, float] = (0.5, 1.6),
        light: float = 1.5,
        seed: int = 0,
    ):
        self.light = light
        self._random = numpy.random.default_rng(seed)
        smooth = v2.InterpolationMode.BILINEAR
        self._geometry = v2.Compose(
            [
                v2.RandomHorizontalFlip(),
                v2.RandomAffine(turn, (shift, shift), scale, interpolation=smooth),
            ]
        )
        self._camera = v2.Compose(
            [
                v2.ToDtype(torch.float32, scale=True),
                v2.RandomApply([v2.GaussianBlur(5, (0.3, 2.0))], 0.3),
                v2.ColorJitter(contrast=0.25, saturation=0.25),
                v2.RandomApply([v2.GaussianNoise(sigma=0.02)], 0.3),
            ]
        )

    def __call__(self, pixels: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """pixels: (3, side, side) uint8. mask: (side, side) uint8, 0 or 1.
        RETURNS: pixels and mask of the same shape, float, 0 to 1."""
        image, moved = self._geometry(tv_tensors.Image(pixels), tv_tensors.Mask(mask[None]))
        light = random_light(self._random, self.light)
        lit = relight(image.permute(1, 2, 0).numpy(), light)
        image = self._camera(torch.from_numpy(lit).permute(2, 0, 1))
        return image, moved[0].as_subclass(Tensor).float()
