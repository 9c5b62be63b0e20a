"""A study's data, models and encoded splits, kept in memory for its next trial.

A child process has one `ModelCache` and hands it to each job. It holds one study at a time.
"""

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import nn

from luthier.studies.disk import is_full
from luthier.studies.protocol import TRAINING, Assignment, AssignmentKind
from luthier.studies.results import Batching
from luthier.studies.semantics import CHANNELS_LAST, POOLER_TRAINED, POSITIONS_FROZEN
from luthier.studies.spec import StudySpec
from luthier.studies.text import one_line
from luthier.trials.data.load import Data, load_data
from luthier.trials.data.sources import path_stamp, source_stamps
from luthier.trials.errors import Away, BadData
from luthier.trials.memory import out_of_memory
from luthier.trials.model.auto_classes import check_kind
from luthier.trials.model.backbone import Backbone
from luthier.trials.model.folder import model_folder
from luthier.trials.model.pretrained import Pretrained, device, quieten
from luthier.trials.tasks.registry import task_code
from luthier.trials.training.micro_batch import MicroBatch
from luthier.trials.training.open_study import CachedModel, OpenStudy

ARRANGED = TRAINING | {AssignmentKind.INSPECT}
"""The work for which a model's memory format may be chosen; what people get is scored in the format that they load."""
KEPT_MODELS = 4
"""The most models of one study that are kept, the one in use included."""
KEPT_BYTES = 4 * 2**30
"""Pretrained weights, in bytes, of the models that are kept beside the one in use; each is in host memory twice."""


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

    def open(self, assignment: Assignment, model: str | None = None) -> OpenStudy:
        """Return data and model of an assignment, checked, with the model on the device.

        Args:
            assignment: Its `micro_batch`, which other workers of the study have found, lowers this one's; so does that
                of the spec.
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

    def _open(self, assignment: Assignment, name: str) -> OpenStudy:
        spec = assignment.spec
        task = task_code(spec.task)
        quieten()
        folder = model_folder(name)
        check_kind(spec.task, folder, name)
        task.check(folder, name)
        data = self.data(assignment)
        files = sorted(file for file in folder.iterdir() if file.is_file())  # weights, configuration, processor
        stamps = tuple((file.name, path_stamp(file)) for file in files)
        changes = (spec.semantics >= POSITIONS_FROZEN, spec.semantics >= POOLER_TRAINED)
        key = (spec.task, str(folder), stamps, data.targets.identity, changes)
        inspected = assignment.inspection and assignment.inspection.models[spec.models.index(name)]
        names = [block.name for block in inspected.blocks] if inspected else []
        cached = self._cached(key, names, name, spec, lambda: task.load(folder, name, data.targets))
        _move(cached.pretrained.model, device())
        study = (self._data and self._data[0], assignment.project, assignment.study, spec.model)
        if self._study != study:
            self._study = study
            self.micro_batch.limit = None
        for examples in (assignment.micro_batch, spec.resources.micro_batch):
            if examples is not None:
                self.micro_batch.lower(examples)
        batching = inspected.batching if inspected else Batching.RIGHT
        pooling = inspected.pooling if inspected else None
        arranged = spec.semantics >= CHANNELS_LAST and assignment.kind in ARRANGED
        if not arranged:
            cached.layout.arrange(channels_last=False)
        return OpenStudy(task, data, folder, cached, spec.augmentation, batching, pooling, spec.semantics, arranged)

    def _cached(
        self, key: tuple[Hashable, ...], names: list[str], name: str, spec: StudySpec, load: Callable[[], Pretrained]
    ) -> CachedModel:
        """Return a model, loaded if need be, as the most recently used one.

        Args:
            key: Of its files and of what it learns.
            names: The blocks that the study's inspection found, maybe of an earlier version, which finds others.
            name: As the spec has it.
            spec: The study's.
            load: Loads it.
        """
        own = (*key, *names)
        key = own if own in self._models else key
        self._make_room(key, name, spec)
        found = self._models.get(key)
        if found is None or (key != own and found.backbone.names[: len(names)] != names):
            pretrained = load()
            find = partial(Backbone.find, pretrained.model, pretrained.fresh, spec.semantics)
            backbone = find()
            if backbone.names[: len(names)] != names:
                key, backbone = own, find(names=names)
            self._models[key] = CachedModel(name, key, pretrained, backbone)
        cached = self._models[key] = self._models.pop(key)
        return cached

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
        study = (assignment.project, assignment.study) if spec.task_info.media else None
        stamps = source_stamps(spec.dataset.source)
        key = (spec.task, spec.seed, spec.semantics, spec.dataset.model_dump_json(), spec.answering, stamps, study)
        verify = assignment.inspection is None
        if self._data is None or self._data[0] != key or (verify and not self._verified):
            self._data = None  # never hold two studies' data in memory
            for cached in self._models.values():
                cached.encoded.clear()
            kind = task_code(spec.task).targets
            data = load_data(spec.dataset, spec.task, kind, spec.seed, verify, spec.semantics, spec.answering)
            self._data = (key, data)
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
