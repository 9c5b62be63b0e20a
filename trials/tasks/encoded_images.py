"""Encoded images, and what a model's image processor makes of one, for the tasks on images."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy
import torch
from PIL import Image

from luthier.trials.data.augmentation import augment
from luthier.trials.data.encoded import Encoded
from luthier.trials.transfer import sent


@dataclass(frozen=True, kw_only=True)
class EncodedImages(Encoded):
    """Images of one size as bytes: column `pixel_values`, (images, 3, height, width), uint8.

    Attributes:
        factor: (3, 1, 1), by which a byte is multiplied to be a colour value of the model.
        offset: (3, 1, 1), which is added to that.
    """

    factor: torch.Tensor
    offset: torch.Tensor

    def coloured(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return colour values, float32, of pixels (images, 3, height, width), as these lie in memory and where."""
        factor, offset = (sent(values, pixels.device) for values in (self.factor, self.offset))
        return pixels.float().mul_(factor).add_(offset)


@dataclass(frozen=True, kw_only=True)
class AugmentedImages(EncodedImages):
    """Images of many sizes as bytes, to cut from at random: column `image`, each (height, width, 3), uint8.

    Attributes:
        augmentation: The kind of change, a name of `data.augmentation`.
        size: Width and height of the model's input.
        resample: The `PIL.Image.Resampling` with which parts are resized.
    """

    augmentation: str
    size: tuple[int, int]
    resample: int

    def pixels(self, rows: Sequence[int]) -> torch.Tensor:
        """Return changed copies of some images, drawn at random: (rows, 3, height, width), uint8."""
        images = (Image.fromarray(self.columns["image"][i]) for i in rows)
        return stacked(augment(image, self.augmentation, self.size, self.resample) for image in images)


@dataclass(frozen=True, kw_only=True)
class ExactImages(Encoded):
    """Images as their files have them, column `image`; each batch decodes its own.

    Attributes:
        processor: The model's image processor.
    """

    processor: Any


def stacked(images: Iterable[Image.Image]) -> torch.Tensor:
    """Return the pixels of RGB images of one size, (images, 3, height, width), uint8."""
    return torch.from_numpy(numpy.stack([numpy.asarray(image) for image in images])).permute(0, 3, 1, 2).contiguous()


def keep_statistics_of_lone_values(model: torch.nn.Module) -> None:
    """Let batch normalisation use its running statistics where a batch has one value a channel: torch refuses that.

    A batch of one small image has one value a channel: the last batch of an epoch, or a piece of a batch that did not
    fit in memory.
    """

    def before(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        if module.training and inputs[0].numel() == inputs[0].shape[1]:
            module.training = False
            restored.append(module)

    def after(module: torch.nn.Module, inputs: object, output: object) -> None:
        if restored and restored[-1] is module:
            restored.pop().training = True

    restored: list[torch.nn.Module] = []
    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.register_forward_pre_hook(before)
            module.register_forward_hook(after)


def processed(processor: Any, image: Image.Image) -> torch.Tensor:
    """Return the model's input for an RGB image: (3, height, width), float32.

    Raises:
        ValueError: The processor gives something else. Other errors are the processor's own.
    """
    pixels: torch.Tensor = processor(images=image, return_tensors="pt")["pixel_values"][0]
    if pixels.ndim != 3 or len(pixels) != 3:
        raise ValueError(f"it gives an array of shape {tuple(pixels.shape)} for a colour image")
    return pixels.float()


def colours(processor: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Return factor and offset, each (3, 1, 1), by which the processor turns a byte into a model's colour value.

    They are measured on a black and a white image, so that every way of writing them in a configuration is understood.

    Raises:
        ValueError: The processor does more to colours than a factor and an offset for each channel.
    """
    height, width = processed(processor, Image.new("RGB", (64, 64))).shape[1:]
    size = (width, height)
    black, white = (processed(processor, Image.new("RGB", size, colour)) for colour in ("black", "white"))
    factor = (white - black)[:, :1, :1] / 255
    offset = black[:, :1, :1]
    if not torch.allclose(black, offset.expand_as(black)) or not torch.allclose(white - black, 255 * factor):
        raise ValueError("it does not treat all places of an image alike")
    if not (factor > 0).all():
        raise ValueError("it makes black and white the same")
    return factor, offset


def fixed_size(processor: Any) -> Any:
    """Return an image processor that resizes whole images to the size of what it makes of a square one.

    A processor that cuts a part out, or gives images of other shapes other sizes, is changed; others are not. So a
    model's answer is about the whole image, and can be resized back to it.

    Raises:
        ValueError: It cannot be changed so.
    """
    square = processed(processor, Image.new("RGB", (64, 64))).shape[1:]
    shapes = {processed(processor, Image.new("RGB", size)).shape[1:] for size in ((64, 96), (96, 64))}
    cuts = any(getattr(processor, name, False) for name in ("do_center_crop", "do_pad"))
    if shapes == {square} and not cuts and getattr(processor, "do_resize", True):
        return processor
    for name in ("do_center_crop", "do_pad"):
        if getattr(processor, name, False):
            setattr(processor, name, False)
    processor.do_resize = True
    processor.size = {"height": square[0], "width": square[1]}
    if {processed(processor, Image.new("RGB", size)).shape[1:] for size in ((64, 96), (96, 64))} != {square}:
        raise ValueError("it cannot resize images to one height and width")
    return processor
