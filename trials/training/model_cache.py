"""A study's data, models and encoded splits, kept in memory for its next trial.

A child process has one `ModelCache` and hands it to each job. It holds one study at a time.
"""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedTokenizerBase

from luthier.studies.disk import is_full
from luthier.studies.hyperparameters import Params
from luthier.studies.protocol import Assignment
from luthier.studies.results import Batching
from luthier.studies.spec import StudySpec
from luthier.studies.text import one_line
from luthier.studies.wire import Metrics
from luthier.trials.data.encoded import Encoded
from luthier.trials.data.input_lengths import InputLengths
from luthier.trials.data.load import Data, load_data
from luthier.trials.data.sources import path_stamp, source_stamps
from luthier.trials.errors import Away, BadData
from luthier.trials.memory import out_of_memory
from luthier.trials.model.backbone import Backbone
from luthier.trials.model.folder import model_folder
from luthier.trials.model.pretrained import Pretrained, device, quieten
from luthier.trials.model.tokens import check_ids
from luthier.trials.prefix.cache import PrefixCache
from luthier.trials.tasks.base import Loss, TaskCode
from luthier.trials.tasks.registry import task_code
from luthier.trials.tasks.statistics import Statistics
from luthier.trials.training.micro_batch import MicroBatch

KEPT_MODELS = 4
"""The most models of one study that are kept, the one in use included."""
KEPT_SPLITS = 9
"""The most encoded splits of one model that are kept: a search over max_length has many."""
KEPT_BYTES = 4 * 2**30
"""Pretrained weights, in bytes, of the models that are kept beside the one in use; each is in host memory twice."""


@dataclass
class CachedModel:
    """A loaded model, and the splits as its inputs.

    Attributes:
        name: As the spec has it.
        key: Its files with their times, and what it learns.
        pretrained: Model and processor.
        backbone: The model's blocks.
        prefixes: Batching -> its frozen prefixes and shortcuts.
        encoded: (split, max_length, augmentation, batching) -> the split as the model's inputs, least recently used
            first.
        lengths: The fingerprint of data, and the lengths of its training inputs.
    """

    name: str
    key: Hashable
    pretrained: Pretrained
    backbone: Backbone
    prefixes: dict[Batching, PrefixCache] = field(default_factory=lambda: defaultdict(PrefixCache))
    encoded: dict[tuple[str, int, str, Batching], Encoded] = field(default_factory=dict)
    lengths: tuple[str, InputLengths | None] | None = None

    @property
    def bytes(self) -> int:
        """Size of the pretrained weights."""
        return sum(tensor.nbytes for tensor in self.pretrained.pristine.values())


