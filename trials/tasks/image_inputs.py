"""Inputs that are images, for every task with an answer for each.

Images are decoded, resized and cropped once, by the model's own processor, and kept as bytes; a batch gets the
processor's colour values (its rescaling and normalisation: a factor and an offset for each channel).
"""

import contextlib
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy
import torch
import transformers
from PIL import Image

from luthier.studies.strategy import Generation
from luthier.studies.text import one_line
from luthier.trials.data.encoded import Encoded, take
from luthier.trials.data.images import read_image
from luthier.trials.data.media import named
from luthier.trials.data.splits import Split
from luthier.trials.errors import BadData
from luthier.trials.memory import out_of_memory
from luthier.trials.model import pretrained as models
from luthier.trials.model.auto_classes import is_timm
from luthier.trials.model.pretrained import Pretrained
from luthier.trials.model.processors import check_preprocessor, load_preprocessor
from luthier.trials.tasks.encoded_images import (
    AugmentedImages,
    EncodedImages,
    ExactImages,
    colours,
    keep_statistics_of_lone_values,
    processed,
)
from luthier.trials.tasks.export import Learned
from luthier.trials.tasks.image_mixing import image_mixing
from luthier.trials.tasks.row_task import RowTask
from luthier.trials.tasks.scoring import Batch
from luthier.trials.tasks.usage import Usage, call

TAG = "image-classification"
"""The pipeline of every model with an answer for an image, be it a class, labels or a number."""

ROOM = 8 / 7  # the shorter side of a training image to cut from, by the longer side of the model's input: 256 for 224


