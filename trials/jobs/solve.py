"""Solve one trial whose strategy is `probe`: the head's last layer at its optimum for the pretrained features.

`train` calls it. Nothing is drawn at random but the parts of the head before that layer, if the checkpoint lacks them.
An attempt that was interrupted starts over: it has one evaluation.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial

import torch

from luthier.studies.hyperparameters import PROBE
from luthier.studies.protocol import Assignment
from luthier.studies.space import Space
from luthier.trials.data.batches import evaluation_batches, pieces
from luthier.trials.data.encoded import Encoded
from luthier.trials.model.last_layer import left_out
from luthier.trials.tasks.scoring import Batch
from luthier.trials.training.collector import joined
from luthier.trials.training.engine import Engine
from luthier.trials.training.halving import run_halving
from luthier.trials.training.linear_layer import check_layer, solved_layer
from luthier.trials.training.linear_problem import on, problem_of
from luthier.trials.training.linear_solver import Design, choose_and_solve
from luthier.trials.training.micro_batch import MicroBatch
from luthier.trials.training.model_cache import ModelCache
from luthier.trials.training.open_study import OpenStudy
from luthier.trials.training.setup import Trial

FEATURES = "features"
"""Name of a unit's vector among its targets."""


def with_all_frozen(assignment: Assignment, cache: ModelCache) -> Assignment:
    """Return a trial with all blocks of its model frozen, whatever was drawn, so that the prefix cache has them."""
    depth = cache.open(assignment).backbone.depth
    return assignment.model_copy(update={"params": {**assignment.params, "freeze_depth": depth}})


def check_solvable(space: Space, study: OpenStudy, max_length: int) -> None:
    """Raise BadData where a space offers the strategy `probe`, and the model has no layer that can be solved."""
    if space.offers("strategy", PROBE):
        check_layer(study, Engine(study.pretrained.model.eval(), study.task, MicroBatch()), max_length)  # type: ignore[no-untyped-call]


def solve_layer(trial: Trial) -> float:
    """Give the model of a trial the solved layer, and return the mean loss of the training units; NaN without one.

    Args:
        trial: Set up with all blocks frozen.

    Raises:
        Ended: The trial is to end now.
        torch.OutOfMemoryError: A single example does not fit.
    """
    study, session = trial.study, trial.session
    layer = solved_layer(study)
    began = time.perf_counter()
    with left_out(study.pretrained.model, layer):
        units = _units(trial, _plain(trial))
    features = units.pop(FEATURES)
    computed = time.perf_counter()
    if not bool(torch.isfinite(features).all()):
        return float("nan")
    problem = on(problem_of(study.task, study.data.targets, units, trial.assignment.params), features.device)
    design = Design(features, intercept=layer.bias is not None)
    penalty, solved = choose_and_solve(design, problem, session.poll)
    with torch.no_grad():
        layer.weight.copy_(solved.weight)
        if layer.bias is not None:
            layer.bias.copy_(solved.bias)
    session.log(
        f"solved the last layer, {layer.in_features} features to {layer.out_features} outputs, for {len(features):,} "
        f"answers: penalty {penalty:g}, chosen on a fifth of the training rows; features took "
        f"{computed - began:.1f} s, the solution {time.perf_counter() - computed:.1f} s"
    )
    return float(problem.loss(solved(features))) / len(features)


def _plain(trial: Trial) -> Encoded:
    """Return the training split without the random changes of an augmentation."""
    study, encoded = trial.study, trial.training
    if not encoded.augmented and encoded.changes is None:
        return encoded
    length = int(trial.assignment.params["max_length"])
    plain: Encoded = study.task.encode(study.pretrained, study.data.splits["train"], length)
    return plain.batched(study.batching)


@torch.no_grad()
def _units(trial: Trial, encoded: Encoded) -> dict[str, torch.Tensor]:
    """Return the targets of a split's units, and what goes into the layer that is left out for each, as `FEATURES`."""
    engine, task = trial.engine, trial.study.task
    engine.model.eval()
    found: list[Batch] = []

    def computed(rows: Sequence[int]) -> Batch:
        outputs, targets = engine.outputs(encoded, rows)
        return {**targets, FEATURES: task.counted(outputs, targets).float()}

    def in_pieces(rows: Sequence[int], size: int) -> Batch:
        return joined([computed(piece) for piece in pieces(encoded, rows, size)])

    for rows in evaluation_batches(encoded.lengths, engine.evaluation_rows(encoded)):
        trial.session.poll()
        compute: Callable[[int], Batch] = partial(in_pieces, rows)
        found.append(run_halving(compute, len(rows), engine.micro_batch, remember=False))
    return dict(joined(found))
