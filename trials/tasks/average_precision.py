"""Average precision of boxes as COCO's official script counts it (pycocotools, `COCOeval` with iouType bbox).

The answers of each image are matched with its objects once, at ten overlaps: `match`. What is kept of an answer is its
score, its class, and a bit for each overlap. The metrics are computed from these rows for any sample of the images, as
a comparison draws thousands of them: `average_precision`. Areas are all, and each image and class has at most 100
answers.
"""

from dataclasses import dataclass

import numpy
from numpy.typing import NDArray

OVERLAPS = numpy.linspace(0.5, 0.95, 10)
"""Intersections over union from which an answer may be right."""
RECALLS = numpy.linspace(0.0, 1.0, 101)
"""The recalls at which precision is averaged."""
MOST = 100
"""Answers that count for an image and a class, those with the highest scores."""
NO_ANSWER = -1
"""The class of a row without an answer."""

Floats = NDArray[numpy.float64]
Whole = NDArray[numpy.int64]


@dataclass(frozen=True)
class Objects:
    """The objects of an image.

    Attributes:
        labels: (objects,) class ids.
        boxes: (objects, 4) left, upper, right and lower edge.
        crowd: (objects,) booleans: many objects in one box, whose answers count neither as right nor as wrong.
    """

    labels: Whole
    boxes: Floats
    crowd: NDArray[numpy.bool_]


def match(labels: Whole, scores: Floats, boxes: Floats, objects: Objects) -> tuple[Whole, Whole, Whole]:
    """Match an image's answers with its objects, class by class, the highest scores first.

    Args:
        labels: (answers,) class ids.
        scores: (answers,) finite.
        boxes: (answers, 4) left, upper, right and lower edge.
        objects: Those of the image.

    Returns:
        (answers,) the class ids, `NO_ANSWER` for those beyond `MOST` of their class; and two sets of bits, one bit for
        each overlap of `OVERLAPS`: the answer has found an object, and the answer does not count.
    """
    counted, matched, ignored = labels.copy(), numpy.zeros_like(labels), numpy.zeros_like(labels)
    for label in numpy.unique(labels):
        own = numpy.flatnonzero(labels == label)
        ranked = own[numpy.argsort(-scores[own], kind="mergesort")]
        counted[ranked[MOST:]] = NO_ANSWER
        mine = objects.labels == label
        if mine.any():
            _match_class(ranked[:MOST], boxes, objects.boxes[mine], objects.crowd[mine], matched, ignored)
    return counted, matched, ignored


def _match_class(
    ranked: Whole, boxes: Floats, true: Floats, crowd: NDArray[numpy.bool_], matched: Whole, ignored: Whole
) -> None:
    """Set the bits of one class's answers, which are ranked by their scores."""
    order = numpy.argsort(crowd, kind="mergesort")  # crowds last
    true, crowd = true[order], crowd[order]
    overlaps = _overlaps(boxes[ranked], true, crowd)
    least = numpy.minimum(OVERLAPS, 1 - 1e-10)
    single = int((~crowd).sum())
    taken = numpy.zeros((len(OVERLAPS), len(true)), bool)
    for i in numpy.flatnonzero(overlaps.max(1) >= least[0]):
        for level in numpy.flatnonzero(least <= overlaps[i].max()).tolist():
            found = _best(overlaps[i], least[level], taken[level], slice(0, single))
            if found is None:
                found = _best(overlaps[i], least[level], numpy.zeros(len(true), bool), slice(single, None))
            if found is None:
                continue
            taken[level, found] = True
            matched[ranked[i]] |= 1 << level
            ignored[ranked[i]] |= int(crowd[found]) << level


def _best(overlaps: Floats, least: float, taken: NDArray[numpy.bool_], part: slice) -> int | None:
    """Return the free object of a part with the largest overlap, the last of equal ones; None below `least`."""
    free = numpy.where(taken[part], -1.0, overlaps[part])
    if not len(free) or free.max() < least:
        return None
    return (part.start or 0) + len(free) - 1 - int(free[::-1].argmax())


