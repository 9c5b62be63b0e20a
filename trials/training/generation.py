"""Texts that models write while a split is evaluated, for the metrics that need them.

The engine and the exact measurement call it, batch by batch; what is kept are the tokens.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.nn import functional

from luthier.studies.spec import StudySpec
from luthier.studies.strategy import Generation
from luthier.trials.data.encoded import Encoded
from luthier.trials.tasks.base import TaskCode
from luthier.trials.tasks.scoring import GENERATED, NO_TOKEN, NOT_GENERATED, Batch


@dataclass
class Clock:
    """Adds up what writing takes.

    Attributes:
        seconds: So far.
    """

    seconds: float = 0.0


@dataclass(frozen=True)
class Writing:
    """What is written of a split.

    Attributes:
        generation: How models write.
        rows: The most rows, spread evenly over the split; None: all.
        clock: What writing has taken.
    """

    generation: Generation
    rows: int | None = None
    clock: Clock = field(default_factory=Clock, compare=False)

    @classmethod
    def at_evaluations(cls, spec: StudySpec) -> "Writing | None":
        """Return what is written at a trial's evaluations: nothing, unless the objective needs it."""
        return cls(spec.writing, spec.writing.rows) if spec.task_info.is_generated(spec.objective.metric) else None

    @classmethod
    def of_winner(cls, spec: StudySpec) -> "Writing | None":
        """Return what is written of a finished model: all, where the task has metrics of written texts."""
        return cls(spec.writing) if spec.task_info.generates else None

    def tokens(self, model: Any, task: TaskCode[Any], encoded: Encoded, rows: Sequence[int]) -> Batch:
        """Return `GENERATED` -> the tokens of some rows, (rows, max_new_tokens), on the model's device.

        Behind the last token of a row is `NO_TOKEN`; a row that is not written holds `NOT_GENERATED` alone. Of a model
        that writes nothing there is nothing.
        """
        if not task.writes(model):
            return {}
        width = self.generation.max_new_tokens
        chosen = [place for place, row in enumerate(rows) if self._is_chosen(row, len(encoded))]
        made = torch.full((len(rows), width), NOT_GENERATED, dtype=torch.int32, device=model.device)
        if chosen:
            started = time.perf_counter()
            written = task.generate(model, encoded, [rows[place] for place in chosen], self.generation)
            written = functional.pad(written[:, :width], (0, max(0, width - written.shape[1])), value=NO_TOKEN)
            made[torch.tensor(chosen, device=made.device)] = written.to(made)
            self.clock.seconds += time.perf_counter() - started
        return {GENERATED: made}

    def told(self, seconds: float) -> str:
        """Return the line of a log that says what share of so many seconds writing has taken."""
        share = self.clock.seconds / seconds if seconds > 0 else 0.0
        return f"generation took {self.clock.seconds:.1f} of {seconds:.1f} s ({100 * share:.0f} %)"

    def _is_chosen(self, row: int, count: int) -> bool:
        most = count if self.rows is None else min(self.rows, count)
        return (row + 1) * most // count > row * most // count
