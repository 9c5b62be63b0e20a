"""Images with masks of two classes, and tiny models that segment them.

ARCHITECTURES, DATA     merged into those of `tests.support.architectures`
write_pairs(folder)     images, masks, and a table of both
"""

import csv
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy
import transformers as hf
from PIL import Image

from tests.support.architecture import HIDDEN, Architecture

SIZE = {"height": 32, "width": 32}


def _segmenter(config: Callable[[], Any], blocks: int, processor: Any) -> Architecture:
    return Architecture("image-segmentation", blocks, config, processor.save_pretrained)


ARCHITECTURES: dict[str, Architecture] = {
    "segformer": _segmenter(
        lambda: hf.SegformerConfig(
            num_encoder_blocks=2,
            depths=[2, 2],
            sr_ratios=[2, 1],
            hidden_sizes=[16, 32],
            patch_sizes=[7, 3],
            strides=[2, 2],
            num_attention_heads=[1, 2],
            mlp_ratios=[2, 2],
            decoder_hidden_size=16,
        ),
        4,
        hf.SegformerImageProcessor(size=SIZE),
    ),
    "mobilenet-v2-pixels": _segmenter(
        lambda: hf.MobileNetV2Config(depth_multiplier=0.1, image_size=32, tf_padding=False, output_stride=8),
        16,
        hf.MobileNetV2ImageProcessor(size={"shortest_edge": 36}, crop_size=SIZE),
    ),
    "beit-pixels": _segmenter(
        lambda: hf.BeitConfig(
            **HIDDEN,
            num_hidden_layers=4,
            image_size=32,
            patch_size=8,
            out_indices=[0, 1, 2, 3],
            use_auxiliary_head=False,
            use_relative_position_bias=True,
        ),
        4,
        hf.BeitImageProcessor(size=SIZE, do_center_crop=False, do_reduce_labels=True),
    ),
}


def pair(number: int, size: tuple[int, int] = (48, 40)) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Return a noisy image, (height, width, 3), and its mask, which is 1 in a bright rectangle and 0 elsewhere."""
    draw = numpy.random.default_rng(number)
    height, width = size
    pixels = draw.integers(0, 128, (height, width, 3), dtype=numpy.uint8)
    top, left = draw.integers(0, height // 2), draw.integers(0, width // 2)
    mask = numpy.zeros(size, numpy.uint8)
    mask[top : top + height // 3 + number % 5, left : left + width // 2] = 1
    pixels[mask == 1] += 100
    return pixels, mask


def write_pairs(folder: Path, rows: int = 24, masks: Iterable[numpy.ndarray] | None = None) -> Path:
    """Write images and masks and return their table; the masks may be others than those of `pair`."""
    given = iter(masks) if masks is not None else None
    lines = []
    for i in range(rows):
        image, mask = pair(i)
        Image.fromarray(image).save(folder / f"{i}.png")
        Image.fromarray(mask if given is None else next(given)).save(folder / f"{i}_mask.png")
        lines.append((f"{i}.png", f"{i}_mask.png"))
    with (folder / "data.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("image", "mask"), *lines])
    return folder / "data.csv"


DATA: dict[str, Callable[[Path, int], Path]] = {"image-segmentation": write_pairs}
