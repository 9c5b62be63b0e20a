"""Classification: the parts that all tasks share whose units get one class each.

Classifiers of texts, words, images and sounds are subclasses; they load models and encode examples.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch.nn import functional

from luthier.studies.hyperparameters import Params
from luthier.studies.tasks import TASKS
from luthier.studies.wire import Metrics
from luthier.trials.data.class_targets import ClassTargets
from luthier.trials.data.encoded import Encoded, Values, take
from luthier.trials.model.pretrained import Head, Pretrained
from luthier.trials.tasks.base import Loss
from luthier.trials.tasks.class_loss import ClassLoss
from luthier.trials.tasks.export import Cell
from luthier.trials.tasks.insight import ClassCounts, Pairs, counts_of_pairs
from luthier.trials.tasks.label_cells import label_cells, label_columns
from luthier.trials.tasks.metrics import LABEL, LOG_LIKELIHOOD, PREDICTED, class_statistics, classification_scores
from luthier.trials.tasks.mixing import OTHER, SHARE, both
from luthier.trials.tasks.row_task import RowTask
from luthier.trials.tasks.scoring import Batch, Constant, Reference, Tensors
from luthier.trials.tasks.statistics import Statistics

UNKNOWN = 1e4
"""How far below a model's lowest logit the logit of a label lies that the model does not know."""


LEAST_COUNT = 1e-9
"""The training rows of a class that has none, so that its log frequency is a number."""


