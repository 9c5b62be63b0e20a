"""Train one trial: fine-tune a pretrained model with one configuration, and report each evaluation.

The child calls `train`; `training.setup` holds the set-up. A trial is a function of its assignment: everything random
is drawn from the assignment's seed, and the generators are seeded again after each evaluation, so that a resumed trial
reaches the same scores as a trial that was never interrupted.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from torch import nn

from luthier.studies.hyperparameters import PROBE
from luthier.studies.protocol import Assignment, AssignmentKind, Decision, Reason
from luthier.studies.wire import Metrics
from luthier.trials.jobs.solve import solve_layer, with_all_frozen
from luthier.trials.jobs.trial_lines import describe, describe_batch, why_early
from luthier.trials.session import Session
from luthier.trials.training import optim
from luthier.trials.training.epoch_parts import EpochParts
from luthier.trials.training.generation import Writing
from luthier.trials.training.loss_watch import LossWatch
from luthier.trials.training.model_cache import ModelCache
from luthier.trials.training.progress import CheckpointWriter, Progress, resume
from luthier.trials.training.seeding import derive, seed_everything
from luthier.trials.training.setup import Trial, open_trial

DIVERGED = "the loss is not finite any more; the trial ends as diverged"


@dataclass(frozen=True)
class Finished:
    """The end of a trial by itself. Ended, BadData and torch.OutOfMemoryError are raised instead.

    Attributes:
        status: complete, pruned where it diverged, or paused at a rung.
        reason: The reason why it was pruned, or was complete early.
        examples_per_second: Of this attempt's training, without evaluations; None: it trained nothing.
        peak_memory_bytes: The most memory that was measured.
        resume: The file from which a paused trial goes on.
    """

    status: Literal["complete", "pruned", "paused"]
    reason: Reason | None = None
    examples_per_second: float | None = None
    peak_memory_bytes: int | None = None
    resume: Path | None = None


@dataclass
class Pace:
    """How much this attempt at a trial has trained, without its evaluations.

    Attributes:
        examples: Trained on; one that occurs twice counts twice.
        seconds: They took.
    """

    examples: int = 0
    seconds: float = 0.0

    def add(self, examples: int, seconds: float) -> None:
        """Count some more examples, and the seconds that they took."""
        self.examples += examples
        self.seconds += seconds

    @property
    def examples_per_second(self) -> float | None:
        """The mean speed; None before the first example."""
        return self.examples / self.seconds if self.seconds > 0 else None


def train(assignment: Assignment, session: Session, cache: ModelCache) -> Finished:
    """Run a trial to its end.

    Args:
        assignment: Configuration, seed, and the checkpoint to resume from.
        session: The line to the worker, and the folder for the trial's files.
        cache: Data and models that this process keeps.

    Raises:
        BadData: Model or data cannot be used as the spec says.
        Ended: The decision on a report was to end the trial.
        torch.OutOfMemoryError: A single example does not fit.
    """
    solves = assignment.params["strategy"] == PROBE
    with open_trial(with_all_frozen(assignment, cache) if solves else assignment, session, cache) as trial:
        if (lengths := trial.study.input_lengths(session.poll)) is not None:
            session.log(lengths.told(int(assignment.params["max_length"])))
        return solve(trial) if solves else fit(trial)


def solve(trial: Trial) -> Finished:
    """Solve the head's last layer in place of training, and evaluate it once.

    Raises:
        Ended: The decision on the report was to end the trial.
        torch.OutOfMemoryError: A single example does not fit.
    """
    spec, session = trial.assignment.spec, trial.session
    train_loss = solve_layer(trial)
    metrics = validate(trial, train_loss, Writing.at_evaluations(spec))
    memory = peak_memory(trial)
    if metrics["loss"] is None:
        session.log(f"evaluation 1: {DIVERGED}")
        return Finished("pruned", Reason.DIVERGED, None, memory)
    progress = Progress()
    progress.advance(metrics[spec.objective.metric], spec)
    session.log(describe(1, 1, train_loss, metrics, None))
    session.report(
        step=1,
        metrics=metrics,
        best=CheckpointWriter(trial).write_best(progress),
        resume=None,
        examples_per_second=None,
        peak_memory_bytes=memory,
    )
    return Finished("complete", None, None, memory)


def fit(trial: Trial) -> Finished:
    """Train, and evaluate after equal shares of the data, until the last evaluation.

    It ends earlier where the loss diverges, where early stopping says so, and where it is to pause at a rung.
    """
    spec, session = trial.assignment.spec, trial.session
    parts = EpochParts(trial)
    files = CheckpointWriter(trial)
    progress = resume(trial)
    pace = Pace()
    memory = peak_memory(trial)  # bytes, the most so far
    together = log_batch(trial, None)  # examples that go through the model together
    writing = Writing.at_evaluations(spec)
    began = time.perf_counter()
    reason: Reason | None = None
    rungs = spec.rungs if trial.assignment.kind is AssignmentKind.TRAIN else ()

    while progress.step < parts.evaluations and reason is None:
        first_step, batches = parts.before(progress.step)
        seed_everything(derive(trial.assignment.seed, f"step {progress.step}"))  # dropout
        started = time.perf_counter()
        with trial.unfreezing.training():
            train_loss, examples = train_steps(trial, batches, first_step)
        pace.add(examples, time.perf_counter() - started)
        together = log_batch(trial, together)

        metrics = validate(trial, train_loss, writing)
        memory = peak_memory(trial)
        if metrics["loss"] is None:
            session.log(f"evaluation {progress.step + 1}: {DIVERGED}")
            return Finished("pruned", Reason.DIVERGED, pace.examples_per_second, memory)

        progress.advance(metrics[spec.objective.metric], spec)
        session.log(describe(progress.step, parts.evaluations, train_loss, metrics, pace.examples_per_second))
        is_last = progress.step == parts.evaluations
        if not is_last and progress.is_over_early(spec):
            reason = Reason.EARLY_STOPPING
        goes_on = not is_last and reason is None
        may_pause = goes_on and progress.step in rungs  # then its file goes with the pause, and is not needed else
        session.report(
            step=progress.step,
            metrics=metrics,
            best=files.write_best(progress),
            resume=files.write_resume(progress, pace.seconds) if goes_on and not may_pause else None,
            examples_per_second=pace.examples_per_second,
            peak_memory_bytes=memory,
        )
        if may_pause and session.decided() is Decision.PAUSE:
            session.log(f"evaluation {progress.step}: not among the best here yet; the trial pauses")
            return Finished("paused", None, pace.examples_per_second, memory, files.write_pause(progress))
    if reason is not None:
        session.log(why_early(progress, parts.evaluations, spec))
    if writing is not None and writing.clock.seconds:
        session.log(writing.told(time.perf_counter() - began))
    return Finished("complete", reason, pace.examples_per_second, memory)


def log_batch(trial: Trial, before: int | None) -> int:
    """Return how many examples go through the model together, and log it at the start and where it got less.

    Args:
        trial: Its engine knows the number.
        before: The number at the last call; None at the start.
    """
    batch_size = int(trial.assignment.params["batch_size"])  # examples
    together = trial.engine.micro_batch.within(batch_size)
    if before is None or together < before:
        cause = "" if before is None else "memory did not suffice; "
        trial.session.log(cause + describe_batch(batch_size, together))
    return together


def train_steps(trial: Trial, batches: Sequence[list[int]], first_step: int) -> tuple[float, int]:
    """Take one optimizer step for each batch; stop early where the loss is not finite.

    Args:
        trial: Its model and optimizer are changed.
        batches: Examples' numbers in the training split.
        first_step: Optimizer steps of the trial before these.

    Returns:
        The mean loss of the batches, and the number of examples trained on.

    Raises:
        Ended: The trial is to end now.
        torch.OutOfMemoryError: A single example does not fit.
    """
    params = trial.assignment.params
    learning_rate = float(params["learning_rate"])  # the schedule's highest
    l1 = float(params["l1"])  # strength of the penalty; 0: none
    max_grad_norm = float(params["max_grad_norm"])  # L2 norm over all parameters; 0: gradients are not clipped
    engine = trial.engine
    optimizer = trial.optimization.optimizer

    losses = LossWatch(engine.device)
    examples = 0
    for step, batch in enumerate(batches, first_step):
        trial.session.poll()
        trial.unfreezing.before(step)
        losses.add(engine.gradient(trial.training, batch))
        if l1:
            optim.add_l1(optimizer, l1)
        if max_grad_norm:
            nn.utils.clip_grad_norm_(engine.trained, max_grad_norm)
        rate = learning_rate * trial.optimization.factor(step)
        for group in optimizer.param_groups:
            group["lr"] = rate * group["scale"]
        optimizer.step()
        if trial.embedding is not None:
            trial.embedding.step(optimizer)
        examples += len(batch)
        if losses.diverged():
            break
    return losses.mean(), examples  # waits for the device


def peak_memory(trial: Trial) -> int | None:
    """Return the most memory that was measured, in bytes; None while blocks that train later are frozen.

    The service would give the rest of the trial's share of a GPU to others.
    """
    measured = trial.meter.measure()
    return measured if trial.unfreezing.is_done else None


def validate(trial: Trial, train_loss: float, writing: Writing | None = None) -> Metrics:
    """Return the metrics of the validation split; only a `loss` of None where the training loss is not finite.

    Args:
        trial: Its model is evaluated.
        train_loss: Of the steps before.
        writing: Which texts the model writes; None: none.
    """
    trial.meter.measure()  # on the CPU evaluation may hold less than training
    if not math.isfinite(train_loss):
        return {"loss": None}
    study = trial.study
    statistics = trial.engine.evaluate(trial.validation, study.data.targets, trial.session.poll, writing=writing)
    if study.task.settles(trial.assignment.params):
        study.settle(statistics)
    return study.scores(statistics)
