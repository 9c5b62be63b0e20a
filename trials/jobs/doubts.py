"""Doubtful labels: rows whose label a probe of the other rows is sure to be another one, by confident learning.

The inspection tells them (Northcutt, Jiang and Chuang 2021, "Confident learning: estimating uncertainty in dataset
labels"). Nothing is changed: a doubt is a reason to look.
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch

from luthier.studies.findings import Finding, note
from luthier.trials.data.class_targets import ClassTargets
from luthier.trials.data.excerpts import excerpt
from luthier.trials.jobs.linear_probe import MOST_CLASSES, Features, held_out_probabilities, training_features
from luthier.trials.training.open_study import OpenStudy

LEAST_ROWS = 100
LEAST_OF_CLASS = 10
"""Rows of a label below which nothing is said of it."""
LEAST_GAIN = 0.5
"""Share of the constant answer's errors that the probe must not make, so that its doubts count."""
SHOWN, TOLD = 10, 3
"""Rows that the finding lists, and of them in its text."""


def doubt_findings(study: OpenStudy, max_length: int, poll: Callable[[], None]) -> list[Finding]:
    """Return the finding on doubtful labels of the training split; nothing where there are none, or too few rows.

    Args:
        study: Data and model; a task whose rows have one class each.
        max_length: Of the inputs.
        poll: Called before each batch.
    """
    targets, split = study.data.targets, study.data.splits["train"]
    few = len(split) < max(LEAST_ROWS, LEAST_OF_CLASS * len(targets.label_names))
    if type(targets) is not ClassTargets or few or len(targets.names) > MOST_CLASSES:
        return []
    rows, found = training_features(study, max_length, poll)
    if not found:
        return []
    labels = torch.tensor([split.targets[row] for row in rows])
    return _finding(found, labels, rows, targets.names, partial(excerpt, split))


def _finding(
    found: Features,
    labels: torch.Tensor,
    rows: Sequence[int],
    names: Sequence[str],
    excerpt_of: Callable[[int], str],
) -> list[Finding]:
    """Return the finding on the probed rows, by the features that predict their labels best.

    Args:
        found: The rows' features.
        labels: (rows,) class ids.
        rows: Their numbers in the training split.
        names: Of the classes.
        excerpt_of: Row number -> by what people find the row again.
    """
    probabilities = max(
        (held_out_probabilities(values, labels, len(names)) for values in found.values()),
        key=lambda p: float((p.argmax(1) == labels).double().mean()),
    )
    right = float((probabilities.argmax(1) == labels).double().mean())
    majority = float(torch.bincount(labels).max()) / len(labels)
    if 1 - right > (1 - LEAST_GAIN) * (1 - majority):
        return []
    doubtful = confident_errors(probabilities, labels)
    if not len(doubtful):
        return []
    guesses = probabilities.argmax(1).tolist()
    shown = [
        f"{_place(rows[i], excerpt_of)}: {names[int(labels[i])]}, perhaps {names[guesses[i]]}"
        for i in doubtful[:SHOWN].tolist()
    ]
    text = (
        f"{len(doubtful):,} of {len(rows):,} training rows have a doubtful label: a linear probe on the model's "
        f"features of the other rows, which is right on {right:.0%}, is sure of another one: {'; '.join(shown[:TOLD])}."
    )
    cure = "Look at them, the most doubtful first; correct those that are wrong."
    return [note("doubtful-labels", text, len(doubtful), shown, cure)]


def _place(row: int, excerpt_of: Callable[[int], str]) -> str:
    """Return the number of a training row, from 1, and the start of its input."""
    start = excerpt_of(row)
    return f"training row {row + 1} ({start})" if start else f"training row {row + 1}"


def confident_errors(probabilities: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the rows whose label is confidently another one, the most doubtful first: (doubtful,).

    A row counts to class j where its probability of j reaches the mean of the rows labelled j; of several, to the most
    probable (Northcutt et al. 2021, equation 1). It is doubtful where that is not its label. The order is that of the
    normalized margin: the label's probability less the other's.

    Args:
        probabilities: (rows, classes), by probes that have not seen the row.
        labels: (rows,) class ids; classes with fewer than `LEAST_OF_CLASS` rows are in no doubt and doubt none.
    """
    classes = probabilities.shape[1]
    counts = torch.bincount(labels, minlength=classes)
    own = probabilities.gather(1, labels[:, None])[:, 0]
    sums = torch.zeros(classes, dtype=torch.double).index_add_(0, labels, own)
    threshold = torch.where(counts >= LEAST_OF_CLASS, sums / counts.clamp(min=1), torch.inf)
    counted = torch.where(probabilities >= threshold, probabilities, -1.0)
    best, other = counted.max(1)
    doubtful = ((best >= 0) & (other != labels) & (counts[labels] >= LEAST_OF_CLASS)).nonzero()[:, 0]
    margin = own[doubtful] - probabilities[doubtful, other[doubtful]]
    return doubtful[margin.argsort(stable=True)]