class ModelCache:
    """The data and models of a study, least recently used first; those of another study take their place.

    Attributes:
        micro_batch: The number of examples of the study that fit in memory together; another study starts without
            limit.
    """

    def __init__(self) -> None:
        self.micro_batch = MicroBatch()
        self._study: Hashable = None
        self._data: tuple[Hashable, Data] | None = None
        self._verified = False
        self._models: dict[Hashable, CachedModel] = {}

    def open(self, assignment: Assignment, model: str | None = None) -> "OpenStudy":
        """Return data and model of an assignment, checked, with the model on the device.

        Args:
            assignment: Its `micro_batch`, which other workers of the study have found, lowers this one's.
            model: Another model of the study; None: the configuration's.

        Raises:
            BadData: Model or data cannot be used as the spec says; Away after the study's inspection.
        """
        models = assignment.spec.models
        name = model or assignment.model
        try:
            with _as_inspected(assignment):
                return self._open(assignment, name)
        except BadData as error:
            if error.path == ["model"] and len(models) > 1:
                error.path = ["model", models.index(name)]
            raise

    def _open(self, assignment: Assignment, name: str) -> "OpenStudy":
        spec = assignment.spec
        task = task_code(spec.task)
        quieten()
        folder = model_folder(name)
        task.check(folder, name)
        data = self.data(assignment)
        files = sorted(file for file in folder.iterdir() if file.is_file())  # weights, configuration, processor
        key = (spec.task, str(folder), tuple((file.name, path_stamp(file)) for file in files), data.targets.identity)
        self._make_room(key, name, spec)
        if key not in self._models:
            pretrained = task.load(folder, name, data.targets)
            self._models[key] = CachedModel(name, key, pretrained, Backbone.find(pretrained.model, pretrained.fresh))
        cached = self._models[key] = self._models.pop(key)  # the most recently used
        _move(cached.pretrained.model, device())
        study = (self._data and self._data[0], assignment.study, spec.model)
        if self._study != study:
            self._study = study
            self.micro_batch.limit = None
        if assignment.micro_batch is not None:
            self.micro_batch.lower(assignment.micro_batch)
        inspected = assignment.inspection and assignment.inspection.models[spec.models.index(name)]
        batching = inspected.batching if inspected else Batching.RIGHT
        return OpenStudy(task, data, folder, cached, spec.augmentation, batching)

    def data(self, assignment: Assignment) -> Data:
        """Return the assignment's examples, checked and split.

        Raises:
            BadData: They cannot be used as the spec says.
            Away: The same after the study's inspection, or they have changed since.
        """
        with _as_inspected(assignment):
            return self._read(assignment)

    def _read(self, assignment: Assignment) -> Data:
        spec = assignment.spec
        # Files of images and sounds may be replaced although their table stays the same: a new study reads them again.
        study = assignment.study if {"image", "audio"} & set(spec.task_info.columns) else None
        stamps = source_stamps(spec.dataset.source)
        key = (spec.task, spec.seed, spec.semantics, spec.dataset.model_dump_json(), stamps, study)
        verify = assignment.inspection is None
        if self._data is None or self._data[0] != key or (verify and not self._verified):
            self._data = None  # never hold two studies' data in memory
            for cached in self._models.values():
                cached.encoded.clear()
            self._data = (key, load_data(spec.dataset, spec.task, spec.seed, verify, spec.semantics))
            self._verified = verify
        data = self._data[1]
        if assignment.inspection is not None and assignment.inspection.fingerprint != data.fingerprint:
            text = "The data changed since the study began; put the old file back, or start a new study on the new one."
            raise BadData(text, "dataset", "source")
        return data

    def _make_room(self, key: Hashable, name: str, spec: StudySpec) -> None:
        """Move the study's other models off the device, and drop those that there is no room for in host memory.

        Args:
            key: Of the model that is about to be used.
            name: Its name.
            spec: Models that it does not name are dropped.
        """
        others_named = set(spec.models) - {name}
        self._models = {k: cached for k, cached in self._models.items() if k == key or cached.name in others_named}
        others = [other for other in self._models if other != key]
        while others and (len(others) >= KEPT_MODELS or sum(self._models[o].bytes for o in others) > KEPT_BYTES):
            del self._models[others.pop(0)]
        for other in others:
            _move(self._models[other].pretrained.model, torch.device("cpu"))


class OpenStudy:
    """A study's task, data and one of its models, ready for use.

    Attributes:
        task: The task's code.
        name: The model's, as the spec has it.
        data: The examples, split.
        folder: The base model's.
        pretrained: Model and processor.
        backbone: The model's blocks.
        key: Of the model's files and of what it learns.
        batching: How the model's inputs are put into batches; `batch_as` changes it.
    """

    def __init__(
        self,
        task: TaskCode[Any],
        data: Data,
        folder: Path,
        cached: CachedModel,
        augmentation: str,
        batching: Batching = Batching.RIGHT,
    ) -> None:
        self.task = task
        self.name = cached.name
        self.data = data
        self.folder = folder
        self.pretrained = cached.pretrained
        self.backbone = cached.backbone
        self.key = cached.key
        self._cached = cached
        self._encoded = cached.encoded
        self._augmentation = augmentation
        self.batch_as(batching)

    def batch_as(self, batching: Batching) -> None:
        """Put the model's inputs into batches in another way; a tokenizer that is saved with the model pads so, too."""
        self.batching = batching
        tokenizer = self.pretrained.processor
        if isinstance(tokenizer, PreTrainedTokenizerBase):
            tokenizer.padding_side = "left" if batching is Batching.LEFT else "right"
            if batching is Batching.LEFT:
                tokenizer.init_kwargs["padding_side"] = "left"  # saved only where it is among these

    @property
    def prefixes(self) -> PrefixCache:
        """The model's frozen prefixes and shortcuts."""
        return self._cached.prefixes[self.batching]

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
            return self.task.encode_augmented(self.pretrained, examples, augmentation)
        encoded = self.task.encode(self.pretrained, examples, max_length)
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
        return self.task.scores(statistics, self.data.targets)


@contextmanager
def _as_inspected(assignment: Assignment) -> Iterator[None]:
    """Raise Away for every fault of data or model in the block, where the study's inspection has found both good.

    Which data and model are opened is no matter of the configuration: it names one of the inspected models at most.
    """
    try:
        yield
    except Exception as error:
        if assignment.inspection is None or isinstance(error, Away) or is_full(error) or out_of_memory(error):
            raise
        if isinstance(error, BadData):
            raise Away(error.message, *error.path) from None
        text = f"Data or model cannot be opened on this worker ({type(error).__name__}: {one_line(error)})."
        raise Away(text) from error  # a file that goes while it is read raises what it likes


def _move(model: nn.Module, place: torch.device) -> None:
    model.to(place)
