"""The contract of a task: the methods of `TaskCode` that training, evaluation and comparison call.

The jobs and the training engine call it, always through `registry.task_code`. The child process runs it in one thread.
A task holds no state: model, processor and examples are arguments.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, ClassVar

import torch

from luthier.studies.hyperparameters import Params
from luthier.studies.strategy import Generation
from luthier.trials.data.encoded import Encoded
from luthier.trials.data.targets import Targets
from luthier.trials.model.pretrained import Pretrained
from luthier.trials.tasks.encoding import Encoding
from luthier.trials.tasks.export import Export, Learned
from luthier.trials.tasks.insight import Insight
from luthier.trials.tasks.scoring import Scoring, Tensors


class Loss(ABC):
    """The loss that a configuration trains with: a weighted mean over what is learned from a batch.

    The mean is over the whole batch, also where the batch goes through the model in pieces: so the sum of a piece and
    the weight of the batch are apart.
    """

    @abstractmethod
    def weight(self, targets: Tensors) -> float | torch.Tensor:
        """Return by what the sum over a batch with these targets is divided."""

    @abstractmethod
    def total(self, outputs: Tensors, targets: Tensors) -> torch.Tensor:
        """Return the weighted sum of the losses of a piece of a batch, () on the model's device.

        Args:
            outputs: The model's, on its device.
            targets: The piece's, from the task's `collate_targets`, on the CPU.
        """


class TaskCode(Encoding, Scoring[Learned], Export[Learned], Insight[Learned]):
    """The code of one task: load its models, encode and collate its examples, its loss, its statistics and scores.

    The order of calls is `check`, `load`, then `encode` or `encode_augmented` once for each split, then `collate` and
    `collate_targets` for each batch. A training batch then needs the `loss`. An evaluation batch is reduced at once:
    its outputs become `answers` and these `statistics`; the statistics of all batches become the split's in `gather`,
    and its metrics in `scores` (see `Scoring`). A finished model is measured on inputs from `encode_exactly`, and
    `export` hands it to its users (see `Export`). The same arguments give the same results, except in `collate` of an
    augmented split, which draws from the seeded generator of the module `random`.

    Attributes:
        name: The task's key in `luthier.studies.tasks.TASKS`, where its columns, metrics and baseline are.
        targets: The class of what it learns, which reads the data's target columns.
        outputs: The attributes of the model's result that loss and answers need.
    """

    name: ClassVar[str]
    targets: ClassVar[type[Targets]]
    outputs: ClassVar[tuple[str, ...]] = ("logits",)

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
    def load(self, folder: Path, name: str, targets: Learned) -> Pretrained:
        """Load the model with a head for the targets, and its processor, and check that the two fit each other.

        Args:
            folder: A model's folder that passed `check`.
            name: The model as the user wrote it, for error messages.
            targets: What it learns, or has learned.

        Returns:
            The model on the device of this process, and its processor. The model's forward takes the inputs that
            `collate` makes and returns an object with the attributes `outputs`.

        Raises:
            BadData: Model or processor cannot be loaded, or do not fit each other; the path is ("model",).
            torch.OutOfMemoryError: The device's memory does not suffice.
        """

    def writes(self, model: Any) -> bool:
        """Return whether the metrics of written texts need what `generate` returns; else the answers suffice."""
        return True

    def generate(self, model: Any, encoded: Encoded, rows: Sequence[int], generation: Generation) -> torch.Tensor:
        """Return the tokens that a model writes to some rows: (rows, at most `max_new_tokens`), whole, on any device.

        Only a task with metrics of written texts overrides this method; its `statistics` then find the tokens among the
        answers as `scoring.GENERATED`.

        Args:
            model: In evaluation mode, on its device.
            encoded: A split from this task's `encode` or `encode_exactly`.
            rows: Row numbers.
            generation: How to write.
        """
        raise NotImplementedError

    def narrowed(self, model: Any, targets: Tensors) -> AbstractContextManager[None]:
        """Return a context within which a forward computes only the outputs that these targets need.

        A task with outputs as wide as a vocabulary overrides this method. `counted`, `answers` and the loss then take
        such outputs and whole ones.

        Args:
            model: On its device.
            targets: The batch's, on the CPU.
        """
        return nullcontext()

    def output_bytes(self, model: Any, encoded: Encoded) -> Sequence[int] | None:
        """Return the bytes of each row's outputs, where they are so large that a batch must have fewer rows for them.

        Args:
            model: The model.
            encoded: A split from this task's `encode`.
        """
        return None

    @abstractmethod
    def counted(self, outputs: Tensors, targets: Tensors) -> torch.Tensor:
        """Return, as one tensor, what loss and answers depend on, without padding; shortcuts are compared by it.

        A row's part of it, along the first dimension, has the same size in every batch.

        Args:
            outputs: The model's, on its device.
            targets: The batch's, on the CPU.
        """

    @abstractmethod
    def loss(self, pretrained: Pretrained, targets: Learned, training: Encoded, params: Params) -> Loss:
        """Return the loss of a configuration.

        Args:
            pretrained: The model, on its device, and its processor.
            targets: What is learned.
            training: The training split.
            params: The configuration, with the hyperparameters of the loss.
        """