class ImageInputs(RowTask[Learned]):
    """A model over colour values; `max_length` has no meaning. A row is an example is a unit."""

    def check(self, folder: Path, name: str) -> None:
        """Raise BadData when the folder holds no image processor, or it is timm's and timm cannot be imported."""
        if not is_timm(folder, name):
            return check_preprocessor(folder, name)
        for library in ("torchvision", "timm"):
            try:
                import_module(library)
            except Exception:  # a torchvision built for another torch fails in ways of its own
                raise BadData(
                    f"{name} is a timm model and needs {library}, which cannot be imported on this worker; "
                    "install it there, in the build that suits the worker's torch.",
                    "model",
                ) from None
        return None

    def load(self, folder: Path, name: str, targets: Learned) -> Pretrained:
        """Load image processor and model, and try them on a blank image. Raises BadData."""
        processor = load_preprocessor(transformers.AutoImageProcessor, folder, name)
        with _told(name):
            processor = self.prepared(processor)
        head = self.head(targets)
        pretrained = models.load(self.name, folder, name, head, processor=processor)
        keep_statistics_of_lone_values(pretrained.model)
        if is_timm(folder, name):  # its configuration is saved with label_names, not id2label
            pretrained.model.config.label_names = list(head.names or ())
        with _told(name):
            blank = processed(processor, Image.new("RGB", (64, 64)))  # (3, height, width)
            colours(processor)
            with torch.no_grad():
                pretrained.model.eval()  # type: ignore[no-untyped-call]
                pretrained.model(pixel_values=blank[None].to(pretrained.model.device))
        return self.loaded(pretrained, targets)

    def prepared(self, processor: Any) -> Any:
        """Return a loaded image processor as the task uses and saves it; it may be changed."""
        return processor

    def encode(self, pretrained: Pretrained, split: Split, max_length: int) -> EncodedImages:
        """Return images as bytes, of the size that the processor gives them.

        Raises:
            BadData: An image cannot be read, or the processor gives images of different sizes.
        """
        processor = pretrained.processor
        factor, offset = colours(processor)
        pixels: torch.Tensor | None = None
        for i, item in enumerate(split.columns["image"]):
            image = processed(processor, read_image(item, named(item, i, "image")))
            if pixels is None:
                pixels = torch.empty((len(split), *image.shape), dtype=torch.uint8)
            if image.shape != pixels.shape[1:]:
                text = "The model's image processor gives images of different sizes, which cannot be batched; "
                raise BadData(text + "give it a height and a width, or a centre crop.", "model")
            pixels[i] = ((image - offset) / factor).round_().clamp_(0, 255)  # the bytes before normalisation
        assert pixels is not None
        return EncodedImages(
            columns={"pixel_values": pixels},  # type: ignore[dict-item]  # indexed by row, as a sequence is
            padding={},
            targets=self.encode_targets(split.targets),
            lengths=[1] * len(split),
            longest=1,
            factor=factor,
            offset=offset,
        )

    def encode_exactly(self, pretrained: Pretrained, split: Split, max_length: int) -> ExactImages:
        """Return the images' files: nothing that the processor makes of them is rounded, and no split is in memory."""
        return ExactImages(
            columns={"image": split.columns["image"]},
            padding={},
            targets=self.encode_targets(split.targets),
            lengths=[1] * len(split),
            longest=1,
            processor=pretrained.processor,
        )

    def encode_augmented(
        self, pretrained: Pretrained, split: Split, augmentation: str, max_length: int
    ) -> AugmentedImages:
        """Return images as bytes, larger than the model's input where the file allows, to cut from at random.

        Raises:
            BadData: An image cannot be read.
        """
        processor = pretrained.processor
        factor, offset = colours(processor)
        images: list[numpy.ndarray] = []
        for i, item in enumerate(split.columns["image"]):
            image = read_image(item, named(item, i, "image"))
            if not images:
                height, width = processed(processor, image).shape[1:]
            scale = ROOM * max(height, width) / min(image.size)
            if scale < 1:
                smaller = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
                image = image.resize(smaller, Image.Resampling.BICUBIC)
            images.append(numpy.asarray(image))  # (height, width, 3)
        return AugmentedImages(
            columns={"image": images},
            padding={},
            targets=self.encode_targets(split.targets),
            lengths=[1] * len(split),
            longest=1,
            augmented=True,
            factor=factor,
            offset=offset,
            augmentation=augmentation,
            changes=image_mixing(augmentation, self.mixed_targets),
            size=(width, height),
            resample=int(getattr(processor, "resample", None) or Image.Resampling.BILINEAR),
        )

    def collate(self, encoded: Encoded, rows: Sequence[int]) -> Batch:
        """Return colour values (rows, 3, height, width), float32, as the model's own processor gives them."""
        if isinstance(encoded, ExactImages):
            items = encoded.columns["image"]
            decoded = (read_image(items[i], named(items[i], i, "image")) for i in rows)
            return {"pixel_values": torch.stack([processed(encoded.processor, image) for image in decoded])}
        return self.inputs(encoded, self.stored(encoded, rows))

    def stored(self, encoded: Encoded, rows: Sequence[int]) -> Batch:
        """Return pixels (rows, 3, height, width), uint8; of images as their files have them, the colour values."""
        if isinstance(encoded, ExactImages):
            return self.collate(encoded, rows)
        if isinstance(encoded, AugmentedImages):
            return {"pixel_values": encoded.pixels(rows)}
        return {name: torch.as_tensor(take(values, rows)) for name, values in encoded.columns.items()}

    def inputs(self, encoded: Encoded, kept: Batch) -> Batch:
        """Return the colour values of pixels."""
        if not isinstance(encoded, EncodedImages):
            return kept
        return {name: encoded.coloured(pixels) for name, pixels in kept.items()}

    def export(
        self, pretrained: Pretrained, examples: Split, targets: Learned, max_length: int, generation: Generation
    ) -> Usage:
        """Leave the processor as it is: it says all that is done to an image."""
        reading = self.reading(pretrained, targets, examples, max_length)
        names = tuple(self.head(targets).names or ())
        return Usage(
            tag=TAG,
            auto="AutoModelForImageClassification",
            kind="image_processor",
            processor=pretrained.processor,
            names=names,
            code=f"""\
from transformers import pipeline

{reading.verb} = {call(TAG, {})}
{reading.code('"image.png"', len(names))}
""",
            notes=(
                "Images of 16 bits a channel were scaled to 8 bits: do so before, as the pipeline clips them.",
                *reading.notes,
            ),
            options=reading.options,
        )

    def given(self, pretrained: Pretrained, examples: Split, row: int, max_length: int) -> Image.Image:
        """Return an image, upright RGB. Raises BadData."""
        item = examples.columns["image"][row]
        return read_image(item, named(item, row, "image"))


@contextlib.contextmanager
def _told(name: str) -> Iterator[None]:
    """Raise what an unsuitable image processor raises inside, itself or in the model called `name`, as BadData."""
    try:
        yield
    except (ValueError, RuntimeError, TypeError) as error:
        if out_of_memory(error):
            raise
        reason = one_line(error).rstrip(".")
        raise BadData(
            f"{name}: what its image processor makes does not suit the model: {reason}. Correct the processor's size.",
            "model",
        ) from None
