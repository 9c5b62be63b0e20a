"""Semantic segmentation: a class for each pixel of an image.

While a model trains and is searched for, masks have the size of its input. The winner is measured at the masks' own
size, with logits resized as transformers' `post_process_semantic_segmentation` does. Neither logits nor masks of a
split are kept as answers: each image is reduced to counts of pixels.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy
import torch
from PIL import Image

from luthier.studies.hyperparameters import Params
from luthier.studies.strategy import Generation
from luthier.studies.wire import Metrics
from luthier.trials.data.augmentation import draw_change
from luthier.trials.data.encoded import Encoded, Values
from luthier.trials.data.mask_targets import MaskRow, MaskTargets
from luthier.trials.data.masks import IGNORED, read_mask
from luthier.trials.data.media import named
from luthier.trials.data.splits import Split
from luthier.trials.model.pretrained import Head, Pretrained
from luthier.trials.tasks.base import Loss
from luthier.trials.tasks.encoded_images import AugmentedImages, EncodedImages, fixed_size, stacked
from luthier.trials.tasks.export import PREDICTION, Cell, shown
from luthier.trials.tasks.image_inputs import ImageInputs
from luthier.trials.tasks.insight import ClassCounts
from luthier.trials.tasks.label_cells import mean_columns
from luthier.trials.tasks.pixels import (
    CONFUSION,
    LABELLED,
    NLL,
    PREDICTED,
    PROBABILITIES,
    RIGHT,
    PixelEntropy,
    pixel_scores,
    pixel_statistics,
    reduced,
    reference_pixels,
)
from luthier.trials.tasks.scoring import Batch, Constant, Reference, Tensors
from luthier.trials.tasks.segmented_images import segment, segmented
from luthier.trials.tasks.statistics import Statistics
from luthier.trials.tasks.usage import HERE, Usage, source

LEAST_COUNT = 1e-9
"""The training pixels of a class that has none, so that its log frequency is a number."""


class ImageSegmentation(ImageInputs[MaskTargets]):
    """A semantic segmenter whose logits are (rows, classes, height, width). A row is an image is a unit."""

    name = "image-segmentation"
    targets = MaskTargets

    def head(self, targets: MaskTargets) -> Head:
        """Return a head with a logit of each pixel for each class."""
        return Head(targets.label_names, {"semantic_loss_ignore_index": IGNORED})

    def prepared(self, processor: Any) -> Any:
        """Return a processor that shows the model the whole image, in one size, and leaves class ids as they are."""
        if getattr(processor, "do_reduce_labels", False):
            processor.do_reduce_labels = False  # the classes are those of the data
        return fixed_size(processor)

    def encode_targets(self, rows: Sequence[MaskRow]) -> dict[str, Values]:
        """Return the masks' files, as `masks`."""
        return {"masks": [mask.item for mask in rows]}

    def encode(self, pretrained: Pretrained, split: Split, max_length: int) -> EncodedImages:
        """Return images as bytes, and their masks in the size of the model's input. Raises BadData."""
        encoded = super().encode(pretrained, split, max_length)
        height, width = encoded.columns["pixel_values"][0].shape[1:]
        masks = torch.empty((len(split), height, width), dtype=torch.uint8)
        for i, mask in enumerate(split.targets):
            masks[i] = torch.from_numpy(_resized(mask, i, (width, height)))
        return replace(encoded, targets={"masks": masks})

    def encode_augmented(
        self, pretrained: Pretrained, split: Split, augmentation: str, max_length: int
    ) -> AugmentedImages:
        """Return images as bytes, and masks of the same sizes, to cut from both at random. Raises BadData."""
        encoded = super().encode_augmented(pretrained, split, augmentation, max_length)
        sizes = [image.shape[:2] for image in encoded.columns["image"]]
        masks = [_resized(mask, i, (w, h)) for i, (mask, (h, w)) in enumerate(zip(split.targets, sizes, strict=True))]
        return replace(encoded, targets={"masks": masks})

    def collate_targets(self, encoded: Encoded, rows: Sequence[int]) -> Batch:
        """Return class ids, (rows, height, width) uint8, filled up with 255, and the masks' sizes, (rows, 2)."""
        masks = encoded.targets["masks"]
        if isinstance(masks, torch.Tensor):
            chosen = masks[torch.as_tensor(rows)]
            return {"masks": chosen, "sizes": torch.tensor(chosen.shape[1:]).expand(len(rows), 2)}
        found = [m if isinstance(m := masks[i], numpy.ndarray) else read_mask(m, named(m, i, "mask")) for i in rows]
        return _filled_up(found)

    def collate_augmented(self, encoded: Encoded, rows: Sequence[int]) -> tuple[Batch, Batch]:
        """Return parts of images, and the same parts of their masks."""
        assert isinstance(encoded, AugmentedImages)
        images, masks = [], []
        for i in rows:
            image = Image.fromarray(encoded.columns["image"][i])
            change = draw_change(image.size, encoded.augmentation, encoded.size, encoded.resample)
            images.append(change(image))
            masks.append(numpy.asarray(change(Image.fromarray(numpy.asarray(encoded.targets["masks"][i])))))
        return {"pixel_values": stacked(images)}, _filled_up(masks)

    def counted(self, outputs: Tensors, targets: Tensors) -> torch.Tensor:
        """Return the logits."""
        return outputs["logits"]

    def loss(self, pretrained: Pretrained, targets: MaskTargets, training: Encoded, params: Params) -> Loss:
        """Return the cross-entropy of the pixels, with the configuration's class weights and label smoothing."""
        weights = None
        if params["class_weighting"] != "none":
            counts = torch.zeros(IGNORED + 1, dtype=torch.long)
            for mask in training.targets["masks"]:
                counts += torch.bincount(torch.as_tensor(mask).flatten(), minlength=IGNORED + 1)
            counts = counts[: len(targets.names)]
            weights = counts.sum() / (len(counts) * counts.clamp(min=1).float())
            weights = weights.to(pretrained.model.device)
        return PixelEntropy(weights, float(params["label_smoothing"]))

    def answers(self, outputs: Tensors, targets: Tensors) -> Batch:
        """Return each image's counts of pixels by true and predicted class, its loss, and the mean probabilities."""
        return reduced(outputs["logits"], targets["masks"], targets["sizes"])

    def translated(self, answers: Tensors, own: MaskTargets, targets: MaskTargets) -> Tensors:
        """Return the answers with a column for each of today's classes, matched by label; their loss is unknown."""
        columns = dict(zip(own.names, answers[CONFUSION].unbind(2), strict=True))
        nothing = torch.zeros_like(answers[LABELLED])
        confusion = torch.stack([columns.get(name, nothing) for name in targets.names], 2)
        return {**answers, CONFUSION: confusion, NLL: torch.full_like(answers[NLL], torch.nan)}

    def statistics(self, answers: Tensors, encoded: Encoded, rows: Sequence[int]) -> Batch:
        """Return each image's pixels by class: right ones, predicted ones and true ones; and its loss."""
        return pixel_statistics(answers)

    def scores(self, statistics: Statistics, targets: MaskTargets) -> Metrics:
        """Compute mean IoU, pixel accuracy and loss."""
        return pixel_scores(statistics.units)

    def badness(self, statistics: Statistics, targets: MaskTargets) -> torch.Tensor:
        """Return the share of each image's pixels that is wrong."""
        units = statistics.units
        pixels = units[LABELLED].sum(1).clamp(min=1).double()
        return 1 - units[RIGHT].sum(1) / pixels

    def class_counts(self, statistics: Statistics, targets: MaskTargets) -> ClassCounts:
        """Return the pixels of each class."""
        return ClassCounts(*(statistics.units[name].sum(0) for name in (RIGHT, PREDICTED, LABELLED)))

    def constant(self, training: Sequence[MaskRow], targets: MaskTargets) -> Constant:
        """Return the most frequent class of pixels; its value is the log frequencies of all classes, (classes,)."""
        counts = torch.tensor(targets.pixels(training), dtype=torch.double)
        logs = (counts.clamp(min=LEAST_COUNT) / counts.sum()).log()
        return Constant(targets.names[int(counts.argmax())], logs)

    def reference_answers(
        self, reference: Reference, constant: Constant, units: Tensors, targets: MaskTargets
    ) -> Batch:
        """Return the answers that give every pixel the constant, its own, or the next class."""
        return reference_pixels(reference, constant.value, units["masks"])

    def truths(self, statistics: Statistics, encoded: Encoded, targets: MaskTargets) -> Iterable[str]:
        """Return the shares of the classes in each mask."""
        return (_shares(row, targets) for row in statistics.units[LABELLED].tolist())

    def said(self, statistics: Statistics, encoded: Encoded, targets: MaskTargets) -> Iterable[str]:
        """Return the shares of the classes that are predicted for the pixels that count."""
        return (_shares(row, targets) for row in statistics.units[PREDICTED].tolist())

    def cells_header(self, targets: MaskTargets) -> tuple[str, ...]:
        """Return the shares of the classes, and the mean probability of each class over the pixels."""
        return (PREDICTION, *mean_columns(targets.names))

    def cells(self, said: Sequence[str], values: Sequence[Sequence[Any]], targets: MaskTargets) -> Sequence[Cell]:
        """Return the shares of the classes in an image's mask, and the mean probabilities."""
        return [said[0], *map(shown, values[0][: len(mean_columns(targets.names))])]

    def export(
        self,
        pretrained: Pretrained,
        examples: Split,
        targets: MaskTargets,
        max_length: int,
        generation: Generation,
    ) -> Usage:
        """Leave the processor as it was loaded: it says all that is done to an image."""
        return Usage(
            tag=self.name,
            auto="AutoModelForSemanticSegmentation",
            kind="image_processor",
            processor=pretrained.processor,
            names=targets.names,
            code=f"""\
from typing import Any

from PIL import Image
from transformers import AutoImageProcessor, AutoModelForSemanticSegmentation


{source(segment)}


processor = AutoImageProcessor.from_pretrained({HERE!r})
model = AutoModelForSemanticSegmentation.from_pretrained({HERE!r}).eval()
mask = segment(Image.open("image.png").convert("RGB"), processor, model).argmax(0)  # (height, width) class ids
for i in mask.unique().tolist():
    print(model.config.id2label[i], float((mask == i).float().mean()))
""",
            notes=(
                f"`pipeline({self.name!r}, model={HERE!r})` gives the same pixels, as a mask for each class.",
                "Images of 16 bits a channel were scaled to 8 bits: do so before.",
            ),
            function=segmented,
        )

    def used(self, answers: Tensors, encoded: Encoded, rows: Sequence[int]) -> list[list[float]]:
        """Return the mean probability of each class over the pixels of each image."""
        probabilities: list[list[float]] = answers[PROBABILITIES].tolist()
        return probabilities


