"""One trial: fine-tune a pretrained model with one configuration, and report each evaluation.

The loop in `train` is the whole of it. A trial is a function of its assignment: everything random is drawn from the
assignment's seed, anew after each evaluation, so that a resumed trial goes on exactly as an uninterrupted one.
"""

import contextlib
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from luthier.studies.protocol import Assignment, Reason
from luthier.studies.spec import StudySpec, is_better
from luthier.trials.data.batches import training_batches
from luthier.trials.data.encoded import Encoded
from luthier.trials.session import Session
from luthier.trials.training import checkpoint, optim
from luthier.trials.training.compact_embeddings import CompactEmbedding, compact_embeddings
from luthier.trials.training.engine import Engine
from luthier.trials.training.model_cache import ModelCache, OpenStudy
from luthier.trials.training.seeding import derive, seed_everything
from luthier.trials.training.setup import prepare

CHECK_STEPS = 50  # optimizer steps between looks at the loss: each look waits for the device
WRITTEN_PER_SECOND = 500e6  # bytes, checksum included, on a common disk
RESUME_COSTS = 20  # a file for a resume may take a twentieth of the time that it saves


@dataclass(frozen=True)
class Finished:
    """How a trial ended by itself. Ended, BadData and torch.OutOfMemoryError come as exceptions."""

    status: Literal["complete", "pruned"]
    reason: Reason | None = None
    examples_per_second: float | None = None  # training only, this attempt
    peak_memory_bytes: int | None = None


@dataclass
class Progress:
    """Where a trial is: evaluations done, and the best of them."""

    step: int = 0
    best_step: int | None = None
    best_value: float | None = None

    def advance(self, value: float | None, spec: StudySpec) -> None:
        """Count one evaluation with the objective's value; where the spec measures the last, that is the best."""
        self.step += 1
        record = None if spec.objective.measurement == "last" else self.best_value
        if record is None or (value is not None and is_better(value, record, spec.maximize)):
            self.best_step, self.best_value = self.step, value


@dataclass(frozen=True)
class Trial:
    """A trial that is set up: a model frozen to its depth, and what it trains and is scored on."""

    assignment: Assignment
    session: Session
    opened: OpenStudy
    model: nn.Module
    computer: Engine
    optimizer: torch.optim.Optimizer
    vocabulary: CompactEmbedding | None
    training: Encoded
    validation: Encoded


def train(assignment: Assignment, session: Session, warm: ModelCache) -> Finished:
    """Run a trial to its end. Raises BadData, session.Ended, torch.OutOfMemoryError."""
    spec, params = assignment.spec, assignment.params
    opened = warm.open(assignment)
    model, backbone = prepare(opened, params, assignment.seed)
    training, validation = (opened.encoded(split, int(params["max_length"])) for split in ("train", "validation"))
    weights = optim.class_weights(training.labels, len(opened.data.label_names), params)
    with contextlib.ExitStack() as stack:
        vocabulary = compact_embeddings(model, (training, validation), params)
        if vocabulary is not None:
            stack.callback(vocabulary.restore)
        smoothing = float(params["label_smoothing"])
        computer = Engine(model, opened.task, warm.micro_batch, smoothing, weights, spec.precision)
        stack.callback(computer.close)
        computer.reset_peak()
        computer.enable_shortcuts(opened, params, {"train": training, "validation": validation}, session)
        groups = optim.parameter_groups(model, backbone.layers, backbone.depth + 1, params)
        optimizer = optim.make_optimizer(groups, params)
        return fit(Trial(assignment, session, opened, model, computer, optimizer, vocabulary, training, validation))


