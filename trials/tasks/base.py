"""The contract of a task: the methods of `TaskCode` that training, evaluation and comparison call.

The jobs and the training engine call it, always through `registry.task_code`. The child process runs it in one thread.
A task holds no state: model, processor and examples are arguments.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, ClassVar

import torch

from luthier.studies.findings import Finding
from luthier.studies.hyperparameters import Params
from luthier.studies.strategy import Generation
from luthier.trials.data.encoded import Encoded, Values
from luthier.trials.data.input_lengths import InputLengths
from luthier.trials.data.splits import Split
from luthier.trials.data.targets import Targets
from luthier.trials.errors import BadData
from luthier.trials.model.pretrained import Head, Pretrained
from luthier.trials.tasks.export import Export, Learned
from luthier.trials.tasks.insight import Insight
from luthier.trials.tasks.scoring import Batch, Scoring, Tensors
from luthier.trials.tasks.usage import Reading


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


class TaskCode(Scoring[Learned], Export[Learned], Insight[Learned]):
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

    @abstractmethod
    def encode(self, pretrained: Pretrained, split: Split, max_length: int) -> Encoded:
        """Turn a split's examples into the model's inputs, without padding and without randomness.

        Args:
            pretrained: A model and its processor from `load`.
            split: At least one example; the columns are the task's roles.
            max_length: The longest input, in the task's own unit (tokens, milliseconds); a task whose inputs have one
                size ignores it.

        Returns:
            The encoded split, on the CPU. Its units are in the order of the split's targets, and none is lost.

        Raises:
            BadData: An example cannot be used; the sentence names it.
        """

    def input_lengths(self, pretrained: Pretrained, split: Split, poll: Callable[[], None]) -> InputLengths | None:
        """Measure inputs before any is cut, of many rows a sample; None for a task whose inputs have one size.

        Args:
            pretrained: A model and its processor from `load`.
            split: At least one example; mostly the training split.
            poll: Called every now and then.

        Raises:
            BadData: An example cannot be used.
        """
        return None

    def encode_exactly(self, pretrained: Pretrained, split: Split, max_length: int) -> Encoded:
        """Turn examples into exactly the inputs that users of the packed model make, for the winner's score.

        A task whose `encode` rounds values, or pads examples to the length of others, overrides this method.

        Args:
            pretrained: A model and its processor from `load`.
            split: At least one example.
            max_length: As for `encode`.

        Raises:
            BadData: An example cannot be used; the sentence names it.
        """
        return self.encode(pretrained, split, max_length)

    def encode_unlabelled(self, pretrained: Pretrained, split: Split, max_length: int) -> Encoded:
        """Return the same of examples with blank targets, which are only to be predicted.

        Args:
            pretrained: A model and its processor from `load`.
            split: At least one example, with targets from `Targets.blanks`.
            max_length: As for `encode`.

        Raises:
            BadData: An example cannot be used.
        """
        return self.encode_exactly(pretrained, split, max_length)

    def encode_augmented(self, pretrained: Pretrained, split: Split, augmentation: str, max_length: int) -> Encoded:
        """Turn training examples into inputs that are changed at random in each batch, by `changes` or by `collate`.

        A task without augmentations does not override this method; its entry in `TASKS` names none.

        Args:
            pretrained: A model and its processor from `load`.
            split: The training examples.
            augmentation: One of the task's names for the spec's `augmentation`.
            max_length: As for `encode`.

        Returns:
            The encoded split with `augmented` true, on the CPU.

        Raises:
            BadData: An example cannot be used, or the task has no augmentations.
        """
        raise BadData(f"{self.name} has no augmentations; leave augmentation out.", "augmentation")

    def encoding_findings(self, encoded: Encoded, name: str, generation: Generation) -> Sequence[Finding]:
        """Return what is remarkable about the training split as a model's inputs. Called once, at the inspection.

        Args:
            encoded: The split, from this task's `encode`.
            name: The model as the user wrote it.
            generation: How models write.
        """
        return ()

    @abstractmethod
    def collate(self, encoded: Encoded, rows: Sequence[int]) -> Batch:
        """Make a padded batch of some rows.

        Args:
            encoded: A split from this task's `encode` or `encode_augmented`.
            rows: Row numbers; the same one may occur twice.

        Returns:
            Argument of the model's forward -> tensor of (rows, ...), on the CPU. The engine moves it to the device.
        """

    @abstractmethod
    def collate_targets(self, encoded: Encoded, rows: Sequence[int]) -> Batch:
        """Return the targets of some rows, on the CPU, as loss and answers need them; it must be fast.

        Args:
            encoded: A split from this task's `encode` or `encode_augmented`.
            rows: Row numbers; the same one may occur twice.
        """

    def collate_augmented(self, encoded: Encoded, rows: Sequence[int]) -> tuple[Batch, Batch]:
        """Return inputs and targets of some rows of an augmented split.

        A task whose targets change with its inputs (masks that are cropped with their images) overrides this method.
        """
        return self.collate(encoded, rows), self.collate_targets(encoded, rows)

    def writes(self, model: Any) -> bool:
        """Return whether the metrics of written texts need what `generate` returns; else the answers suffice."""
        return True

    def row_classes(self, encoded: Encoded) -> Sequence[int] | None:
        """Return the class of each row, for `sampling: balanced`; None for a task whose rows have none.

        Args:
            encoded: The training split.
        """
        return None

    def generate(self, model: Any, encoded: Encoded, rows: Sequence[int], generation: Generation) -> torch.Tensor:
        """Return the tokens that a model writes to some rows: (rows, at most `max_new_tokens`), whole, on any device.

        Only a task with metrics of written texts overrides this method; its `statistics` then find the tokens among the
        answers as `generation.GENERATED`.

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
