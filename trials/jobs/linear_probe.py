"""Linear probes: logistic regression on a pretrained model's features, each row predicted by others.

The inspection asks them which pooling suits the data, and which labels are doubtful. The model is not trained.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from luthier.trials.data.encoded import Encoded
from luthier.trials.training.engine import EVALUATION_BATCH, Engine
from luthier.trials.training.halving import run_halving
from luthier.trials.training.micro_batch import MicroBatch
from luthier.trials.training.open_study import OpenStudy

MOST_ROWS = {"cuda": 10_000, "cpu": 1_000}
"""Training rows that are probed, spread evenly, by the kind of device."""
FOLDS = 5
PENALTY = 1.0
"""Of the squared weights of a logistic regression on standardized features, as scikit-learn's C = 1 / PENALTY."""
MOST_CLASSES = 100
"""Of a regression: with more it would take minutes."""
STEPS = 100
"""Of L-BFGS at most."""

Features = dict[str, torch.Tensor]  # pooling -> (rows, hidden), float32, on the CPU


def training_features(study: OpenStudy, max_length: int, poll: Callable[[], None]) -> tuple[Sequence[int], Features]:
    """Return the numbers of the training rows that are probed, and their features.

    There are no features where memory does not suffice for a single row: what is probed must not fail an inspection,
    whose search for batch sizes says so.

    Args:
        study: Data and model; a row is an example.
        max_length: Of the inputs.
        poll: Called before each batch.
    """
    split = study.data.splits["train"]
    most = min(len(split), MOST_ROWS[study.pretrained.model.device.type])
    rows = [i * len(split) // most for i in range(most)]
    encoded, places = study.encoded("train", max_length), rows
    if encoded.augmented:
        encoded = study.task.encode(study.pretrained, split.take(rows), max_length).batched(study.batching)
        places = list(range(most))
    try:
        return rows, _features(study, encoded, places, poll)
    except torch.OutOfMemoryError:
        return rows, {}


@torch.no_grad()
def _features(study: OpenStudy, encoded: Encoded, rows: Sequence[int], poll: Callable[[], None]) -> Features:
    """Return the vectors that the pretrained backbone makes of some rows: of the first token, and the mean of all.

    A backbone whose output has no tokens gives one kind, `mean`: its output, averaged over places where it has some.
    One that is not called as a whole, or gives no tensor first, has none.

    Args:
        study: Its model is left in evaluation mode.
        encoded: A split as the model's inputs.
        rows: Row numbers.
        poll: Called before each batch.

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
        made.append(run_halving(partial(_joined, engine, study, encoded, batch), len(batch), MicroBatch()))
    back = torch.tensor(order).argsort()
    return {name: torch.cat([part[name] for part in made])[back] for name in made[0]}


def _alone(study: OpenStudy) -> bool:
    """Return whether padding changes the model's answers."""
    return study.batching.value in ("equal", "single")


def _joined(engine: Engine, study: OpenStudy, encoded: Encoded, rows: Sequence[int], size: int) -> Features:
    """Return the features of some rows, computed in pieces of a size."""
    parts = [_computed(engine, study, encoded, rows[i : i + size]) for i in range(0, len(rows), size)]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _computed(engine: Engine, study: OpenStudy, encoded: Encoded, rows: Sequence[int]) -> Features:
    """Return the features of some rows that go through the model together."""
    caught: list[Any] = []
    handle = study.backbone.base.register_forward_hook(lambda module, args, output: caught.append(output))
    inputs = engine.collate(encoded, rows)
    try:
        engine.forward(inputs)
    finally:
        handle.remove()
    output = caught[-1] if caught else None
    hidden = output if output is None or isinstance(output, torch.Tensor) else output[0]
    if not isinstance(hidden, torch.Tensor):
        return {}
    hidden = hidden.float()
    if hidden.ndim != 3:  # (rows, channels, height, width) of convolutions, or (rows, hidden)
        return {"mean": hidden.flatten(2).mean(2).cpu() if hidden.ndim > 2 else hidden.cpu()}
    mask = inputs.get("attention_mask")
    if mask is None or mask.shape != hidden.shape[:2]:
        mask = torch.ones(hidden.shape[:2], device=hidden.device)
    weight = mask[..., None].float()
    first = mask.float().argmax(1)
    mean = (hidden * weight).sum(1) / weight.sum(1).clamp(min=1)
    return {"first": hidden[torch.arange(len(hidden)), first].cpu(), "mean": mean.cpu()}


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
        mean, deviation = values[train].mean(0), values[train].std(0).clamp(min=1e-6)
        standard = (values - mean) / deviation
        probe = _logistic(standard[train], labels[train], classes)
        with torch.no_grad():
            found[held] = probe(standard[held]).double().softmax(1)
    return found


def _logistic(values: torch.Tensor, labels: torch.Tensor, classes: int) -> nn.Linear:
    """Return the logistic regression with the penalty PENALTY / 2 * |W|^2 on the sum of the losses."""
    probe = nn.Linear(values.shape[1], classes)
    nn.init.zeros_(probe.weight)
    nn.init.zeros_(probe.bias)
    optimizer = torch.optim.LBFGS(probe.parameters(), max_iter=STEPS, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        penalty = PENALTY / 2 * probe.weight.square().sum() / len(values)
        loss = functional.cross_entropy(probe(values), labels) + penalty
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    with torch.enable_grad():
        optimizer.step(closure)  # type: ignore[no-untyped-call]
    return probe
