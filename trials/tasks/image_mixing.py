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
        others = pixels.index_select(0, torch.tensor(partners))
        if self.name == "mixup":
            shares = torch.tensor([self.share() for _ in partners])
            weights = shares[:, None, None, None]
            mixed = torch.lerp(others.float(), pixels.float(), weights).round_().to(torch.uint8)
        else:
            height, width = pixels.shape[2:]
            boxes = torch.tensor([drawn_box(height, width, self.share()) for _ in partners])  # (images, 4)
            inside = in_boxes(boxes, height, width)
            mixed = torch.where(inside[:, None], others, pixels)
            shares = (1 - inside.sum((1, 2)).double() / (height * width)).float()
        return EncodedImages(
            columns={"pixel_values": mixed},  # type: ignore[dict-item]  # indexed by row, as a sequence is
            padding={},
            targets=self.mixed_targets(encoded.targets, partners, shares),
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


def in_boxes(boxes: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Return which pixels of images are in the image's box: (images, height, width), bool.

    Args:
        boxes: (images, 4), as `drawn_box` returns them.
        height: Of the images, in pixels.
        width: Of the images, in pixels.
    """
    top, bottom, left, right = boxes[:, :, None].unbind(1)  # each (images, 1)
    y, x = torch.arange(height), torch.arange(width)
    return ((y >= top) & (y < bottom))[:, :, None] & ((x >= left) & (x < right))[:, None]


def image_mixing(augmentation: str, mixed_targets: MixedTargets) -> ImageMixing | None:
    """Return the mixtures of an augmentation, with what is learned of them; None for one that mixes nothing."""
    if augmentation not in ALPHAS:
        return None
    return ImageMixing(name=augmentation, alpha=ALPHAS[augmentation], mixed_targets=mixed_targets)
