"""A study opened for a job: its data, and one of its models with the splits as that model's inputs.

`ModelCache.open` makes one for each job. What it encodes and measures is kept with the model for later trials.
"""

from collections import defaultdict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from luthier.studies.hyperparameters import AUTO, Params
from luthier.studies.results import Batching
from luthier.studies.semantics import NEWEST_SEMANTICS, PADDED_WHERE_NEEDED
from luthier.studies.wire import Metrics
from luthier.trials.data.encoded import Encoded
from luthier.trials.data.input_lengths import InputLengths
from luthier.trials.data.load import Data
from luthier.trials.model.backbone import Backbone
from luthier.trials.model.pretrained import Pretrained
from luthier.trials.model.tokens import check_ids
from luthier.trials.prefix.cache import PrefixCache
from luthier.trials.tasks.base import Loss, TaskCode
from luthier.trials.tasks.statistics import Statistics
from luthier.trials.training.layout import Layout

KEPT_SPLITS = 9
"""The most encoded splits of one model that are kept: a search over max_length has many."""


@dataclass
class CachedModel:
    """A loaded model, and the splits as its inputs.

    Attributes:
        name: As the spec has it.
        key: Its files with their times, and what it learns.
        pretrained: Model and processor.
        backbone: The model's blocks.
        prefixes: Batching and pooling -> its frozen prefixes and shortcuts.
        encoded: (split, max_length, augmentation, batching) -> the split as the model's inputs, least recently used
            first.
        lengths: The fingerprint of data, and the lengths of its training inputs.
    """

    name: str
    key: Hashable
    pretrained: Pretrained
    backbone: Backbone
    prefixes: dict[tuple[Batching, str | None], PrefixCache] = field(default_factory=lambda: defaultdict(PrefixCache))
    encoded: dict[tuple[str, int, str, Batching], Encoded] = field(default_factory=dict)
    lengths: tuple[str, InputLengths | None] | None = None

    @cached_property
    def layout(self) -> Layout:
        """The model's memory format."""
        return Layout(self.pretrained.model)

    @property
    def bytes(self) -> int:
        """Size of the pretrained weights."""
        return sum(tensor.nbytes for tensor in self.pretrained.pristine.values())


class OpenStudy:
    """A study's task, data and one of its models, ready for use.

    Attributes:
        task: The task's code.
        name: The model's, as the spec has it.
        data: The examples, split.
        learned: What the model has learned: the data's targets, and what `settle` has chosen.
        folder: The base model's.
        pretrained: Model and processor.
        backbone: The model's blocks.
        key: Of the model's files and of what it learns.
        batching: How the model's inputs are put into batches; `batch_as` changes it.
        layout: What chooses the model's memory format; None: it has the one that checkpoints have.
        pooling: How the model pools, which `pool_as` sets; None: as its class always does, or as its checkpoint says.
    """

    def __init__(
        self,
        task: TaskCode[Any],
        data: Data,
        folder: Path,
        cached: CachedModel,
        augmentation: str,
        batching: Batching = Batching.RIGHT,
        auto_pooling: str | None = None,
        semantics: int = NEWEST_SEMANTICS,
        arranged: bool = True,
    ) -> None:
        self.task = task
        self.name = cached.name
        self.data = data
        self.learned = data.targets
        self.folder = folder
        self.pretrained = cached.pretrained
        self.backbone = cached.backbone
        self.key = cached.key
        self._cached = cached
        self._encoded = cached.encoded
        self._augmentation = augmentation
        self._auto_pooling = auto_pooling
        self._semantics = semantics
        self.layout = cached.layout if arranged else None
        self.pooling: str | None = None
        self.batch_as(batching)

    def batch_as(self, batching: Batching) -> None:
        """Put the model's inputs into batches in another way; a tokenizer that is saved with the model pads so, too."""
        self.batching = batching
        tokenizer = self.pretrained.processor
        if isinstance(tokenizer, PreTrainedTokenizerBase):
            tokenizer.padding_side = "left" if batching is Batching.LEFT else "right"

    def pool_as(self, pooling: str) -> None:
        """Let the model pool as a configuration says; `auto` is what the inspection found."""
        possible = self.pretrained.pooling
        if possible is None:
            return
        chosen = (self._auto_pooling or possible.own) if pooling == AUTO else pooling
        self.pooling = None if chosen == possible.own else chosen
        possible.set(self.pretrained.model, chosen)

    @property
    def prefixes(self) -> PrefixCache:
        """The model's frozen prefixes and shortcuts."""
        return self._cached.prefixes[self.batching, self.pooling]

    def encoded(self, split: str, max_length: int) -> Encoded:
        """Return a split as the model's inputs; it is kept for later trials.

        Args:
            split: train, validation or test. Only the training split is augmented.
            max_length: Tokens that an input is truncated to; milliseconds where it is a sound.

        Raises:
            BadData: An example cannot be used, or the model has no embedding for one of its tokens.
        """
        augmentation = self._augmentation if split == "train" else "none"
        key = (split, max_length, augmentation, self.batching)
        if key not in self._encoded:
            padded = self._encoded.get((split, max_length, augmentation, Batching.RIGHT))
            encoded = self._encode(split, max_length, augmentation) if padded is None else padded
            self._encoded[key] = encoded.batched(self.batching)
        self._encoded[key] = self._encoded.pop(key)  # the most recently used
        while len(self._encoded) > KEPT_SPLITS:
            del self._encoded[next(iter(self._encoded))]
        return self._encoded[key]

    def _encode(self, split: str, max_length: int, augmentation: str) -> Encoded:
        """Encode a split, and check that the model has an embedding for each of its tokens."""
        examples = self.data.splits[split]
        if augmentation != "none":
            encoded = self.task.encode_augmented(self.pretrained, examples, augmentation, max_length)
        else:
            encoded = self.task.encode(self.pretrained, examples, max_length)
        if encoded.own_lengths is not None and self._semantics >= PADDED_WHERE_NEEDED:
            encoded = replace(encoded, lengths=encoded.own_lengths)
        tables = self.pretrained.table_sizes
        check_ids(self.pretrained.processor, encoded.columns, tables, self.name, split, len(examples))
        return encoded

    def input_lengths(self, poll: Callable[[], None]) -> InputLengths | None:
        """Return the lengths of the training inputs before any is cut; they are kept for later trials.

        Args:
            poll: Called every now and then.

        Raises:
            BadData: An example cannot be used.
        """
        kept = self._cached.lengths
        if kept is None or kept[0] != self.data.fingerprint:
            found = self.task.input_lengths(self.pretrained, self.data.splits["train"], poll)
            kept = self._cached.lengths = (self.data.fingerprint, found)
        return kept[1]

    def loss(self, training: Encoded, params: Params) -> Loss:
        """Return the loss of a configuration.

        Args:
            training: The training split.
            params: The configuration.
        """
        return self.task.loss(self.pretrained, self.data.targets, training, params)

    def scores(self, statistics: Statistics) -> Metrics:
        """Return every metric of the task, from the statistics of a split."""
        return self.task.scores(statistics, self.learned)

    def settle(self, validation: Statistics) -> None:
        """Choose by a model's answers to the validation split what its task leaves to them; `scores` goes by it."""
        self.learned = self.task.settled(self.data.targets, validation)