def _overlaps(boxes: Floats, true: Floats, crowd: NDArray[numpy.bool_]) -> Floats:
    """Return intersection over union, (boxes, objects); of a crowd, over the box's own area."""
    upper = numpy.maximum(boxes[:, None, :2], true[None, :, :2])
    lower = numpy.minimum(boxes[:, None, 2:], true[None, :, 2:])
    common = (lower - upper).clip(min=0).prod(2)
    areas, others = ((part[:, 2:] - part[:, :2]).prod(1) for part in (boxes, true))
    union = numpy.where(crowd[None], areas[:, None], areas[:, None] + others[None] - common)
    overlaps: Floats = numpy.divide(common, union, out=numpy.zeros_like(common), where=union > 0)
    return overlaps


@dataclass(frozen=True)
class Ranked:
    """Precision and recall of a sample of images.

    Attributes:
        precisions: (overlaps, classes with objects), the mean over `RECALLS`.
        recalls: (overlaps, classes with objects), the share of the objects that are found.
    """

    precisions: Floats
    recalls: Floats

    def mean_precision(self, level: int | None = None) -> float | None:
        """Return the mean over overlaps and classes, or at one overlap; None where no class has objects."""
        chosen = self.precisions if level is None else self.precisions[level]
        return float(chosen.mean()) if chosen.size else None

    def mean_recall(self) -> float | None:
        """Return the mean over overlaps and classes; None where no class has objects."""
        return float(self.recalls.mean()) if self.recalls.size else None


def ranked(scores: Floats, labels: Whole, matched: Whole, ignored: Whole, held: Whole) -> Ranked:
    """Compute precision and recall of all images' answers together.

    Args:
        scores: (answers,) of all images, image after image.
        labels: (answers,) class ids; those of `NO_ANSWER` are left out.
        matched: (answers,) bits of `match`.
        ignored: (answers,) bits of `match`.
        held: (classes,) the objects of each class that are no crowds.
    """
    present = numpy.flatnonzero((labels != NO_ANSWER) & ~numpy.isnan(scores))
    order = present[numpy.argsort(-scores[present], kind="mergesort")]
    order = order[numpy.argsort(labels[order], kind="mergesort")]  # class after class, best scores first
    labels, bits, others = labels[order], matched[order], ignored[order]
    starts = numpy.searchsorted(labels, numpy.arange(len(held) + 1))
    classes = numpy.flatnonzero(held)
    found = Ranked(*(numpy.zeros((len(OVERLAPS), len(classes))) for _ in range(2)))
    for level in range(len(OVERLAPS)):
        outside = (others >> level) & 1 == 1
        right = ((bits >> level) & 1 == 1) & ~outside
        wrong = ((bits >> level) & 1 == 0) & ~outside
        for column, label in enumerate(classes):
            part = slice(starts[label], starts[label + 1])
            precision, recall = _curve(right[part], wrong[part], int(held[label]))
            found.precisions[level, column], found.recalls[level, column] = precision, recall
    return found


def _curve(right: NDArray[numpy.bool_], wrong: NDArray[numpy.bool_], objects: int) -> tuple[float, float]:
    """Return the average precision and the final recall of ranked answers, at one overlap.

    Precision is highest at a right answer: so those ranks suffice.
    """
    ranks = numpy.flatnonzero(right)
    if not len(ranks):
        return 0.0, 0.0
    true = numpy.arange(1, len(ranks) + 1)
    precision = true / (true + numpy.cumsum(wrong)[ranks] + numpy.spacing(1))
    best = numpy.maximum.accumulate(precision[::-1])[::-1]
    recall = true / objects
    places = numpy.searchsorted(recall, RECALLS, side="left")
    reached = places[places < len(best)]
    return float(best[reached].sum() / len(RECALLS)), float(recall[-1])
