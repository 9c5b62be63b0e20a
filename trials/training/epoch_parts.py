"""The parts of an epoch, with equal shares of its data; after each of them a trial is evaluated.

The training loop takes the batches of each part from here. They are a function of the trial's seed and the epoch.
"""

import math

from luthier.trials.data.batches import training_batches
from luthier.trials.training.seeding import derive
from luthier.trials.training.setup import Trial


class EpochParts:
    """The batches of a trial, a part of an epoch at a time. The batches of an epoch are drawn when it begins.

    Args:
        trial: Its seed decides the batches.

    Attributes:
        evaluations: The parts of the whole trial; an evaluation follows each.
    """

    def __init__(self, trial: Trial) -> None:
        self._trial = trial
        self._parts = trial.assignment.spec.evaluations_per_epoch  # of an epoch
        self.evaluations = int(trial.assignment.params["epochs"]) * self._parts
        self._classes = trial.row_classes
        self._epoch: int | None = None  # whose batches are drawn
        self._batches: list[list[int]] = []

    def before(self, evaluation: int) -> tuple[int, list[list[int]]]:
        """Return the batches between an evaluation and the one before it, and the trial's optimizer steps before them.

        Args:
            evaluation: Its number, from 0.

        Returns:
            The number of steps, and for each batch its examples' numbers in the training split.
        """
        epoch, part = divmod(evaluation, self._parts)
        if epoch != self._epoch:
            self._epoch, self._batches = epoch, self._drawn(epoch)
        steps = self._trial.steps_per_epoch
        first, end = (math.ceil(share * steps / self._parts) for share in (part, part + 1))
        return epoch * steps + first, self._batches[first:end]

    def _drawn(self, epoch: int) -> list[list[int]]:
        seed = derive(self._trial.assignment.seed, f"epoch {epoch}")
        batch_size = int(self._trial.assignment.params["batch_size"])
        return training_batches(self._trial.training.lengths, batch_size, seed, self._classes)
