"""Answers that are boxes: a model's outputs as detections, its own loss for each image, and both as statistics.

A model's own image processor makes detections of its outputs, as `transformers.pipeline` does; its own loss function
matches answers and objects (Hungarian matching). Both are called with the outputs alone, so the frozen-prefix cache
serves them. `tasks.average_precision` counts.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from types import SimpleNamespace
from typing import Any, Self

import numpy
import torch
from torch.nn import functional

from luthier.studies.wire import Metrics
from luthier.trials.data.box_targets import BoxRow
from luthier.trials.tasks.average_precision import MOST, NO_ANSWER, Objects, match, ranked
from luthier.trials.tasks.base import Loss
from luthier.trials.tasks.resampled_precision import RankedAnswers
from luthier.trials.tasks.scoring import Batch, Tensors
from luthier.trials.tasks.statistics import Statistics

LOGITS, PLACES = "logits", "pred_boxes"
"""Names of a model's outputs: (images, answers, classes and maybe one for no object), and (images, answers, 4), the
boxes' centres, widths and heights as shares of the image's sides."""
SCORES, LABELS, EDGES, LOSS = "scores", "labels", "edges", "loss"
"""Names of statistics, and of answers that no model gave: (images, answers) scores and class ids, `NO_ANSWER` at the
end of rows; (images, answers, 4) left, upper, right and lower edges, in pixels; (images,) the model's loss."""
MATCHED, IGNORED, HELD = "matched", "ignored", "held"
"""Names of statistics: (images, answers) bits of `average_precision.match`; (images, classes) objects of each class."""
BOXES, CLASSES = "boxes", "classes"
"""Names of targets: (images, objects, 4) as `PLACES`, and (images, objects) class ids, -1 where there is no object."""
FOREIGN = "foreign"
"""Name of an answer, (images,): the model has learned other classes, so its loss is unknown."""

Criterion = Callable[[torch.Tensor, torch.Tensor, Tensors], torch.Tensor]
"""(logits, places, targets) -> the loss of each image, (images,)."""


def criterion(model: Any) -> Criterion:
    """Return a model's own loss function, for each image alone; it does not hold the model.

    An image's loss is that of a batch of this image. So a batch's mean does not depend on the pieces that it is cut
    into: the functions divide by the number of objects in their batch.
    """
    function, config = model.loss_function, model.config

    def losses(logits: torch.Tensor, places: torch.Tensor, targets: Tensors) -> torch.Tensor:
        return torch.stack([one(logits[i : i + 1], places[i : i + 1], targets, i) for i in range(len(logits))])

    def one(logits: torch.Tensor, places: torch.Tensor, targets: Tensors, row: int) -> torch.Tensor:
        if not bool(torch.isfinite(logits).all() & torch.isfinite(places).all()):
            return (logits.sum() + places.sum()) * torch.nan  # the matching would refuse it
        present = targets[CLASSES][row] >= 0
        device = logits.device
        label = {
            "class_labels": targets[CLASSES][row][present].to(device),
            "boxes": targets[BOXES][row][present].to(device),
        }
        loss: torch.Tensor = function(logits, [label], device, places, config, None, None)[0]
        return loss

    return losses


class OwnLoss(Loss):
    """The model's own loss, as a mean over images.

    Args:
        losses: From `criterion`.
    """

    def __init__(self, losses: Criterion) -> None:
        self._losses = losses

    def weight(self, targets: Tensors) -> float:
        """Return the number of images."""
        return len(targets[CLASSES])

    def total(self, outputs: Tensors, targets: Tensors) -> torch.Tensor:
        """Return the sum of the images' losses, ()."""
        return self._losses(outputs[LOGITS].float(), outputs[PLACES].float(), targets).sum()


def padded(rows: Sequence[tuple[Sequence[int], Sequence[Sequence[float]]]]) -> Batch:
    """Return targets: of each row the class ids, and the boxes as `PLACES` has them."""
    most = max(1, *(len(labels) for labels, _ in rows))
    classes, boxes = torch.full((len(rows), most), -1), torch.zeros((len(rows), most, 4))
    for i, (labels, places) in enumerate(rows):
        if labels:
            classes[i, : len(labels)] = torch.tensor(labels)
            boxes[i, : len(labels)] = torch.tensor(places)
    return {CLASSES: classes, BOXES: boxes}


