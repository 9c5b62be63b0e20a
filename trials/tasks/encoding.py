"""The contract of a task's inputs: how examples become a model's inputs, and rows of these a batch.

`TaskCode` has it. `OpenStudy` encodes splits by it, the engine collates batches. No method but `collate` of an
augmented split draws at random.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar

from luthier.studies.findings import Finding
from luthier.studies.strategy import Generation
from luthier.trials.data.encoded import Encoded
from luthier.trials.data.input_lengths import InputLengths
from luthier.trials.data.splits import Split
from luthier.trials.errors import BadData
from luthier.trials.model.pretrained import Pretrained
from luthier.trials.tasks.scoring import Batch


class Encoding(ABC):
    """The part of a task's code that encodes the examples of a split, and collates rows of it."""

    name: ClassVar[str]

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

    def stored(self, encoded: Encoded, rows: Sequence[int]) -> Batch:
        """Return what `inputs` makes `collate`'s batch of: as few bytes as possible, to be copied to the device.

        A task whose inputs are kept in a smaller form (pixels as bytes) overrides both methods.

        Args:
            encoded: A split from this task's `encode` or `encode_augmented`.
            rows: Row numbers; the same one may occur twice.
        """
        return self.collate(encoded, rows)

    def inputs(self, encoded: Encoded, kept: Batch) -> Batch:
        """Return the model's inputs of what `stored` returned, on the device where that lies, as it lies in memory.

        Args:
            encoded: The split.
            kept: Of some of its rows.
        """
        return kept

    @abstractmethod
    def collate_targets(self, encoded: Encoded, rows: Sequence[int]) -> Batch:
        """Return the targets of some rows, on the CPU, as loss and answers need them; it must be fast.

        Args:
            encoded: A split from this task's `encode` or `encode_augmented`.
            rows: Row numbers; the same one may occur twice.
        """

    def collate_augmented(self, encoded: Encoded, rows: Sequence[int]) -> tuple[Batch, Batch]:
        """Return what `stored` returns of some rows of an augmented split, changed, and their targets.

        A task whose targets change with its inputs (masks that are cropped with their images) overrides this method.
        """
        return self.stored(encoded, rows), self.collate_targets(encoded, rows)

    def row_classes(self, encoded: Encoded) -> Sequence[int] | None:
        """Return the class of each row, for `sampling: balanced`; None for a task whose rows have none.

        Args:
            encoded: The training split.
        """
        return None
