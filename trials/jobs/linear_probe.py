"""Linear probes: logistic regression on a pretrained model's features, each row predicted by others.

The inspection asks them which pooling suits the data, which labels are doubtful, and how good the features of each
depth are. The model is not trained.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import torch

from luthier.trials.data.encoded import Encoded
from luthier.trials.jobs.depth_features import depth_name, mean_of, tensor_of, token_mask, watched
from luthier.trials.training.engine import EVALUATION_BATCH, Engine
from luthier.trials.training.halving import run_halving
from luthier.trials.training.linear_solver import Design, Problem, solve
from luthier.trials.training.micro_batch import MicroBatch
from luthier.trials.training.open_study import OpenStudy

MOST_ROWS = {"cuda": 10_000, "cpu": 1_000}
"""Training rows that are probed, spread evenly, by the kind of device."""
FOLDS = 5
PENALTY = 1.0
"""Of the squared weights of a logistic regression on standardized features, as scikit-learn's C = 1 / PENALTY."""
MOST_CLASSES = 100
"""Of a regression: with more it would take minutes."""

OUTPUT = ("mean", "first")
"""The names of the features of the backbone's output."""

Features = dict[str, torch.Tensor]  # pooling, or depth -> (rows, hidden), float32, on the CPU

_known: WeakKeyDictionary[OpenStudy, tuple[int, Sequence[int], Features]] = WeakKeyDictionary()
"""An open study -> the length of the inputs, and what `training_features` has returned for it."""


def training_features(
    study: OpenStudy, max_length: int, poll: Callable[[], None], deep: bool = False
) -> tuple[Sequence[int], Features]:
    """Return the numbers of the training rows that are probed, and their features.

    There are no features where memory does not suffice for a single row: what is probed must not fail an inspection,
    whose search for batch sizes says so. Features that were computed for a study are kept as long as it is open.

    Args:
        study: Data and model; a row is an example.
        max_length: Of the inputs.
        poll: Called before each batch.
        deep: Those of each depth are wanted, too, as `depth_features.watched` names them.
    """
    known = _known.get(study)
    if known is not None and known[0] == max_length and (not deep or depth_name(0) in known[2]):
        return known[1], known[2] if deep else _shallow(known[2])
    split = study.data.splits["train"]
    most = min(len(split), MOST_ROWS[study.pretrained.model.device.type])
    rows = [i * len(split) // most for i in range(most)]
    encoded, places = study.encoded("train", max_length), rows
    if encoded.augmented:
        encoded = study.task.encode(study.pretrained, split.take(rows), max_length).batched(study.batching)
        places = list(range(most))
    found = split_features(study, encoded, places, poll, deep)
    if found:
        _known[study] = (max_length, rows, found)
    return rows, found if deep else _shallow(found)


def _shallow(found: Features) -> Features:
    """Return the features of the backbone's output."""
    return {name: values for name, values in found.items() if name in OUTPUT}


def split_features(
    study: OpenStudy, encoded: Encoded, rows: Sequence[int], poll: Callable[[], None], deep: bool = False
) -> Features:
    """Return the features of some rows of a split; none where memory does not suffice for one. See above."""
    try:
        return _features(study, encoded, rows, poll, deep)
    except torch.OutOfMemoryError:
        return {}


@torch.no_grad()
def _features(
    study: OpenStudy, encoded: Encoded, rows: Sequence[int], poll: Callable[[], None], deep: bool
) -> Features:
    """Return the vectors that the pretrained backbone makes of some rows: of the first token, and the mean of all.

    A backbone whose output has no tokens gives one kind, `mean`: its output, averaged over places where it has some.
    One that is not called as a whole, or gives no tensor first, has none.

    Args:
        study: Its model is left in evaluation mode.
        encoded: A split as the model's inputs.
        rows: Row numbers.
        poll: Called before each batch.
        deep: Return those of each depth, too.

    Raises:
        torch.OutOfMemoryError: A single row does not fit.
    """
    model = study.pretrained.model.eval()  # type: ignore[no-untyped-call]
    engine = Engine(model, study.task, MicroBatch())
    made: list[Features] = []
    order = sorted(range(len(rows)), key=lambda i: -encoded.lengths[rows[i]])
    size = 1 if len(set(encoded.lengths)) > 1 and _alone(study) else EVALUATION_BATCH[engine.device.type]
    for start in range(0, len(order), size):
        poll()
        batch = [rows[i] for i in order[start : start + size]]
        made.append(run_halving(partial(_joined, engine, study, encoded, batch, deep), len(batch), MicroBatch()))
    back = torch.tensor(order).argsort()
    return {name: torch.cat([part[name] for part in made])[back] for name in made[0]}


def _alone(study: OpenStudy) -> bool:
    """Return whether padding changes the model's answers."""
    return study.batching.value in ("equal", "single")


def _joined(engine: Engine, study: OpenStudy, encoded: Encoded, rows: Sequence[int], deep: bool, size: int) -> Features:
    """Return the features of some rows, computed in pieces of a size."""
    parts = [_computed(engine, study, encoded, rows[i : i + size], deep) for i in range(0, len(rows), size)]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _computed(engine: Engine, study: OpenStudy, encoded: Encoded, rows: Sequence[int], deep: bool) -> Features:
    """Return the features of some rows that go through the model together."""
    caught: list[Any] = []
    inputs = engine.collate(encoded, rows)
    with ExitStack() as stack:
        handle = study.backbone.base.register_forward_hook(lambda module, args, output: caught.append(output))
        stack.callback(handle.remove)
        depths = stack.enter_context(watched(study.backbone)) if deep else {}
        engine.forward(inputs)
    hidden = tensor_of(caught[-1]) if caught else None
    found: Features = {}
    if hidden is not None:
        found = {"mean": mean_of(hidden, inputs)}
        if hidden.ndim == 3:
            mask = token_mask(hidden, inputs)
            found["first"] = hidden[torch.arange(len(hidden)), mask.float().argmax(1)].float().cpu()
    return found | {name: mean_of(values, inputs) for name, values in depths.items()}


def held_out_probabilities(values: torch.Tensor, labels: torch.Tensor, classes: int) -> torch.Tensor:
    """Return the probability of each class, by the logistic regression of the folds that a row is not in.

    Args:
        values: (rows, hidden) features.
        labels: (rows,) class ids.
        classes: Number of classes.

    Returns:
        (rows, classes), float64. A row's fold is its number modulo `FOLDS`.
    """
    found = torch.empty(len(values), classes, dtype=torch.double)
    fold = torch.arange(len(values)) % FOLDS
    for k in range(FOLDS):
        train, held = fold != k, fold == k
        probe = solve(Design(values[train]), Problem("classes", labels[train], classes), PENALTY, rough=True)
        found[held] = probe(values[held]).double().softmax(1)
    return found
