"""Image classification: one label for an image.

Images are decoded, resized and cropped once, by the model's own processor, and kept as bytes; a batch gets the
processor's colour values (its rescaling and normalisation, which is one factor and one offset a channel).
"""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy
import torch
import transformers
from PIL import Image

from luthier.studies.tasks import TASKS
from luthier.studies.text import one_line
from luthier.studies.wire import Metrics
from luthier.trials.data.augmentation import augment
from luthier.trials.data.encoded import Encoded
from luthier.trials.data.load import Split
from luthier.trials.data.media import named, read_image
from luthier.trials.errors import BadData
from luthier.trials.memory import out_of_memory
from luthier.trials.model import pretrained as models
from luthier.trials.model.pretrained import Pretrained
from luthier.trials.tasks.metrics import classification_scores, top_accuracy

__all__ = ["augmented", "check", "collate", "encode", "load", "scores"]

ROOM = 8 / 7  # a training image to cut from is kept so much larger than what the model takes: 256 for 224


def check(folder: Path, name: str) -> None:
    """Raise BadData when the model's folder holds no image processor, or it is timm's and timm cannot be imported."""
    if not models.is_timm(folder, name):
        return models.check_preprocessor(folder, name)
    for library in ("torchvision", "timm"):
        try:
            import_module(library)
        except Exception:  # a torchvision built for another torch fails in ways of its own
            text = f"{name} is a timm model and needs {library}, which cannot be imported on this worker; install it "
            raise BadData(text + "there, in the build that suits the worker's torch.", "model") from None
    return None


def load(folder: Path, name: str, label_names: list[str]) -> Pretrained:
    """Image processor and classifier of a checked model folder, which fit each other. Raises BadData."""
    processor = models.load_preprocessor(transformers.AutoImageProcessor, folder, name)
    auto = transformers.AutoModelForImageClassification
    pretrained = models.load(auto, folder, name, label_names, processor=processor)
    _keep_statistics_of_lone_values(pretrained.model)
    if models.is_timm(folder, name):
        pretrained.model.config.label_names = label_names  # its configuration is saved with these, not with id2label
    try:
        blank = _processed(processor, Image.new("RGB", (64, 64)))  # (3, height, width)
        _colours(processor)
        with torch.no_grad():
            pretrained.model.eval()(pixel_values=blank[None].to(pretrained.model.device))
    except (ValueError, RuntimeError, TypeError) as error:
        if out_of_memory(error):
            raise
        reason = one_line(error)
        text = (
            f"{name}: what its image processor makes does not suit the model: {reason}. Correct the processor's size."
        )
        raise BadData(text, "model") from None
    return pretrained


def _keep_statistics_of_lone_values(model: torch.nn.Module) -> None:
    """Let batch normalisation use its running statistics where a batch has one value a channel, for torch refuses that.

    So it is with a batch of one small image: an epoch's last, or a piece of a batch for which memory did not suffice.
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


def encode(pretrained: Pretrained, split: Split, max_length: int) -> Encoded:
    """Images of the size the processor gives them, as bytes (images, 3, height, width). Raises BadData."""
    processor = pretrained.processor
    factor, offset = _colours(processor)
    pixels: torch.Tensor | None = None
    for i, item in enumerate(split.columns["image"]):
        image = _processed(processor, read_image(item, named(item, i, "image")))
        if pixels is None:
            pixels = torch.empty((len(split), *image.shape), dtype=torch.uint8)
        if image.shape != pixels.shape[1:]:
            text = "The model's image processor gives images of different sizes, which cannot be batched; "
            raise BadData(text + "give it a height and a width, or a centre crop.", "model")
        pixels[i] = ((image - offset) / factor).round_().clamp_(0, 255)  # as they were before its normalisation
    assert pixels is not None
    return _encoded({"pixel_values": pixels}, split, {"factor": factor, "offset": offset})


def augmented(pretrained: Pretrained, split: Split, augmentation: str) -> Encoded:
    """Images with room to cut from, changed anew in each batch. Raises BadData."""
    processor = pretrained.processor
    factor, offset = _colours(processor)
    kept: list[numpy.ndarray] = []
    for i, item in enumerate(split.columns["image"]):
        image = read_image(item, named(item, i, "image"))
        if not kept:
            height, width = _processed(processor, image).shape[1:]
        scale = ROOM * max(height, width) / min(image.size)
        if scale < 1:
            image = image.resize([max(1, round(side * scale)) for side in image.size], Image.Resampling.BICUBIC)
        kept.append(numpy.asarray(image))  # (height, width, 3)
    constants = {"factor": factor, "offset": offset, "augmentation": augmentation, "size": (width, height)}
    constants["resample"] = int(getattr(processor, "resample", None) or Image.Resampling.BILINEAR)
    return _encoded({"image": kept}, split, constants)


def _encoded(columns: dict[str, Any], split: Split, constants: dict[str, Any]) -> Encoded:
    labels = torch.tensor(split.labels)
    return Encoded(columns, {}, labels, [1] * len(split), 1, drawn="augmentation" in constants, constants=constants)


def _processed(processor: Any, image: Image.Image) -> torch.Tensor:
    """What the model is given for an RGB image, (3, height, width). Raises what the processor raises."""
    found: torch.Tensor = processor(images=image, return_tensors="pt")["pixel_values"][0]
    if found.ndim != 3 or len(found) != 3:
        raise ValueError(f"it gives an array of shape {tuple(found.shape)} for a colour image")
    return found.float()


def _colours(processor: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Factor and offset, each (3, 1, 1), by which the processor turns a byte into a model's colour value.

    Read off a black and a white image, so that every way of writing them in a processor's configuration is right.
    """
    size = _processed(processor, Image.new("RGB", (64, 64))).shape[:0:-1]
    black, white = (_processed(processor, Image.new("RGB", size, colour)) for colour in ("black", "white"))
    factor, offset = (white - black)[:, :1, :1] / 255, black[:, :1, :1]
    if not torch.allclose(black, offset.expand_as(black)) or not torch.allclose(white - black, 255 * factor):
        raise ValueError("it does not treat all places of an image alike")
    if not (factor > 0).all():
        raise ValueError("it makes black and white the same")
    return factor, offset


def collate(encoded: Encoded, rows: Sequence[int]) -> dict[str, torch.Tensor]:
    """Colour values (rows, 3, height, width), as the model's own processor gives them."""
    known = encoded.constants
    if "augmentation" in known:
        changed = [
            augment(
                Image.fromarray(encoded.columns["image"][i]), known["augmentation"], known["size"], known["resample"]
            )
            for i in rows
        ]
        pixels = torch.from_numpy(numpy.stack([numpy.asarray(image) for image in changed])).permute(0, 3, 1, 2)
    else:
        pixels = torch.stack([encoded.columns["pixel_values"][i] for i in rows])
    return {"pixel_values": pixels.float().mul_(known["factor"]).add_(known["offset"]).contiguous()}


def scores(logits: torch.Tensor, encoded: Encoded, label_names: Sequence[str]) -> Metrics:
    """Every metric of the task, from logits (examples, classes)."""
    found = classification_scores(logits, encoded.labels) | {"top5_accuracy": top_accuracy(logits, encoded.labels, 5)}
    return {metric.name: found[metric.name] for metric in TASKS["image-classification"].metrics}
