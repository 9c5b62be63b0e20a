"""The contract of a task's finished models: what is saved with a model, and how people use it.

`TaskCode` has it. `jobs.evaluate` calls `export` and packs the model; `jobs.reload` gives examples to the packed model
as its users do, and compares its answers with those of the model in memory.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar

import torch

from luthier.studies.strategy import Generation
from luthier.trials.data.encoded import Encoded
from luthier.trials.data.splits import Split
from luthier.trials.data.targets import Targets
from luthier.trials.model.pretrained import Pretrained
from luthier.trials.tasks.usage import Usage, Value

PREDICTION, SCORE = "prediction", "score"
"""Columns of a file of predictions."""
Cell = str | int | float | None
Learned = TypeVar("Learned", bound=Targets)


class Export(ABC, Generic[Learned]):
    """The part of a task's code that hands its models to their users."""

    @abstractmethod
    def export(
        self,
        pretrained: Pretrained,
        examples: Split,
        targets: Learned,
        max_length: int,
        generation: Generation,
    ) -> Usage:
        """Prepare a model for its users, and return how they use it.

        What decides about answers goes into the model's own files where transformers reads it there (its configuration,
        the processor that is returned), and into the code on its card where it does not.

        Args:
            pretrained: The model, whose configuration may be changed, and its processor, which may not: later trials
                use it.
            examples: A split of its data.
            targets: What it has learned.
            max_length: The longest input, as for `encode`.
            generation: How it wrote the texts that were scored, for a task that has them written.
        """

    @abstractmethod
    def given(self, pretrained: Pretrained, examples: Split, row: int, max_length: int) -> Any:
        """Return an example as users give it to the packed model.

        Args:
            pretrained: The model and its processor.
            examples: A split.
            row: The example's number.
            max_length: The longest input, as for `encode`.

        Returns:
            Text, a list or a mapping of texts; a `PIL.Image.Image`; or a `numpy.ndarray`.

        Raises:
            BadData: The example cannot be read.
        """

    @abstractmethod
    def used(self, answers: Mapping[str, torch.Tensor], encoded: Encoded, rows: Sequence[int]) -> Sequence[list[Any]]:
        """Return the answers to an example as the packed model gives them: of each its values, as `Usage.names` has it.

        Mostly there is one for each unit. A value is a number or a text; numbers are compared within a tolerance, texts
        must be equal. None: rounding may change it, so it is not compared.

        Args:
            answers: Those of the task's `answers`, on the CPU, and what the model has written.
            encoded: The split, from `encode_exactly`.
            rows: The rows of the example, which the answers are of.
        """

    def cells_header(self, targets: Learned) -> tuple[str, ...]:
        """Return the names of the columns of a file of predictions, beside those of its table.

        Args:
            targets: What the model has learned.
        """
        return (PREDICTION,)

    def cells(self, said: Sequence[str], values: Sequence[Sequence[Value]], targets: Learned) -> Sequence[Cell]:
        """Return the cells of an example in a file of predictions, one for each column of `cells_header`.

        Args:
            said: The model's answers to its units, as text for people.
            values: The same, as `used` returns them.
            targets: What the model has learned.
        """
        return (said[0] if len(said) == 1 else as_list(said),)


def as_list(values: Sequence[Any]) -> str:
    """Return values as one cell of a file of predictions."""
    return json.dumps(list(values), ensure_ascii=False)


def shown(value: Value) -> Cell:
    """Return a number with the digits that float32 has; a text, and what is not known, as they are."""
    return float(f"{value:.7g}") if isinstance(value, float) else value
