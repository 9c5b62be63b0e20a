"""Object detection: a box and a class for each object of an image.

Models see the whole image in one size. Their own loss trains them, image by image; their answers are counted as COCO's
official script counts. Neither logits nor boxes of a split are kept but for the answers themselves.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from PIL import Image

from luthier.studies.findings import Finding, warning
from luthier.studies.hyperparameters import Params
from luthier.studies.strategy import Generation
from luthier.studies.wire import Metrics
from luthier.trials.data.augmentation import draw_change
from luthier.trials.data.box_targets import BoxRow, BoxTargets
from luthier.trials.data.encoded import Encoded, Values
from luthier.trials.data.splits import Split
from luthier.trials.model.pretrained import Head, Pretrained
from luthier.trials.tasks.average_precision import NO_ANSWER
from luthier.trials.tasks.base import Loss
from luthier.trials.tasks.detected_images import (
    OBJECTS,
    Detected,
    DetectedExactImages,
    DetectedImages,
    labels_of,
    objects_of,
    places_of,
    with_post,
)
from luthier.trials.tasks.detection_usage import THRESHOLD, objects_as_json, recorded, usage_of_detector
from luthier.trials.tasks.detections import (
    BOXES,
    CLASSES,
    EDGES,
    FOREIGN,
    IGNORED,
    LABELS,
    LOGITS,
    LOSS,
    MATCHED,
    PLACES,
    SCORES,
    BoxStatistics,
    OwnLoss,
    answered,
    box_scores,
    counted,
    criterion,
    ordered,
    padded,
    renamed,
    sampled_scores,
)
from luthier.trials.tasks.encoded_images import AugmentedImages, fixed_size, stacked
from luthier.trials.tasks.image_inputs import ImageInputs
from luthier.trials.tasks.scoring import Batch, Constant, Reference, Tensors
from luthier.trials.tasks.statistics import Statistics
from luthier.trials.tasks.usage import Usage

OF_HEAD = ("class_embed", "class_labels", "score_head", "bbox")
"""Parts of the names of layers that say classes and boxes, which some models have inside of their decoder, too."""
CUT_AREA = (0.3, 1.0)
"""Share of an image's area that an augmentation cuts out: smaller parts would cut most objects."""
VISIBLE = 0.4
"""Share of a box that must be left in the part that is cut out, for its object to count."""