def fit(trial: Trial) -> Finished:
    """The loop: train, and evaluate at even shares of the data seen."""
    assignment, session, computer, optimizer = trial.assignment, trial.session, trial.computer, trial.optimizer
    spec, params, seed = assignment.spec, assignment.params, assignment.seed
    epochs, batch_size, per_epoch = int(params["epochs"]), int(params["batch_size"]), spec.evaluations_per_epoch
    steps_per_epoch = math.ceil(len(trial.training) / batch_size)
    # Evaluation j of an epoch comes after the optimizer step by which j / per_epoch of the data has been seen.
    evaluate_after = [math.ceil(j * steps_per_epoch / per_epoch) for j in range(per_epoch + 1)]
    factor = optim.schedule(params, epochs * steps_per_epoch)
    progress = resume(trial)
    if progress.step:
        session.log(f"attempt {assignment.attempt} goes on after evaluation {progress.step}")
    seen, training_seconds, memory, files = 0, 0.0, computer.memory(), CheckpointWriter(trial)

    batches: list[list[int]] = []
    while progress.step < epochs * per_epoch:
        epoch, part = divmod(progress.step, per_epoch)
        if part == 0 or not batches:
            batches = training_batches(trial.training.lengths, batch_size, derive(seed, f"epoch {epoch}"))
        seed_everything(derive(seed, f"step {progress.step}"))  # dropout
        trial.opened.backbone.train_mode()
        started = time.perf_counter()
        loss_sum, losses = torch.zeros((), device=computer.device), 0

        for i in range(evaluate_after[part], evaluate_after[part + 1]):
            session.poll()
            loss_sum += computer.gradient(trial.training, batches[i])
            losses += 1
            if params["l1"]:
                optim.add_l1(optimizer, float(params["l1"]))
            if params["max_grad_norm"]:
                nn.utils.clip_grad_norm_(computer.trained, float(params["max_grad_norm"]))
            optim.set_rate(optimizer, float(params["learning_rate"]) * factor(epoch * steps_per_epoch + i))
            optimizer.step()
            if trial.vocabulary is not None:
                trial.vocabulary.step(optimizer)
            seen += len(batches[i])
            if losses % CHECK_STEPS == 0 and not math.isfinite(loss_sum.item()):
                break

        train_loss = loss_sum.item() / max(1, losses)  # waits for the device
        training_seconds += time.perf_counter() - started
        speed = seen / training_seconds if training_seconds > 0 else None
        memory = max(memory, computer.memory())
        if math.isfinite(train_loss):
            metrics = trial.opened.scores(computer.predict(trial.validation, session.poll), trial.validation)
            memory = max(memory, computer.memory())
        if not math.isfinite(train_loss) or metrics["loss"] is None:
            session.log(f"evaluation {progress.step + 1}: the loss is not finite any more; the trial ends as diverged")
            return Finished("pruned", Reason.DIVERGED, speed, memory)

        progress.advance(metrics[spec.objective.metric], spec)
        session.log(describe(progress.step, epochs * per_epoch, train_loss, metrics, speed))
        session.report(
            step=progress.step,
            metrics=metrics,
            best=files.best(progress),
            resume=None if progress.step == epochs * per_epoch else files.resume(progress, training_seconds),
            examples_per_second=speed,
            peak_memory_bytes=memory,
        )
    return Finished("complete", None, seen / training_seconds if training_seconds > 0 else None, memory)


def resume(trial: Trial) -> Progress:
    """Where an interrupted attempt left off; the start for a first one."""
    kept = trial.assignment.checkpoint.resume
    if kept is None:
        return Progress()
    about = checkpoint.read_resume(trial.session.folder / kept.name, trial.model, trial.optimizer)
    if trial.vocabulary is not None:
        trial.vocabulary.decay = about["decay"]
    return Progress(about["step"], about["best_step"], about["best_value"])


class CheckpointWriter:
    """What a trial writes: its weights when they are the best so far, and now and then what a resume needs."""

    def __init__(self, trial: Trial) -> None:
        self._trial, self._resumable = trial, 0.0  # training seconds up to the last file

    def best(self, progress: Progress) -> Path | None:
        """The weights, when this evaluation is the best so far."""
        if progress.best_step != progress.step:
            return None
        return checkpoint.write(self._path(progress, "best"), self._tensors(), self._about(progress))

    def resume(self, progress: Progress, training_seconds: float) -> Path | None:
        """Everything to go on from here, once losing what was trained since the last such file would cost far more than
        writing one. An interrupted trial goes on from the last, and comes to the same scores again."""
        tensors = self._tensors()
        states = 1 if self._trial.assignment.params["optimizer"] == "sgd" else 2
        size = (1 + states) * sum(t.nbytes for t in tensors.values())
        if training_seconds - self._resumable < RESUME_COSTS * size / WRITTEN_PER_SECOND:
            return None
        self._resumable = training_seconds
        path, trial = self._path(progress, "resume"), self._trial
        return checkpoint.write_resume(path, tensors, trial.model, trial.optimizer, self._about(progress))

    def _path(self, progress: Progress, kind: str) -> Path:
        return self._trial.session.folder / f"a{self._trial.assignment.attempt}-s{progress.step}.{kind}.safetensors"

    def _tensors(self) -> dict[str, torch.Tensor]:
        return checkpoint.with_rows(self._trial.model, self._trial.vocabulary)

    def _about(self, progress: Progress) -> dict[str, Any]:
        vocabulary = self._trial.vocabulary
        return vars(progress) | ({} if vocabulary is None else {"decay": vocabulary.decay})


def describe(step: int, steps: int, loss: float, metrics: dict[str, Any], speed: float | None) -> str:
    """An evaluation as a line of the trial's log."""
    scores = ", ".join(f"{name} {value:.4f}" for name, value in metrics.items() if value is not None)
    return f"evaluation {step}/{steps}: train loss {loss:.4f}; validation {scores}; {speed or 0:.0f} examples/s"