def detections(processor: Any, logits: torch.Tensor, places: torch.Tensor, sizes: torch.Tensor) -> list[Any]:
    """Return scores, labels and boxes of each image, as the model's pipeline gives them at a threshold of 0.

    Args:
        processor: The model's image processor.
        logits: On the CPU.
        places: On the CPU.
        sizes: (images, 2) heights and widths, in pixels.
    """
    outputs = SimpleNamespace(logits=logits, pred_boxes=places)
    found: list[Any] = processor.post_process_object_detection(outputs, threshold=-1.0, target_sizes=sizes)
    return found


def most_answers(logits: torch.Tensor) -> int:
    """Return how many answers an image has at most, by the shape of its logits."""
    answers, classes = logits.shape[1:]
    return min(max(answers, MOST), answers * classes)


def answered(processor: Any, answers: Tensors, rows: Sequence[BoxRow]) -> Batch:
    """Return the answers to some images as scores, class ids and edges in pixels, filled up to one length.

    Args:
        processor: The model's image processor.
        answers: A model's outputs, or answers that no model gave, whose edges are shares of the image's sides.
        rows: The images' objects.
    """
    sides = torch.tensor([row.size for row in rows], dtype=torch.float32)  # (images, 2) widths and heights
    if LOGITS not in answers:
        edges = answers[EDGES] * sides.repeat(1, 2)[:, None]
        return {SCORES: answers[SCORES], LABELS: answers[LABELS], EDGES: edges}
    logits, places = answers[LOGITS], answers[PLACES]
    width = most_answers(logits)
    scores = torch.full((len(rows), width), torch.nan)
    labels = torch.full((len(rows), width), NO_ANSWER)
    edges = torch.zeros((len(rows), width, 4))
    for i, found in enumerate(detections(processor, logits, places, sides.flip(1))):
        count = len(found["scores"])
        scores[i, :count], labels[i, :count], edges[i, :count] = found["scores"], found["labels"], found["boxes"]
    return {SCORES: scores, LABELS: labels, EDGES: edges}


def counted(answers: Batch, rows: Sequence[BoxRow], classes: int) -> Batch:
    """Match the answers of `answered` with the objects of their images, and return statistics."""
    found: list[list[Any]] = []
    for i, row in enumerate(rows):
        boxes = numpy.array([(b.x, b.y, b.x + b.width, b.y + b.height) for b in row.boxes]).reshape(-1, 4)
        own = numpy.array([b.label for b in row.boxes], numpy.int64)
        crowd = numpy.array([b.crowd for b in row.boxes], bool)
        present = (answers[LABELS][i] != NO_ANSWER).numpy()
        labels, scores, edges = (answers[name][i].numpy()[present] for name in (LABELS, SCORES, EDGES))
        matches = match(labels, scores, edges, Objects(own, boxes, crowd))
        filled = []
        for values, rest in zip(matches, (NO_ANSWER, 0, 0), strict=True):
            whole = numpy.full(len(present), rest, numpy.int16)
            whole[present] = values
            filled.append(torch.from_numpy(whole))
        held = torch.bincount(torch.tensor(own[~crowd], dtype=torch.long), minlength=classes)
        found.append([*filled, held])
    kept = {SCORES: answers[SCORES].float(), EDGES: answers[EDGES].float()}
    columns = (torch.stack(column) for column in zip(*found, strict=True))
    return kept | dict(zip((LABELS, MATCHED, IGNORED, HELD), columns, strict=True))


def box_scores(units: Mapping[str, torch.Tensor], only: str = "") -> Metrics:
    """Compute mean average precision and recall, and the loss; `only` the loss is cheap."""
    loss = float(units[LOSS].mean())
    metrics: Metrics = {"loss": loss if numpy.isfinite(loss) else None}
    if only == "loss":
        return metrics
    scores, labels, matched, ignored = (units[name].numpy().ravel() for name in (SCORES, LABELS, MATCHED, IGNORED))
    found = ranked(scores, labels, matched, ignored, units[HELD].sum(0).numpy())
    metrics |= {"map": found.mean_precision(), "map_50": found.mean_precision(0), "map_75": found.mean_precision(5)}
    return metrics | {"mar_100": found.mean_recall()}