class Classification(RowTask[ClassTargets]):
    """A classifier whose logits are (rows, classes). A row is an example is a unit, unless a subclass says more."""

    targets: ClassVar[type[ClassTargets]] = ClassTargets

    def head(self, targets: ClassTargets) -> Head:
        """Return a head with a logit for each label. Pipelines make of them probabilities that sum to 1."""
        return Head(targets.label_names, {"problem_type": "single_label_classification"})

    def encode_targets(self, rows: Sequence[Any]) -> dict[str, Values]:
        """Return the class ids as `labels`, (rows,)."""
        return {"labels": torch.tensor(rows)}

    def collate_targets(self, encoded: Encoded, rows: Sequence[int]) -> Batch:
        """Return the class ids of some rows, (rows,), as `labels`; of mixed inputs both classes and the share."""
        names = [name for name in ("labels", OTHER, SHARE) if name in encoded.targets]
        return {name: torch.as_tensor(take(encoded.targets[name], rows)) for name in names}

    def mixed_targets(
        self, targets: Mapping[str, Values], partners: Sequence[int], shares: torch.Tensor
    ) -> dict[str, Values]:
        """Return both classes of each mixture, and the share of the first."""
        return both("labels", targets, partners, shares)

    def row_classes(self, encoded: Encoded) -> Sequence[int] | None:
        """Return the class id of each row."""
        classes: list[int] = torch.as_tensor(encoded.targets["labels"]).tolist()
        return classes

    def counted(self, outputs: Tensors, targets: Tensors) -> torch.Tensor:
        """Return the logits of the units, (units, classes)."""
        return outputs["logits"]

    def loss(self, pretrained: Pretrained, targets: ClassTargets, training: Encoded, params: Params) -> Loss:
        """Return the cross-entropy or focal loss, with the configuration's class weights and label smoothing."""
        labels = torch.as_tensor(list(targets.class_ids(training.targets["labels"])))
        weights = class_weights(labels, len(targets.names), params)
        if weights is not None:
            weights = weights.to(pretrained.model.device)
        return ClassLoss(self.counted, weights, float(params["label_smoothing"]), float(params["focal_gamma"]))

    def answers(self, outputs: Tensors, targets: Tensors) -> Batch:
        """Return the logits of the units, float32, and their labels."""
        return {"logits": self.counted(outputs, targets).float(), "labels": targets["labels"]}

    def used(self, answers: Tensors, encoded: Encoded, rows: Sequence[int]) -> list[list[float]]:
        """Return the probability of each class, for each unit."""
        probabilities: list[list[float]] = answers["logits"].double().softmax(1).tolist()
        return probabilities

    def cells_header(self, targets: ClassTargets) -> tuple[str, ...]:
        """Return the label, its probability, and the probability of each label."""
        return label_columns(targets.names)

    def cells(self, said: Sequence[str], values: Sequence[Sequence[Any]], targets: ClassTargets) -> Sequence[Cell]:
        """Return the label and the probabilities of a row."""
        return [said[0], *label_cells(targets.names, values[0], max(values[0]))]

    def translated(self, answers: Tensors, own: ClassTargets, targets: ClassTargets) -> Tensors:
        """Return the answers with a column of logits for each of today's classes, matched by label."""
        return {**answers, "logits": by_label(answers["logits"], own.names, targets.names)}

    def statistics(self, answers: Tensors, encoded: Encoded, rows: Sequence[int]) -> Batch:
        """Return each unit's true class, its predicted class, and the log probability of the true one."""
        return class_statistics(answers["logits"], answers["labels"])

    def scores(self, statistics: Statistics, targets: ClassTargets) -> Metrics:
        """Compute accuracy, macro F1 and loss."""
        values = classification_scores(statistics.units, len(targets.names))
        return {metric.name: values[metric.name] for metric in TASKS[self.name].metrics}

    def sureness(self, answers: Tensors) -> torch.Tensor:
        """Return the probability of each unit's likeliest class."""
        return answers["logits"].double().softmax(1).amax(1)

    def badness(self, statistics: Statistics, targets: ClassTargets) -> torch.Tensor:
        """Return the cross-entropy of each unit."""
        return -statistics.units[LOG_LIKELIHOOD]

    def class_counts(self, statistics: Statistics, targets: ClassTargets) -> ClassCounts:
        """Return what is counted of each class."""
        return counts_of_pairs(self.class_pairs(statistics), len(targets.names))

    def class_pairs(self, statistics: Statistics) -> Pairs:
        """Return the true and the predicted class of each unit."""
        return Pairs(statistics.units[LABEL], statistics.units[PREDICTED])

    def right(self, statistics: Statistics, targets: ClassTargets) -> torch.Tensor:
        """Return whether each unit's class is predicted, (units,)."""
        return statistics.units[PREDICTED] == statistics.units[LABEL]

    def constant(self, training: Sequence[Any], targets: ClassTargets) -> Constant:
        """Return the most frequent label; its value is the log frequencies of all labels, (classes,), as logits."""
        counts = torch.tensor(list(targets.counts([training]).values()), dtype=torch.double)
        logits = (counts.clamp(min=LEAST_COUNT) / counts.sum()).log()
        return Constant(targets.names[int(counts.argmax())], logits.float())

    def reference_answers(
        self, reference: Reference, constant: Constant, units: Tensors, targets: ClassTargets
    ) -> Batch:
        """Return logits that are the log frequencies, or highest or lowest for the true label, and the labels."""
        labels = units["labels"]
        if reference is Reference.CONSTANT:
            return {"logits": constant.value.expand(len(labels), -1), "labels": labels}
        true = functional.one_hot(labels, len(targets.names)).float()  # (units, classes)
        return {"logits": true if reference is Reference.RIGHT else -true, "labels": labels}

    def truths(self, statistics: Statistics, encoded: Encoded, targets: ClassTargets) -> Iterable[str]:
        """Return the label of each unit."""
        return (targets.names[label] for label in statistics.units[LABEL].tolist())

    def said(self, statistics: Statistics, encoded: Encoded, targets: ClassTargets) -> Iterable[str]:
        """Return the label that is predicted for each unit."""
        return (targets.names[label] for label in statistics.units[PREDICTED].tolist())


def class_weights(labels: torch.Tensor, classes: int, params: Mapping[str, object]) -> torch.Tensor | None:
    """Return the loss weight of each class, (classes,), or None where all count alike.

    Balanced weights are units / (classes * units of the class), as scikit-learn's `compute_class_weight` has them.

    Args:
        labels: (units,) class ids of the training split.
        classes: Number of classes.
        params: The configuration: `class_weighting`.
    """
    if params["class_weighting"] == "none":
        return None
    counts = torch.bincount(labels, minlength=classes)
    return len(labels) / (classes * counts.clamp(min=1).float())


def by_label(logits: torch.Tensor, own: Sequence[str], names: Sequence[str]) -> torch.Tensor:
    """Return logits with one column for each of `names`, (units, names), matched by label.

    A label that the model does not know is its last choice. A label of the model that is not among `names` any more has
    no column, so the model cannot choose it.

    Args:
        logits: (units, own).
        own: The model's labels, by class id.
        names: Today's labels, by class id.
    """
    lowest = logits.min(1).values - UNKNOWN
    columns = dict(zip(own, logits.unbind(1), strict=True))
    return torch.stack([columns.get(name, lowest) for name in names], 1)
