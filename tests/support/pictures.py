"""Pictures for tests of images, and processors of every kind."""

import io
from pathlib import Path
from typing import Any

import transformers as hf
from PIL import Image, ImageDraw

from luthier.trials.data.splits import Split
from luthier.trials.model.pretrained import Pretrained

PROCESSORS: dict[str, Any] = {
    "a square": hf.ViTImageProcessor(size={"height": 24, "width": 32}),
    "the shorter side, then a crop": hf.MobileNetV2ImageProcessor(
        size={"shortest_edge": 36}, crop_size={"height": 32, "width": 32}
    ),
    "a share that is cropped": hf.ConvNextImageProcessor(size={"shortest_edge": 32}, crop_pct=0.875),
    "no crop": hf.ConvNextImageProcessor(size={"shortest_edge": 384}),
    "an offset, normalised twice": hf.EfficientNetImageProcessor(size={"height": 32, "width": 32}, rescale_offset=True),
    "not normalised": hf.ViTImageProcessor(size={"height": 32, "width": 32}, do_normalize=False),
    "CLIP's": hf.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}),
}


def picture(mode: str = "RGB", size: tuple[int, int] = (50, 40)) -> Image.Image:
    """A red disc on green, so that turning and cropping show."""
    image = Image.new("RGB", size, (20, 140, 60))
    ImageDraw.Draw(image).ellipse((5, 3, 25, 18), fill=(200, 30, 10))
    return image.convert(mode)


def split_of(*items: Path | bytes) -> Split:
    return Split({"image": list(items)}, [0] * len(items))


def with_processor(processor: Any) -> Pretrained:
    return Pretrained(None, processor, frozenset(), {}, [])


def encoded_bytes(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()
