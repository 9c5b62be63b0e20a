"""Random changes to a training image that leave its label, or the classes of its pixels, true.

standard   a random part of the image, resized (Szegedy et al. 2015, section 6), and mirrored with probability 1/2
trivial    standard, then one operation of a random strength (TrivialAugment, Mueller & Hutter 2021, table 1, RA)

The tasks on images call `augment` in their `collate`, or `draw_change` for an image and its mask or boxes. Draws come
from the module `random`'s own generator, which the trainer seeds; nothing else here is random. torchvision's transforms
are not used: torchvision has no build for every torch, and a worker must not need it.
"""

# ruff: noqa: S311 - reproducible draws, not secrets

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from PIL import Image, ImageEnhance, ImageOps

AREA = (0.08, 1.0)  # share of the image's area that is cut out
RATIO = (3 / 4, 4 / 3)  # width by height of the part that is cut out
STRENGTHS = 30  # a strength is a whole number from 0 to this
GREY, NO_CLASS = (128, 128, 128), 255  # what is shifted in from outside, of an image and of a mask


class Enhancer(Protocol):
    """An instance of a class of `PIL.ImageEnhance`, which holds an image."""

    def enhance(self, factor: float) -> Image.Image:
        """Return a changed copy of the image; the factor 1 changes nothing."""


def augment(image: Image.Image, kind: str, size: tuple[int, int], resample: int) -> Image.Image:
    """Return a changed copy of an image.

    Args:
        image: An RGB image of any size.
        kind: "standard" or "trivial".
        size: Width and height of the copy, in pixels.
        resample: The `PIL.Image.Resampling` with which the drawn part is resized.
    """
    return draw_change(image.size, kind, size, resample)(image)


Place = tuple[float, float, float, float]
"""A box: its centre, width and height, as shares of its image's sides."""


@dataclass(frozen=True)
class Change:
    """A change that was drawn: of an image, and then of its mask or of its boxes.

    Attributes:
        original: Width and height of the image.
        part: Left, upper, right and lower edge of what is cut out of it.
        mirrored: The copy is mirrored.
        copy: Makes the changed copy of an image or a mask.
    """

    original: tuple[int, int]
    part: tuple[float, float, float, float]
    mirrored: bool
    copy: Callable[[Image.Image], Image.Image]

    def __call__(self, image: Image.Image) -> Image.Image:
        """Return the changed copy of an image, or of a mask: of the mode L, whose pixels keep their classes."""
        return self.copy(image)

    def boxes(self, places: Sequence[Place], visible: float) -> list[Place | None]:
        """Return where boxes are in the changed copy, cut off at its edges; of a change of the kind "standard".

        Args:
            places: In the image.
            visible: Share of a box's area that must be in the copy.

        Returns:
            None for a box of which less is left.
        """
        width, height = self.original
        left, upper, right, lower = self.part
        moved: list[Place | None] = []
        for x, y, w, h in places:
            edges = [
                (x * width - w * width / 2 - left) / (right - left),
                (y * height - h * height / 2 - upper) / (lower - upper),
                (x * width + w * width / 2 - left) / (right - left),
                (y * height + h * height / 2 - upper) / (lower - upper),
            ]
            a, b, c, d = (min(max(edge, 0.0), 1.0) for edge in edges)
            whole = (edges[2] - edges[0]) * (edges[3] - edges[1])
            if c <= a or d <= b or (c - a) * (d - b) < visible * whole:
                moved.append(None)
                continue
            centre = (a + c) / 2
            moved.append((1 - centre if self.mirrored else centre, (b + d) / 2, c - a, d - b))
        return moved


