"""The probe of depths: for each freeze depth, how good a linear model is on the features that the frozen part makes.

The inspection calls it for each model, where it is cheap: a trial that freezes so many blocks can be expected to reach
about that score at least. The model is not trained, and nothing here changes a trial.
"""

import time
from collections.abc import Callable

import torch
from torch.utils.flop_counter import FlopCounterMode

from luthier.studies.depth_scores import DepthProbe, DepthScore
from luthier.studies.semantics import DEPTHS_PROBED
from luthier.studies.spec import StudySpec
from luthier.trials.data.class_targets import ClassTargets
from luthier.trials.data.encoded import Encoded
from luthier.trials.jobs.depth_features import depth_name
from luthier.trials.jobs.linear_probe import MOST_CLASSES, MOST_ROWS, split_features, training_features
from luthier.trials.tasks.row_task import RowTask
from luthier.trials.tasks.token_classification import TokenClassification
from luthier.trials.training.collector import Collector
from luthier.trials.training.engine import Engine
from luthier.trials.training.linear_problem import outputs_of, problem_of
from luthier.trials.training.linear_solver import Design, choose_and_solve, solve
from luthier.trials.training.micro_batch import MicroBatch
from luthier.trials.training.open_study import OpenStudy

LEAST_ROWS = 200
"""Training rows below which a linear model on hundreds of features says little."""
LEAST_VALIDATION = 50
VALIDATION_SHARE = 2
"""Validation rows at most: the training rows at most, divided by it."""
OPERATIONS = {"cuda": 5e13, "cpu": 5e11}
"""Of the forward passes that are made for it alone: some seconds. A count, so that the result depends on no clock."""


def probe_depths(
    spec: StudySpec, study: OpenStudy, max_length: int, poll: Callable[[], None], log: Callable[[str], None]
) -> DepthProbe | None:
    """Return the score of each depth with this model; None where there is no such score, or it would take long.

    Args:
        spec: The study's.
        study: Data and model.
        max_length: Of the inputs.
        poll: Called before each batch and each solution.
        log: Writes a line into the inspection's log.
    """
    if not is_wanted(spec, study):
        return None
    began = time.perf_counter()
    validation = study.encoded("validation", max_length)
    most = MOST_ROWS[study.pretrained.model.device.type] // VALIDATION_SHARE
    count = min(len(validation), most)
    held = [i * len(validation) // count for i in range(count)]
    if (costs := _costs(study, validation, count)) is not None:
        log(f"no linear probe of {study.name}'s depths: {costs}")
        return None
    rows, train = training_features(study, max_length, poll, deep=True)
    test = split_features(study, validation, held, poll, deep=True)
    if not train or not test:
        log(f"no linear probe of {study.name}'s depths: memory does not suffice")
        return None
    encoded = study.encoded("train", max_length)
    problem = problem_of(study.task, study.data.targets, study.task.collate_targets(encoded, rows))
    sample, penalty = validation.sample(held), None
    scores: list[DepthScore] = []
    for depth in reversed(range(study.backbone.depth + 1)):  # the penalty that suits the top serves for all
        name, since = depth_name(depth), time.perf_counter()
        if name not in train or name not in test:
            continue
        poll()
        score = None
        if bool(torch.isfinite(train[name]).all()) and bool(torch.isfinite(test[name]).all()):
            design = Design(train[name])
            if penalty is None:
                penalty, solved = choose_and_solve(design, problem, poll, rough=True)
            else:
                solved = solve(design, problem, penalty, rough=True)
            score = _score(spec, study, sample, solved(test[name]))
        scores.insert(0, DepthScore(freeze_depth=depth, score=score, seconds=time.perf_counter() - since))
    found = DepthProbe(rows=len(rows), validation_rows=count, seconds=time.perf_counter() - began, scores=scores)
    told = ", ".join(f"{one.freeze_depth}: {_shown(one.score)}" for one in scores)
    log(f"linear probe of {study.name} by freeze depth, {spec.objective.metric} on validation: {told}")
    return found


def is_wanted(spec: StudySpec, study: OpenStudy) -> bool:
    """Return whether a study's depths are to be probed: by its semantics, task and number of rows."""
    task, splits = study.task, study.data.splits
    if spec.semantics < DEPTHS_PROBED or not isinstance(task, RowTask) or isinstance(task, TokenClassification):
        return False
    outputs = outputs_of(task, study.data.targets)
    if outputs is None or outputs > MOST_CLASSES:
        return False
    return len(splits["train"]) >= LEAST_ROWS and len(splits["validation"]) >= LEAST_VALIDATION


def _costs(study: OpenStudy, encoded: Encoded, validation_rows: int) -> str | None:
    """Return that the probe would take too long, in words; None where it would not."""
    device = study.pretrained.model.device.type
    rows = validation_rows
    if type(study.data.targets) is not ClassTargets:  # of classes, the search for doubtful labels has the features
        rows += min(len(study.data.splits["train"]), MOST_ROWS[device])
    engine = Engine(study.pretrained.model.eval(), study.task, MicroBatch())  # type: ignore[no-untyped-call]
    middle = sorted(range(len(encoded)), key=lambda row: encoded.lengths[row])[len(encoded) // 2]
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        engine.forward(engine.collate(encoded, [middle]))
    operations = rows * counter.get_total_flops()
    if operations <= OPERATIONS[device]:
        return None
    return f"{rows:,} more rows would take {operations:.0e} operations, above {OPERATIONS[device]:.0e}"


def _score(spec: StudySpec, study: OpenStudy, encoded: Encoded, outputs: torch.Tensor) -> float | None:
    """Return the objective of a linear model's outputs for the rows of a split, (rows, outputs)."""
    task, targets, rows = study.task, study.data.targets, range(len(encoded))
    collector = Collector(task, encoded, targets, targets)
    collector.add(rows, task.answers({"logits": outputs.float()}, task.collate_targets(encoded, rows)))
    return task.scores(collector.statistics(), targets)[spec.objective.metric]


def _shown(score: float | None) -> str:
    return "undefined" if score is None else f"{score:.4f}"
