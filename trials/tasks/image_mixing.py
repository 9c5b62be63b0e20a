"""Mixtures of two training images: mixup and cutmix, drawn for a whole batch.

mixup   the weighted mean of two images (Zhang et al. 2018)
cutmix  an image with a box of another one (Yun et al. 2019)

`ImageInputs` gives a split these changes; the task says what is learned of a mixture.
"""

# ruff: noqa: S311 - reproducible draws, not secrets

import math
import random
from dataclasses import dataclass

import torch

from luthier.trials.tasks.encoded_images import AugmentedImages, EncodedImages
from luthier.trials.tasks.mixing import ALPHAS, MixedTargets, Mixing


@dataclass(frozen=True, kw_only=True)
class ImageMixing(Mixing):
    """Mixtures of each image of a batch with another one of it."""

    def draw(self, encoded: AugmentedImages) -> EncodedImages:
        """Return the batch's images, changed as `standard` does and then mixed, with what is learned of mixtures.

        Each image is mixed with one partner and is the partner of one, with a share of its own.
        """
        count = len(encoded)
        pixels = encoded.pixels(range(count))  # (images, 3, height, width)
        partners = self.partners(count)
        mixed = torch.empty_like(pixels)
        shares: list[float] = []
        for i, partner in enumerate(partners):
            share = self.share()
            if self.name == "mixup":
                mean = torch.lerp(pixels[partner].float(), pixels[i].float(), share)
                mixed[i] = mean.round_()
            else:
                mixed[i] = pixels[i]
                top, bottom, left, right = drawn_box(pixels.shape[2], pixels.shape[3], share)
                mixed[i, :, top:bottom, left:right] = pixels[partner, :, top:bottom, left:right]
                share = 1 - (bottom - top) * (right - left) / (pixels.shape[2] * pixels.shape[3])
            shares.append(share)
        return EncodedImages(
            columns={"pixel_values": mixed},  # type: ignore[dict-item]  # indexed by row, as a sequence is
            padding={},
            targets=self.mixed_targets(encoded.targets, partners, torch.tensor(shares)),
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


def image_mixing(augmentation: str, mixed_targets: MixedTargets) -> ImageMixing | None:
    """Return the mixtures of an augmentation, with what is learned of them; None for one that mixes nothing."""
    if augmentation not in ALPHAS:
        return None
    return ImageMixing(name=augmentation, alpha=ALPHAS[augmentation], mixed_targets=mixed_targets)