def draw_change(
    original: tuple[int, int], kind: str, size: tuple[int, int], resample: int, area: tuple[float, float] = AREA
) -> Change:
    """Draw a change, and return what makes it: on an image, and then on its mask.

    A mask has the mode L; each of its pixels keeps its class, and what comes in from outside has the class 255.

    Args:
        original: Width and height of the image and its mask.
        kind: "standard" or "trivial".
        size: Width and height of the changed copies, in pixels.
        resample: The `PIL.Image.Resampling` with which the drawn part of an image is resized.
        area: Share of the image's area that is cut out, from and to.
    """
    part = _part(*original, area)
    mirrored = random.random() < 0.5
    operation = random.choice(OPERATIONS) if kind == "trivial" else None
    strength = 0.0 if operation is None else random.randint(0, STRENGTHS) / STRENGTHS
    state = None if operation is None else random.getstate()

    def change(image: Image.Image) -> Image.Image:
        is_mask = image.mode == "L"
        changed = image.resize(size, Image.Resampling.NEAREST if is_mask else Image.Resampling(resample), box=part)
        changed = ImageOps.mirror(changed) if mirrored else changed
        if operation is None or state is None or (is_mask and operation not in MOVES):
            return changed
        random.setstate(state)  # an operation draws its direction: the same one for image and mask
        return operation(changed, strength)

    return Change(original, part, mirrored, change)


def _part(width: int, height: int, share: tuple[float, float]) -> tuple[float, float, float, float]:
    """Draw a box of random area, shape and place in an image of this width and height.

    Returns:
        Left, upper, right and lower edge. Where ten draws do not fit: the largest central box of an allowed shape.
    """
    for _ in range(10):
        area = width * height * random.uniform(*share)
        ratio = math.exp(random.uniform(math.log(RATIO[0]), math.log(RATIO[1])))
        w = round(math.sqrt(area * ratio))
        h = round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            left = random.randint(0, width - w)
            top = random.randint(0, height - h)
            return left, top, left + w, top + h
    widest = min(width, height * RATIO[1])
    highest = min(height, width / RATIO[0])
    return (width - widest) / 2, (height - highest) / 2, (width + widest) / 2, (height + highest) / 2


def _signed(strength: float) -> float:
    return strength if random.random() < 0.5 else -strength


def _affine(image: Image.Image, *matrix: float) -> Image.Image:
    return image.transform(
        image.size, Image.Transform.AFFINE, matrix, Image.Resampling.NEAREST, fillcolor=_outside(image)
    )


def _outside(image: Image.Image) -> tuple[int, int, int] | int:
    """Return what is shifted in from outside of an image or a mask."""
    return GREY if image.mode == "RGB" else NO_CLASS


def _enhanced(kind: Callable[[Image.Image], Enhancer]) -> Callable[[Image.Image, float], Image.Image]:
    return lambda image, strength: kind(image).enhance(1 + 0.9 * _signed(strength))


Operation = Callable[[Image.Image, float], Image.Image]
"""(image, strength from 0 to 1) -> a changed image of the same size."""
_COLOURS: tuple[Operation, ...] = (
    lambda image, strength: image,
    lambda image, strength: ImageOps.autocontrast(image),
    lambda image, strength: ImageOps.equalize(image),
    lambda image, strength: ImageOps.solarize(image, round(256 * (1 - strength))),
    lambda image, strength: ImageOps.posterize(image, 8 - round(4 * strength)),
    _enhanced(ImageEnhance.Color),
    _enhanced(ImageEnhance.Contrast),
    _enhanced(ImageEnhance.Brightness),
    _enhanced(ImageEnhance.Sharpness),
)
MOVES: tuple[Operation, ...] = (
    lambda image, strength: image.rotate(30 * _signed(strength), fillcolor=_outside(image)),
    lambda image, strength: _affine(image, 1, 0.3 * _signed(strength), 0, 0, 1, 0),
    lambda image, strength: _affine(image, 1, 0, 0, 0.3 * _signed(strength), 1, 0),
    lambda image, strength: _affine(image, 1, 0, image.width * 10 / 32 * _signed(strength), 0, 1, 0),
    lambda image, strength: _affine(image, 1, 0, 0, 0, 1, image.height * 10 / 32 * _signed(strength)),
)
"""The operations that move pixels: a mask is changed by them as its image is."""
OPERATIONS = (*_COLOURS, *MOVES)
"""TrivialAugment's operations."""
