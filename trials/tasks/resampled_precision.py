"""Average precision of many samples of the same images, all at once: `average_precision.ranked` of each.

A comparison needs thousands of them. The answers are ranked once; a sample says how often it holds each image, and its
right and wrong answers are sums of that along the ranks. An image that is drawn twice has each answer twice, side by
side, of which the last has the precision that counts. Answers with equal scores stand in the order of their images.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy
from numpy.typing import NDArray

from luthier.trials.tasks.average_precision import NO_ANSWER, OVERLAPS, RECALLS, Floats, Whole

ENTRIES = 1_000_000
"""Numbers of one kind that are held at the same time."""


@dataclass(frozen=True)
class ClassAnswers:
    """The answers of a class, best scores first.

    Attributes:
        images: (answers,) the image of each.
        places: (points,) the numbers of the answers that are right, or do not count, at some overlap.
        right: (overlaps, points) booleans.
        outside: (overlaps, points) booleans: right answers, and those that do not count; all others are wrong.
    """

    images: Whole
    places: Whole
    right: NDArray[numpy.bool_]
    outside: NDArray[numpy.bool_]


@dataclass(frozen=True)
class RankedAnswers:
    """The ranked answers of a split's images.

    Attributes:
        held: (images, classes) the objects that are no crowds.
        classes: The answers to each class that has objects, by its id.
    """

    held: Whole
    classes: dict[int, ClassAnswers]

    @classmethod
    def of(
        cls, scores: Floats, labels: Whole, matched: Whole, ignored: Whole, held: Whole, order: Whole
    ) -> "RankedAnswers":
        """Rank the answers of images.

        Args:
            scores: (images, answers).
            labels: (images, answers) class ids; those of `NO_ANSWER` are left out.
            matched: (images, answers) bits of `average_precision.match`.
            ignored: (images, answers) bits of `average_precision.match`.
            held: (images, classes) the objects of each class that are no crowds.
            order: (images,) which image comes first where scores are equal.
        """
        present = numpy.flatnonzero(((labels != NO_ANSWER) & ~numpy.isnan(scores)).ravel())
        images = present // labels.shape[1]
        own = labels.ravel()[present]
        by_rank = numpy.lexsort((order[images], -scores.ravel()[present], own))  # within an image as they are
        present, images, own = present[by_rank], images[by_rank], own[by_rank]
        starts = numpy.searchsorted(own, numpy.arange(held.shape[1] + 1))
        levels = numpy.arange(len(OVERLAPS))[:, None]
        classes = {}
        for label in numpy.flatnonzero(held.any(0)).tolist():
            part = slice(starts[label], starts[label + 1])
            bits, others = (flags.ravel()[present[part]].astype(numpy.int64) for flags in (matched, ignored))
            places = numpy.flatnonzero(bits | others)
            uncounted = others[places] >> levels & 1 == 1
            found = bits[places] >> levels & 1 == 1
            classes[label] = ClassAnswers(images[part], places, found & ~uncounted, found | uncounted)
        return cls(held.astype(numpy.int64), classes)

    def mean_precisions(self, samples: Sequence[Whole], levels: Sequence[int]) -> list[float | None]:
        """Return the mean average precision of each sample; None where it has no objects.

        Args:
            samples: (images,) numbers of images each; the same one may occur several times.
            levels: Numbers of overlaps.
        """
        return self._means(samples, levels, recall=False)

    def mean_recalls(self, samples: Sequence[Whole]) -> list[float | None]:
        """Return the mean recall of each sample over all overlaps; None where it has no objects."""
        return self._means(samples, range(len(OVERLAPS)), recall=True)

    def _means(self, samples: Sequence[Whole], levels: Sequence[int], recall: bool) -> list[float | None]:
        means: list[float | None] = []
        for weights in self._weights(samples, len(levels)):
            held = weights @ self.held  # (samples, classes)
            total = numpy.zeros(len(weights))
            for label, answers in self.classes.items():
                drawn = numpy.flatnonzero(held[:, label])
                if len(answers.places) and len(drawn):
                    measure = _recalls if recall else _precisions
                    total[drawn] += measure(answers, weights[drawn], held[drawn, label], list(levels)).sum(1)
            counts = (held > 0).sum(1) * len(levels)
            means += [float(one / count) if count else None for one, count in zip(total, counts, strict=True)]
        return means

    def _weights(self, samples: Sequence[Whole], levels: int) -> Iterator[Whole]:
        """Yield how often samples hold each image, (some samples, images), as many samples as memory is meant for."""
        longest = max((max(len(one.images), levels * len(one.places)) for one in self.classes.values()), default=1)
        step = max(1, ENTRIES // max(longest, 1))
        for first in range(0, len(samples), step):
            part = samples[first : first + step]
            yield numpy.stack([numpy.bincount(sample, minlength=len(self.held)) for sample in part])


def _counts(answers: ClassAnswers, weights: Whole, levels: list[int]) -> tuple[Whole, Whole]:
    """Return the right answers up to each point, and the wrong ones, (samples, levels, points) both."""
    all_so_far = weights[:, answers.images].cumsum(1)[:, None, answers.places]
    own = weights[:, None, answers.images[answers.places]]
    true, outside = ((own * flags[levels]).cumsum(2) for flags in (answers.right, answers.outside))
    return true, all_so_far - outside


def _precisions(answers: ClassAnswers, weights: Whole, held: Whole, levels: list[int]) -> Floats:
    """Return the average precision of a class, (samples, levels): the mean over `RECALLS` of the best from there on."""
    true, wrong = _counts(answers, weights, levels)
    precision = true / (true + wrong + numpy.spacing(1))
    best = numpy.maximum.accumulate(precision[..., ::-1], axis=2)[..., ::-1]
    sizes, size = numpy.unique(held, return_inverse=True)
    tables = [_reached(int(objects)) for objects in sizes]
    firsts = numpy.cumsum([0, *map(len, tables[:-1])])[size]
    reached = numpy.concatenate(tables)[true + firsts[:, None, None]]
    gained = numpy.diff(reached, axis=2, prepend=0)
    averages: Floats = numpy.einsum("slp,slp->sl", gained, best) / len(RECALLS)
    return averages


def _recalls(answers: ClassAnswers, weights: Whole, held: Whole, levels: list[int]) -> Floats:
    """Return the share of a class's objects that are found, (samples, levels)."""
    own = weights[:, answers.images[answers.places]]
    recalls: Floats = own @ answers.right[levels].T / held[:, None]
    return recalls


@lru_cache(maxsize=10_000)
def _reached(objects: int) -> Whole:
    """Return how many of `RECALLS` are reached with 0, 1, ... of so many objects found; with none, none is."""
    counts = numpy.searchsorted(RECALLS, numpy.arange(objects + 1) / objects, side="right")
    counts[0] = 0
    return counts
