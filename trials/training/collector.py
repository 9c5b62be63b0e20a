"""The statistics of a split, collected batch by batch while the engine evaluates it.

Answers stay on the device until some are there, because each time that they come to the CPU waits for the device.
"""

from collections.abc import Sequence
from typing import Any

import torch

from luthier.trials.data.encoded import Encoded
from luthier.trials.data.targets import Targets
from luthier.trials.tasks.base import TaskCode
from luthier.trials.tasks.scoring import Batch
from luthier.trials.tasks.statistics import Statistics

HELD_BYTES = 64 * 2**20
"""The most bytes of answers that stay on the device."""


class Collector:
    """Reduces the answers of a split's batches to statistics.

    Args:
        task: The task's code.
        encoded: The split.
        targets: What is learned from the split's data.
        own: What the model has learned.
    """

    def __init__(self, task: TaskCode[Any], encoded: Encoded, targets: Targets, own: Targets) -> None:
        self._task = task
        self._encoded = encoded
        self._targets = targets
        self._own = own
        self._held: list[tuple[Sequence[int], Batch]] = []
        self._held_bytes = 0
        self._parts: list[Batch] = []
        self._units: list[torch.Tensor] = []  # the numbers of the units of each part

    def add(self, rows: Sequence[int], answers: Batch) -> None:
        """Take the answers to a batch of rows."""
        self._held.append((rows, answers))
        self._held_bytes += sum(values.nbytes for values in answers.values())
        if self._held_bytes >= HELD_BYTES:
            self._reduce()

    def statistics(self) -> Statistics:
        """Return the statistics of the split; each row's answers must have come."""
        self._reduce()
        units = torch.cat(self._units)
        columns = {}
        for name, values in joined(self._parts).items():
            columns[name] = torch.empty_like(values)
            columns[name][units] = values
        return self._task.gather(columns, self._encoded, self._targets)

    def _reduce(self) -> None:
        """Reduce the answers that are held; waits for the device."""
        for rows, answers in self._held:
            on_cpu = {name: values.cpu() for name, values in answers.items()}
            same = self._own == self._targets
            translated = on_cpu if same else self._task.translated(on_cpu, self._own, self._targets)
            self._parts.append(self._task.statistics(translated, self._encoded, rows))
            self._units.append(self._encoded.units(rows))
        self._held = []
        self._held_bytes = 0


def joined(parts: Sequence[Batch]) -> Batch:
    """Return the tensors of each name, one part behind another."""
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