LEVELS: Mapping[str, Sequence[int]] = {"map": range(10), "map_50": (0,), "map_75": (5,)}
"""Metric -> numbers of the overlaps that it is the mean of."""


def sampled_scores(statistics: "BoxStatistics", metric: str, samples: Sequence[torch.Tensor]) -> list[float | None]:
    """Compute one metric of `box_scores` over many samples of the images."""
    if metric == "loss":
        losses = statistics.units[LOSS]
        return [box_scores({LOSS: losses[sample]}, "loss")["loss"] for sample in samples]
    drawn = [sample.numpy() for sample in samples]
    if metric == "mar_100":
        return statistics.ranked.mean_recalls(drawn)
    return statistics.ranked.mean_precisions(drawn, LEVELS[metric])


def ordered(statistics: Statistics) -> Statistics:
    """Return the answers with their places in their class, best first, in place of scores: 0, -1, ..."""
    scores, labels = statistics.units[SCORES], statistics.units[LABELS]
    places = torch.full_like(scores, torch.nan, dtype=torch.double)
    for label in range(int(labels.max()) + 1):
        mine = labels == label
        own = scores[mine]
        _, inverse, counts = own.unique(return_inverse=True, return_counts=True)  # type: ignore[no-untyped-call]
        places[mine] = (counts.cumsum(0) - counts.sum())[inverse].double()  # less the answers with a higher score
    return replace(statistics, units={**statistics.units, SCORES: places})


@dataclass(frozen=True)
class BoxStatistics(Statistics):
    """Statistics whose images have as many answers as their model gives.

    Attributes:
        models: How many models' answers to the same images they are, one model's behind the other's.
    """

    models: int = 1

    def joined(self, other: Statistics) -> Self:
        """Return these images and those of another model; the shorter rows are filled up."""
        width = max(statistics.units[LABELS].shape[1] for statistics in (self, other))
        one, two = (_widened(statistics.units, width) for statistics in (self, other))
        both = {name: torch.cat([values, two[name]]) for name, values in one.items()}
        return type(self)(both, {}, models=self.models + 1)

    @cached_property
    def ranked(self) -> RankedAnswers:
        """The answers by rank; of equal ones those to earlier images come first, whichever model they are of."""
        names = (SCORES, LABELS, MATCHED, IGNORED, HELD)
        scores, labels, matched, ignored, held = (self.units[name].numpy() for name in names)
        order = numpy.arange(len(self)) % (len(self) // self.models)
        return RankedAnswers.of(scores, labels, matched, ignored, held, order)


def _widened(units: Mapping[str, torch.Tensor], width: int) -> Batch:
    """Return units whose rows of answers have this width."""
    fills = {SCORES: torch.nan, LABELS: NO_ANSWER, EDGES: 0, MATCHED: 0, IGNORED: 0}
    wider = dict(units)
    for name, fill in fills.items():
        more = width - units[name].shape[1]
        sides = (0, 0, 0, more) if units[name].ndim > 2 else (0, more)
        wider[name] = functional.pad(units[name], sides, value=fill)
    return wider


def renamed(answers: Tensors, own: Sequence[str], names: Sequence[str]) -> Tensors:
    """Return a model's outputs with a column for each of today's classes, matched by label.

    What the model says for classes that are not today's goes to no object, where it has such a column.

    Args:
        answers: Its outputs.
        own: The labels that it has learned.
        names: Today's.
    """
    columns = answers[LOGITS].unbind(2)
    known = dict(zip(own, columns, strict=False))
    never = torch.full_like(columns[0], -torch.inf)
    rest = list(columns[len(own) :])
    if rest:
        gone = [known[name] for name in own if name not in names]
        rest = [torch.logsumexp(torch.stack([*rest, *gone]), 0)]
    logits = torch.stack([*(known.get(name, never) for name in names), *rest], 2)
    return {**answers, LOGITS: logits, FOREIGN: torch.ones(len(logits))}
