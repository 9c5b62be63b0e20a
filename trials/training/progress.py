"""The progress of a trial, and the files by which it is scored, packed or resumed later.

The training loop writes and reads them here; the files' format is `checkpoint`'s.
"""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from luthier.studies.early_stopping import Standstill
from luthier.studies.spec import StudySpec, is_better
from luthier.trials.session import with_room
from luthier.trials.training import checkpoint
from luthier.trials.training.optim import OPTIMIZER_STATES
from luthier.trials.training.setup import Trial

BYTES_WRITTEN_PER_SECOND = 500e6
"""Of a checkpoint on a common disk, checksum included."""
RESUME_COSTS = 20
"""A file for a resume may take a twentieth of the training time that it can save."""


@dataclass
class Progress:
    """The progress of a trial.

    Attributes:
        step: Evaluations done.
        best_step: The best of them, from 1; None before the first.
        best_value: The objective there; None also where the objective is undefined.
        standstill: How long the objective stands still, where the spec has early stopping.
    """

    step: int = 0
    best_step: int | None = None
    best_value: float | None = None
    standstill: Standstill = field(default_factory=Standstill)

    def advance(self, value: float | None, spec: StudySpec) -> None:
        """Count one evaluation; where the spec measures the last one, each evaluation is the best.

        Args:
            value: The objective, None where it is undefined.
            spec: The study's.
        """
        self.step += 1
        record = None if spec.objective.measurement == "last" else self.best_value
        if record is None or (value is not None and is_better(value, record, spec.maximize)):
            self.best_step = self.step
            self.best_value = value
        if spec.early_stopping is not None:
            self.standstill = self.standstill.after(value, spec.early_stopping, spec.maximize)

    def is_over_early(self, spec: StudySpec) -> bool:
        """Return whether early stopping ends the trial after this evaluation."""
        return spec.early_stopping is not None and self.standstill.is_over(spec.early_stopping)


def resume(trial: Trial) -> Progress:
    """Load the file of an interrupted attempt into the trial's model and optimizer, and return its progress.

    A first attempt, and one that follows an attempt without such a file, starts at the beginning; so does one whose
    file cannot be used, which reaches the same scores again.
    """
    attempt, file = trial.assignment.attempt, trial.assignment.checkpoint.resume
    if file is None:
        return Progress()
    try:
        about = checkpoint.read_resume(trial.session.folder / file.name, trial.model, trial.optimization.optimizer)
        standstill = Standstill(**about.get("standstill", {}))
        progress = Progress(about["step"], about["best_step"], about["best_value"], standstill)
        decay = about["decay"] if trial.embedding is not None else 1.0
    except (OSError, ValueError, KeyError, TypeError) as error:
        trial.session.log(f"{file.name} cannot be used ({error}); attempt {attempt} starts at the beginning")
        return Progress()
    if trial.embedding is not None:
        trial.embedding.decay = decay
    trial.session.log(f"attempt {attempt} goes on after evaluation {progress.step}")
    return progress


class CheckpointWriter:
    """Writes a trial's files after an evaluation: the best weights, and at times all that a resume needs.

    While the disk is full, training waits here: what it has learned is in memory alone.
    """

    def __init__(self, trial: Trial) -> None:
        self._trial = trial
        self._resumable_seconds = 0.0  # training seconds that the last file for a resume saves

    def write_best(self, progress: Progress) -> Path | None:
        """Write the trained weights if this evaluation is the best so far; return the file, else None."""
        if progress.best_step != progress.step:
            return None
        path, tensors, about = self._path(progress, "best"), self._tensors(), self._about(progress)
        return with_room(self._trial.session, lambda: checkpoint.write(path, tensors, about))

    def write_resume(self, progress: Progress, training_seconds: float) -> Path | None:
        """Write weights and optimizer once that is worth its time; return the file, else None.

        It writes once the training since the last such file took `RESUME_COSTS` times as long as writing one takes. An
        interrupted trial starts from the last file, and reaches the same scores again.

        Args:
            progress: After the evaluation.
            training_seconds: Time trained by this attempt, without evaluations.
        """
        tensors = self._tensors()
        states = OPTIMIZER_STATES[str(self._trial.assignment.params["optimizer"])]
        size = (1 + states) * sum(tensor.nbytes for tensor in tensors.values())  # bytes
        if training_seconds - self._resumable_seconds < RESUME_COSTS * size / BYTES_WRITTEN_PER_SECOND:
            return None
        self._resumable_seconds = training_seconds
        return self.write_pause(progress)

    def write_pause(self, progress: Progress) -> Path:
        """Write weights and optimizer, whatever that costs, for a trial that pauses; return the file."""
        path, tensors = self._path(progress, "resume"), self._tensors()
        optimizer = self._trial.optimization.optimizer
        about = self._about(progress)
        return with_room(
            self._trial.session,
            lambda: checkpoint.write_resume(path, tensors, self._trial.model, optimizer, about),
        )

    def _path(self, progress: Progress, role: str) -> Path:
        """Return a name that no other evaluation and no other attempt uses."""
        attempt = self._trial.assignment.attempt
        return self._trial.session.folder / f"a{attempt}-s{progress.step}.{role}.safetensors"

    def _tensors(self) -> dict[str, torch.Tensor]:
        return checkpoint.tensors_to_write(self._trial.model, self._trial.embedding)

    def _about(self, progress: Progress) -> dict[str, Any]:
        about = dataclasses.asdict(progress)
        embedding = self._trial.embedding
        return about if embedding is None else about | {"decay": embedding.decay}
