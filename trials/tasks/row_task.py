"""The contract of a task in which each row of the data is one input, and gets one answer.

Most tasks are subclasses of `RowTask` by two base classes: one for what the input is (`TextInputs`, `ImageInputs`,
`AudioInputs`), and one for what is learned (`Classification`, `Regression`, `Multilabel`).
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from luthier.trials.data.encoded import Values
from luthier.trials.data.splits import Split
from luthier.trials.model.pretrained import Head, Pretrained
from luthier.trials.tasks.base import TaskCode
from luthier.trials.tasks.export import Learned
from luthier.trials.tasks.usage import Reading


class RowTask(TaskCode[Learned]):
    """A task in which each row of the data is one input, and gets one answer.

    What the input is comes from one base class (`TextInputs`, `ImageInputs`, `AudioInputs`), what is learned from
    another (`Classification`): a task is a subclass of both.
    """

    @abstractmethod
    def head(self, targets: Learned) -> Head:
        """Return the head for the targets."""

    def loaded(self, pretrained: Pretrained, targets: Learned) -> Pretrained:
        """Return a model that `load` has made, changed where the targets ask for it."""
        return pretrained

    def reading(self, pretrained: Pretrained, targets: Learned, examples: Split, max_length: int) -> Reading:
        """Finish a model for `export`, and return how its answers are read; arguments as those of `export`."""
        return Reading()

    def mixed_targets(
        self, targets: Mapping[str, Values], partners: Sequence[int], shares: torch.Tensor
    ) -> dict[str, Values]:
        """Return what is learned of mixtures of two inputs each, one value for each row.

        Only a task whose entry names mixtures among its augmentations overrides this method.

        Args:
            targets: The rows', from `encode_targets`.
            partners: (rows,) the row that each is mixed with.
            shares: (rows,) float32, the weight of each row in its mixture; its partner has the rest.
        """
        raise NotImplementedError

    @abstractmethod
    def encode_targets(self, rows: Sequence[Any]) -> dict[str, Values]:
        """Return the rows' targets as they are kept with the encoded inputs: name -> one value for each row.

        Args:
            rows: As `Targets.read` returned them.
        """
