"""What a linear model on a pretrained model's features has to predict, for the tasks that it can do.

The inspection's probe of depths and trials with `strategy: probe` ask it.
"""

from typing import Any

import torch

from luthier.studies.hyperparameters import HYPERPARAMETERS, Params
from luthier.trials.data.class_targets import ClassTargets
from luthier.trials.data.label_set_targets import LabelSetTargets
from luthier.trials.data.numbers import Numbers
from luthier.trials.tasks.base import TaskCode
from luthier.trials.tasks.classification import Classification, class_weights
from luthier.trials.tasks.label_set_loss import LABELS, indicators
from luthier.trials.tasks.multilabel import Multilabel
from luthier.trials.tasks.regression import Regression
from luthier.trials.tasks.scoring import Tensors
from luthier.trials.training.linear_solver import Problem

UNWEIGHTED: Params = {"class_weighting": HYPERPARAMETERS["class_weighting"].default}


def outputs_of(task: TaskCode[Any], targets: Any) -> int | None:
    """Return the number of outputs of a linear model for a task; None where the task is not one for such models."""
    if isinstance(task, Classification) and isinstance(targets, ClassTargets):
        return len(targets.names)
    if isinstance(task, Multilabel) and isinstance(targets, LabelSetTargets):
        return len(targets.names)
    return 1 if isinstance(task, Regression) and isinstance(targets, Numbers) else None


def problem_of(task: TaskCode[Any], targets: Any, units: Tensors, params: Params = UNWEIGHTED) -> Problem:
    """Return what a linear model has to predict, and how much each class counts.

    Args:
        task: One that `outputs_of` knows.
        targets: What is learned.
        units: What `collate_targets` gives for all training rows.
        params: The configuration: `class_weighting`.
    """
    if isinstance(task, Regression):
        return Problem("numbers", (units["numbers"] - targets.mean) / targets.deviation, 1)
    classes = len(targets.names)
    if isinstance(task, Multilabel):
        marks = indicators(units[LABELS], classes)
        weights = None
        if params["class_weighting"] != "none":
            counts = marks.sum(0).double()
            weights = (len(marks) - counts) / counts.clamp(min=1)
            weights[weights == 0] = 1.0  # a label of every row: nothing is to be balanced
        return Problem("label_sets", marks.double(), classes, weights)
    labels = units["labels"]
    return Problem("classes", labels, classes, class_weights(labels, classes, params))


def on(problem: Problem, device: torch.device) -> Problem:
    """Return the problem with its targets on a device."""
    return Problem(problem.kind, problem.targets.to(device), problem.outputs, problem.weights)
