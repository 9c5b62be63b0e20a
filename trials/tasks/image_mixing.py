"""Mixtures of two training images: mixup and cutmix, drawn for a whole batch.

mixup   the weighted mean of two images (Zhang et al. 2018)
cutmix  an image with a box of another one (Yun et al. 2019)

`ImageInputs` gives a split these changes; `ClassLoss` weighs the two classes. Draws come from the module `random`'s own
generator, which the trainer seeds.
"""

# ruff: noqa: S311 - reproducible draws, not secrets

import math
import random
from dataclasses import dataclass, replace
from typing import Self

import torch

from luthier.studies.hyperparameters import Params
from luthier.trials.data.encoded import Changes
from luthier.trials.tasks.class_loss import OTHER, SHARE
from luthier.trials.tasks.encoded_images import AugmentedImages, EncodedImages

ALPHAS = {"mixup": 0.2, "cutmix": 1.0}
"""The alpha of the papers (for ImageNet), by the kind of mixture."""


@dataclass(frozen=True, kw_only=True)
class Mixing(Changes):
    """Mixtures of each image of a batch with another one of it.

    Attributes:
        name: mixup or cutmix.
        alpha: Both parameters of the Beta distribution that the first image's share is drawn from; 0: no mixtures.
    """

    name: str
    alpha: float

    def tuned(self, params: Params) -> Self:
        """Return them as strong as a configuration says."""
        alpha = float(params["mixup_alpha"])
        return replace(self, alpha=ALPHAS[self.name] if alpha < 0 else alpha)

    def draw(self, encoded: AugmentedImages) -> EncodedImages:
        """Return the batch's images, changed as `standard` does and then mixed, with the classes of both and the share.

        Each image is mixed with one partner and is the partner of one, with a share of its own.
        """
        count = len(encoded)
        pixels = encoded.pixels(range(count))  # (images, 3, height, width)
        partners = random.sample(range(count), count)
        mixed = torch.empty_like(pixels)
        shares: list[float] = []
        for i, partner in enumerate(partners):
            share = random.betavariate(self.alpha, self.alpha) if self.alpha else 1.0
            if self.name == "mixup":
                mean = torch.lerp(pixels[partner].float(), pixels[i].float(), share)
                mixed[i] = mean.round_()
            else:
                mixed[i] = pixels[i]
                top, bottom, left, right = drawn_box(pixels.shape[2], pixels.shape[3], share)
                mixed[i, :, top:bottom, left:right] = pixels[partner, :, top:bottom, left:right]
                share = 1 - (bottom - top) * (right - left) / (pixels.shape[2] * pixels.shape[3])
            shares.append(share)
        labels = torch.as_tensor(encoded.targets["labels"])
        return EncodedImages(
            columns={"pixel_values": mixed},  # type: ignore[dict-item]  # indexed by row, as a sequence is
            padding={},
            targets={"labels": labels, OTHER: labels[partners], SHARE: torch.tensor(shares)},
            lengths=encoded.lengths,
            longest=encoded.longest,
            batching=encoded.batching,
            factor=encoded.factor,
            offset=encoded.offset,
        )


def drawn_box(height: int, width: int, share: float) -> tuple[int, int, int, int]:
    """Draw a box of the image's shape that is cut at the image's edges (Yun et al. 2019, equation 2).

    Args:
        height: Of the image, in pixels.
        width: Of the image, in pixels.
        share: Of the area that is left, before the cut at the edges.

    Returns:
        Top and bottom, left and right, in pixels.
    """
    side = math.sqrt(1 - share)  # by the image's
    h, w = round(side * height), round(side * width)
    top, left = random.randint(0, height) - h // 2, random.randint(0, width) - w // 2
    return max(0, top), min(height, top + h), max(0, left), min(width, left + w)


def mixing(augmentation: str) -> Mixing | None:
    """Return the mixtures of an augmentation; None for one that mixes nothing."""
    return Mixing(name=augmentation, alpha=ALPHAS[augmentation]) if augmentation in ALPHAS else None