class ObjectDetection(ImageInputs[BoxTargets]):
    """A detector, whose answers to an image are logits and boxes. A row is an image is a unit."""

    name = "object-detection"
    targets = BoxTargets
    outputs = (LOGITS, PLACES)

    def head(self, targets: BoxTargets) -> Head:
        """Return a head with a logit for each class; the checkpoint's own layers for boxes stay."""
        return Head(targets.label_names, {"auxiliary_loss": False}, kept=("bbox",), further=OF_HEAD)

    def prepared(self, processor: Any) -> Any:
        """Return a processor that shows the model the whole image, in one size. Raises ValueError."""
        if not hasattr(processor, "post_process_object_detection"):
            raise ValueError(f"{type(processor).__name__} makes no boxes of a model's outputs")
        return fixed_size(processor)

    def encode_targets(self, rows: Sequence[BoxRow]) -> dict[str, Values]:
        """Return the objects as they are."""
        return {OBJECTS: list(rows)}

    def encode(self, pretrained: Pretrained, split: Split, max_length: int) -> DetectedImages:
        """Return images as bytes, with their objects. Raises BadData."""
        return DetectedImages(**with_post(super().encode(pretrained, split, max_length), pretrained))

    def encode_exactly(self, pretrained: Pretrained, split: Split, max_length: int) -> DetectedExactImages:
        """Return the images' files, with their objects."""
        return DetectedExactImages(**with_post(super().encode_exactly(pretrained, split, max_length), pretrained))

    def encoding_findings(self, encoded: Encoded, name: str, generation: Generation) -> Sequence[Finding]:
        """Return the images with more objects than the model has answers."""
        assert isinstance(encoded, Detected)
        most = encoded.most
        if most is None:
            return ()
        many = [row for row in objects_of(encoded, range(len(encoded))) if len(row.boxes) > most]
        if not many:
            return ()
        text = f"{len(many):,} training images have more objects than the {most} answers that {name} gives to an image."
        cure = "Cut such images into parts, or choose a model with more queries."
        return [warning("more-objects-than-answers", text, cure, len(many))]

    def collate_targets(self, encoded: Encoded, rows: Sequence[int]) -> Batch:
        """Return class ids and boxes of the objects to learn, crowds left out."""
        chosen = objects_of(encoded, rows)
        return padded([(labels_of(row), places_of(row)) for row in chosen])

    def collate_augmented(self, encoded: Encoded, rows: Sequence[int]) -> tuple[Batch, Batch]:
        """Return parts of images, and the objects that are in them."""
        assert isinstance(encoded, AugmentedImages)
        images, objects = [], []
        for i, row in zip(rows, objects_of(encoded, rows), strict=True):
            image = Image.fromarray(encoded.columns["image"][i])
            change = draw_change(image.size, encoded.augmentation, encoded.size, encoded.resample, CUT_AREA)
            images.append(change(image))
            labels = labels_of(row)
            moved = change.boxes(places_of(row), VISIBLE)
            inside = [k for k, box in enumerate(moved) if box is not None]
            objects.append(([labels[k] for k in inside], [box for box in moved if box is not None]))
        return {"pixel_values": stacked(images)}, padded(objects)

    def counted(self, outputs: Tensors, targets: Tensors) -> torch.Tensor:
        """Return logits and boxes, (images, answers, classes and 4 or 5 more)."""
        return torch.cat([outputs[LOGITS].float(), outputs[PLACES].float()], 2)

    def loss(self, pretrained: Pretrained, targets: BoxTargets, training: Encoded, params: Params) -> Loss:
        """Return the model's own loss, as a mean over images."""
        return OwnLoss(criterion(pretrained.model))

    def answers(self, outputs: Tensors, targets: Tensors) -> Batch:
        """Return logits and boxes: they are reduced on the CPU, where objects are matched."""
        return {LOGITS: outputs[LOGITS].float(), PLACES: outputs[PLACES].float()}

    def translated(self, answers: Tensors, own: BoxTargets, targets: BoxTargets) -> Tensors:
        """Return the answers with a column for each of today's classes, matched by label; their loss is unknown."""
        return renamed(answers, own.names, targets.names)

    def statistics(self, answers: Tensors, encoded: Encoded, rows: Sequence[int]) -> Batch:
        """Return each image's answers, which of them have found an object, and its loss."""
        assert isinstance(encoded, Detected)
        chosen = objects_of(encoded, rows)
        unknown = torch.full((len(rows),), torch.nan, dtype=torch.double)
        losses = answers.get(LOSS, unknown)
        if LOGITS in answers and FOREIGN not in answers:
            targets = self.collate_targets(encoded, rows)
            losses = encoded.losses(answers[LOGITS], answers[PLACES], targets).double()
        return {**counted(answered(encoded.post, answers, chosen), chosen, encoded.classes), LOSS: losses}

    def gather(self, columns: Tensors, encoded: Encoded, targets: BoxTargets) -> Statistics:
        """Return the statistics of a split, no wider than the most answers that an image has."""
        width = max(1, int((~columns[SCORES].isnan()).sum(1).max()))
        answers = (SCORES, LABELS, EDGES, MATCHED, IGNORED)
        units = {
            name: values[:, :width].contiguous() if name in answers else values for name, values in columns.items()
        }
        return BoxStatistics(units, {})

    def scores(self, statistics: Statistics, targets: BoxTargets) -> Metrics:
        """Compute mean average precision and recall, and the loss."""
        return box_scores(statistics.units)

    def score(self, metric: str, statistics: Statistics, targets: BoxTargets) -> float | None:
        """Compute one metric."""
        return box_scores(statistics.units, metric)[metric]

    def sampled(
        self, metric: str, statistics: Statistics, samples: Sequence[torch.Tensor], targets: BoxTargets
    ) -> list[float | None]:
        """Compute one metric over many samples of the images, whose answers are ranked once for all."""
        assert isinstance(statistics, BoxStatistics)
        return sampled_scores(statistics, metric, samples)

    def on_one_scale(self, metric: str, statistics: Statistics) -> Statistics | None:
        """Return the answers' places in place of their scores, for all metrics but the loss."""
        return None if metric == "loss" else ordered(statistics)

    def badness(self, statistics: Statistics, targets: BoxTargets) -> torch.Tensor:
        """Return the loss of each image."""
        return statistics.units[LOSS]

    def constant(self, training: Sequence[BoxRow], targets: BoxTargets) -> Constant:
        """Return the most frequent class; its value is its id and its mean box as `PLACES`, (4,)."""
        counts = targets.counts([training])
        name = max(counts, key=counts.__getitem__)
        label = targets.names.index(name)
        boxes = [
            place for row in training for place, b in zip(places_of(row), labels_of(row), strict=True) if b == label
        ]
        return Constant(name, (label, torch.tensor(boxes or [[0.5, 0.5, 1.0, 1.0]]).mean(0)))

    def reference_answers(self, reference: Reference, constant: Constant, units: Tensors, targets: BoxTargets) -> Batch:
        """Return the mean box of the most frequent class for each image, its objects, or no answer at all."""
        label, mean = constant.value
        images = len(units[CLASSES])
        labels, places = units[CLASSES], units[BOXES]
        if reference is Reference.CONSTANT:
            labels, places = torch.full((images, 1), label), mean.expand(images, 1, 4)
        if reference is Reference.WRONG:
            labels = torch.full_like(labels, NO_ANSWER)
        centres, sides = places[..., :2], places[..., 2:]
        losses = {Reference.CONSTANT: torch.nan, Reference.RIGHT: 0.0, Reference.WRONG: 1.0}[reference]
        return {
            LABELS: labels,
            SCORES: torch.where(labels == NO_ANSWER, torch.nan, 1.0),
            EDGES: torch.cat([centres - sides / 2, centres + sides / 2], -1),
            LOSS: torch.full((images,), losses, dtype=torch.double),
        }

    def truths(self, statistics: Statistics, encoded: Encoded, targets: BoxTargets) -> Iterable[str]:
        """Return the objects of each image as JSON."""
        for row in objects_of(encoded, range(len(encoded))):
            boxes = [[b.x, b.y, b.width, b.height] for b in row.boxes]
            yield objects_as_json([targets.names[b.label] for b in row.boxes], boxes)

    def said(self, statistics: Statistics, encoded: Encoded, targets: BoxTargets) -> Iterable[str]:
        """Return the answers to each image as JSON, those with a score from `THRESHOLD` on."""
        units = statistics.units
        for labels, scores, edges in zip(*(units[name] for name in (LABELS, SCORES, EDGES)), strict=True):
            order = [i for i in scores.argsort(descending=True).tolist() if scores[i] >= THRESHOLD and labels[i] >= 0]
            boxes = [[x, y, right - x, lower - y] for x, y, right, lower in edges[order].tolist()]
            yield objects_as_json([targets.names[labels[i]] for i in order], boxes, scores[order].tolist())

    def export(
        self, pretrained: Pretrained, examples: Split, targets: BoxTargets, max_length: int, generation: Generation
    ) -> Usage:
        """Leave the processor as it was loaded: it says all that is done to an image."""
        return usage_of_detector(self.name, pretrained.processor)

    def used(self, answers: Tensors, encoded: Encoded, rows: Sequence[int]) -> list[list[Any]]:
        """Return the answers with the highest scores as the pipeline gives them."""
        assert isinstance(encoded, Detected)
        values: list[list[Any]] = []
        for i, row in enumerate(rows):
            one = {name: tensors[i : i + 1] for name, tensors in answers.items()}
            said = answered(encoded.post, one, objects_of(encoded, [row]))
            labels = [encoded.names[label] for label in said[LABELS][0].tolist()]
            values += recorded(said[SCORES][0].tolist(), labels, said[EDGES][0].tolist())
        return values
