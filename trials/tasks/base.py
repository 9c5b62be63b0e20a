"""The contract of a task: the methods of `TaskCode` that training, evaluation and comparison call.

The jobs and the training engine call it, always through `registry.task_code`. The child process runs it in one thread.
A task holds no state: model, processor and examples are arguments.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import torch

from luthier.studies.wire import Metrics
from luthier.trials.data.encoded import Encoded
from luthier.trials.data.splits import Split
from luthier.trials.errors import BadData
from luthier.trials.model.pretrained import Pretrained


class TaskCode(ABC):
    """The code of one task: load its models, encode its examples, collate its batches and compute its scores.

    The order of calls is `check`, `load`, then `encode` or `encode_augmented` once for each split, then `collate` for
    each batch and `scores` for each evaluation. The same arguments give the same results, except in `collate` of an
    augmented split, which draws from the seeded generator of the module `random`.

    Attributes:
        name: The task's key in `luthier.studies.tasks.TASKS`, where its columns, metrics and baseline are.
    """

    name: ClassVar[str]

    @abstractmethod
    def check(self, folder: Path, name: str) -> None:
        """Check that a model's folder holds the files that this task needs beside configuration and weights.

        Called before the data is read, so it must be fast: it loads neither weights nor a processor.

        Args:
            folder: The model's folder, whose configuration and weights are already checked.
            name: The model as the user wrote it, for error messages.

        Raises:
            BadData: A file or a library is missing; the path is ("model",).
        """

    @abstractmethod
    def load(self, folder: Path, name: str, label_names: list[str]) -> Pretrained:
        """Load the model with a head for the labels, and its processor, and check that the two fit each other.

        Args:
            folder: A model's folder that passed `check`.
            name: The model as the user wrote it, for error messages.
            label_names: Class id -> label.

        Returns:
            The model on the device of this process, and its processor. The model's forward takes the inputs that
            `collate` makes and returns an object with `logits`: (rows, classes), or (rows, tokens, classes) where
            tokens are labelled.

        Raises:
            BadData: Model or processor cannot be loaded, or do not fit each other; the path is ("model",).
            torch.OutOfMemoryError: The device's memory does not suffice.
        """

    @abstractmethod
    def encode(self, pretrained: Pretrained, split: Split, max_length: int) -> Encoded:
        """Turn a split's examples into the model's inputs, without padding and without randomness.

        Args:
            pretrained: A model and its processor from `load`.
            split: At least one example; the columns are the task's roles.
            max_length: The longest input, in the task's own unit (tokens, milliseconds); a task whose inputs have one
                size ignores it.

        Returns:
            The encoded split, on the CPU. Its units are in the order of the split's labels, and none is lost.

        Raises:
            BadData: An example cannot be used; the sentence names it.
        """

    def encode_augmented(self, pretrained: Pretrained, split: Split, augmentation: str) -> Encoded:
        """Turn training examples into inputs that `collate` changes at random each time.

        A task without augmentations does not override this method; the spec then refuses every augmentation.

        Args:
            pretrained: A model and its processor from `load`.
            split: The training examples.
            augmentation: A name of the spec's `augmentation` other than "none".

        Returns:
            The encoded split with `augmented` true, on the CPU.

        Raises:
            BadData: An example cannot be used, or the task has no augmentations.
        """
        raise BadData(f"{self.name} has no augmentations; leave augmentation out.", "augmentation")

    @abstractmethod
    def collate(self, encoded: Encoded, rows: Sequence[int]) -> dict[str, torch.Tensor]:
        """Make a padded batch of some rows.

        Args:
            encoded: A split from this task's `encode` or `encode_augmented`.
            rows: Row numbers; the same one may occur twice.

        Returns:
            Argument of the model's forward -> tensor of (rows, ...), on the CPU. The engine moves it to the device.
        """

    @abstractmethod
    def scores(self, logits: torch.Tensor, encoded: Encoded, label_names: Sequence[str]) -> Metrics:
        """Compute every metric of the task from the logits of a whole split.

        Args:
            logits: (units, classes), float32 on the CPU, in the order of `encoded.labels`.
            encoded: The split, or the result of its `labels_of`, which has no inputs.
            label_names: Class id -> label.

        Returns:
            Metric name -> value, one for each metric of the task in `TASKS`; None where a metric is undefined, and
            for a loss that is not finite.
        """