def _resized(mask: MaskRow, row: int, size: tuple[int, int]) -> numpy.ndarray:
    """Return a mask's class ids in another size, (height, width), by nearest neighbour. Raises BadData."""
    ids = Image.fromarray(read_mask(mask.item, named(mask.item, row, "mask")))
    return numpy.array(ids.resize(size, Image.Resampling.NEAREST))


def _filled_up(masks: Sequence[numpy.ndarray]) -> Batch:
    """Return masks as one tensor, of the largest height and width, and the size of each."""
    height, width = (max(mask.shape[k] for mask in masks) for k in (0, 1))
    together = torch.full((len(masks), height, width), IGNORED, dtype=torch.uint8)
    for i, mask in enumerate(masks):
        together[i, : mask.shape[0], : mask.shape[1]] = torch.from_numpy(numpy.array(mask))
    return {"masks": together, "sizes": torch.tensor([mask.shape for mask in masks])}


def _shares(pixels: Sequence[int], targets: MaskTargets) -> str:
    """Return the labels of a mask with their shares, the largest first."""
    total = sum(pixels) or 1
    shares = ((count / total, name) for count, name in zip(pixels, targets.names, strict=True) if count)
    return ", ".join(f"{name} {share:.3f}" for share, name in sorted(shares, reverse=True))
