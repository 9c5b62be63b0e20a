"""Train one trial: fine-tune a pretrained model with one configuration, and report each evaluation.

The child calls `train`; `training.setup` holds the set-up. A trial is a function of its assignment: everything random
is drawn from the assignment's seed, and the generators are seeded again after each evaluation, so that a resumed trial
reaches the same scores as a trial that was never interrupted.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from luthier.studies.protocol import Assignment, Reason
from luthier.studies.spec import StudySpec
from luthier.studies.wire import Metrics
from luthier.trials.data.batches import training_batches
from luthier.trials.session import Session
from luthier.trials.training import optim
from luthier.trials.training.generation import Writing
from luthier.trials.training.model_cache import ModelCache
from luthier.trials.training.progress import CheckpointWriter, Progress, resume
from luthier.trials.training.seeding import derive, seed_everything
from luthier.trials.training.setup import Trial, open_trial

CHECK_STEPS = 50
"""Optimizer steps between two looks at the loss; each look waits for the device."""
DIVERGED = "the loss is not finite any more; the trial ends as diverged"


@dataclass(frozen=True)
class Finished:
    """The end of a trial by itself. Ended, BadData and torch.OutOfMemoryError are raised instead.

    Attributes:
        status: complete, or pruned where it diverged.
        reason: The reason why it was pruned, or was complete early.
        examples_per_second: Of this attempt's training, without evaluations; None: it trained nothing.
        peak_memory_bytes: The most memory that was measured.
    """

    status: Literal["complete", "pruned"]
    reason: Reason | None = None
    examples_per_second: float | None = None
    peak_memory_bytes: int | None = None


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
    with open_trial(assignment, session, cache) as trial:
        if (lengths := trial.study.input_lengths(session.poll)) is not None:
            session.log(lengths.told(int(assignment.params["max_length"])))
        return fit(trial)


def fit(trial: Trial) -> Finished:
    """Train, and evaluate after equal shares of the data, until the last evaluation.

    It ends earlier where the loss diverges, and where early stopping says so.
    """
    spec = trial.assignment.spec
    seed = trial.assignment.seed
    batch_size = int(trial.assignment.params["batch_size"])  # examples
    parts = spec.evaluations_per_epoch
    evaluations = int(trial.assignment.params["epochs"]) * parts  # in the whole trial
    evaluate_after = evaluation_steps(trial.steps_per_epoch, parts)
    files = CheckpointWriter(trial)
    progress = resume(trial)
    examples = 0  # trained on by this attempt
    seconds = 0.0  # trained by this attempt, without evaluations
    speed: float | None = None  # examples per second
    memory = peak_memory(trial)  # bytes, the most so far
    batches: list[list[int]] = []  # the epoch's, as examples' numbers
    together = trial.engine.micro_batch.within(batch_size)  # examples that go through the model together
    trial.session.log(describe_batch(batch_size, together))
    writing = Writing.at_evaluations(spec)
    began = time.perf_counter()
    reason: Reason | None = None
    classes = trial.row_classes

    while progress.step < evaluations:
        epoch, part = divmod(progress.step, parts)
        if part == 0 or not batches:
            batches = training_batches(trial.training.lengths, batch_size, derive(seed, f"epoch {epoch}"), classes)
        seed_everything(derive(seed, f"step {progress.step}"))  # dropout
        first, end = evaluate_after[part : part + 2]
        started = time.perf_counter()
        with trial.unfreezing.training():
            train_loss, trained = train_steps(trial, batches[first:end], epoch * trial.steps_per_epoch + first)
        seconds += time.perf_counter() - started
        examples += trained
        speed = examples / seconds if seconds > 0 else None

        if trial.engine.micro_batch.within(batch_size) < together:
            together = trial.engine.micro_batch.within(batch_size)
            trial.session.log(f"memory did not suffice; {describe_batch(batch_size, together)}")

        metrics = validate(trial, train_loss, writing)
        memory = peak_memory(trial)
        if metrics["loss"] is None:
            trial.session.log(f"evaluation {progress.step + 1}: {DIVERGED}")
            return Finished("pruned", Reason.DIVERGED, speed, memory)

        progress.advance(metrics[spec.objective.metric], spec)
        trial.session.log(describe(progress.step, evaluations, train_loss, metrics, speed))
        over = progress.step == evaluations or progress.is_over_early(spec)
        trial.session.report(
            step=progress.step,
            metrics=metrics,
            best=files.write_best(progress),
            resume=None if over else files.write_resume(progress, seconds),
            examples_per_second=speed,
            peak_memory_bytes=memory,
        )
        if over and progress.step < evaluations:
            trial.session.log(why_early(progress, evaluations, spec))
            reason = Reason.EARLY_STOPPING
            break
    if writing is not None and writing.clock.seconds:
        trial.session.log(writing.told(time.perf_counter() - began))
    return Finished("complete", reason, speed, memory)


def evaluation_steps(steps: int, parts: int) -> list[int]:
    """Return the optimizer steps of an epoch after which an equal share of its data has been seen.

    Args:
        steps: Optimizer steps of the epoch.
        parts: Evaluations of the epoch.

    Returns:
        `parts` + 1 numbers, from 0 to `steps`; evaluation j comes after step number j of them.
    """
    return [math.ceil(j * steps / parts) for j in range(parts + 1)]


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

    loss_sum = torch.zeros((), device=engine.device)
    steps = 0
    examples = 0
    for batch in batches:
        trial.session.poll()
        trial.unfreezing.before(first_step + steps)
        loss_sum += engine.gradient(trial.training, batch)
        if l1:
            optim.add_l1(optimizer, l1)
        if max_grad_norm:
            nn.utils.clip_grad_norm_(engine.trained, max_grad_norm)
        rate = learning_rate * trial.optimization.factor(first_step + steps)
        for group in optimizer.param_groups:
            group["lr"] = rate * group["scale"]
        optimizer.step()
        if trial.embedding is not None:
            trial.embedding.step(optimizer)
        steps += 1
        examples += len(batch)
        if steps % CHECK_STEPS == 0 and not math.isfinite(loss_sum.item()):
            break
    return loss_sum.item() / max(1, steps), examples  # .item() waits for the device


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


def why_early(progress: Progress, evaluations: int, spec: StudySpec) -> str:
    """Return why early stopping ends a trial, as a line of its log.

    Args:
        progress: After the last evaluation.
        evaluations: Those that the trial was to have.
        spec: The study's, with early stopping.
    """
    assert spec.early_stopping is not None
    margin = f" by more than {spec.early_stopping.min_delta:g}" if spec.early_stopping.min_delta else ""
    return (
        f"ends early, after evaluation {progress.step} of {evaluations}: none of the last "
        f"{progress.standstill.evaluations} was better than {spec.objective.metric} {progress.standstill.record:.4f}"
        f"{margin} (early_stopping); its best one is {progress.best_step}"
    )


def describe_batch(batch_size: int, together: int) -> str:
    """Return how an optimizer step takes its batch, as a line of the trial's log.

    Args:
        batch_size: Examples of a step.
        together: Examples that go through the model together.
    """
    parts = math.ceil(batch_size / together)
    how = "at once" if parts == 1 else f"in {parts} micro-batches of at most {together}, whose gradients add up"
    return f"effective batch: {batch_size} examples for each optimizer step, {how}"


def describe(step: int, steps: int, train_loss: float, metrics: Metrics, speed: float | None) -> str:
    """Return an evaluation as a line of the trial's log.

    Args:
        step: The evaluation's number, from 1.
        steps: Evaluations of the whole trial.
        train_loss: Mean over the batches since the evaluation before.
        metrics: Of the validation split.
        speed: Examples per second.
    """
    scores = ", ".join(f"{name} {value:.4f}" for name, value in metrics.items() if value is not None)
    return f"evaluation {step}/{steps}: train loss {train_loss:.4f}; validation {scores}; {speed or 0:.0f} examples/s"
