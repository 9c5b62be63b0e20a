"""What a worker's child keeps between trials, so that the next one of the same study starts at once."""

from collections.abc import Hashable
from dataclasses import dataclass, field
from pathlib import Path

import torch

from luthier.studies.dataset import SplitFiles
from luthier.studies.protocol import Assignment
from luthier.studies.spec import StudySpec
from luthier.studies.wire import Metrics
from luthier.trials.data import media_folders as folders
from luthier.trials.data.encoded import Encoded
from luthier.trials.data.load import Data, load_data
from luthier.trials.errors import BadData
from luthier.trials.model.backbone import Backbone
from luthier.trials.model.pretrained import Pretrained, device, model_folder, quieten
from luthier.trials.prefix.cache import Prefixes
from luthier.trials.tasks.registry import TaskModule, task_module

KEPT_MODELS = 4
KEPT_SPLITS = 9  # encoded, of a model: a search over max_length has many
KEPT_BYTES = 4 * 2**30  # of the pretrained weights of all kept models; each is in host memory twice


@dataclass
class CachedModel:
    """A loaded model, and the splits as its inputs."""

    name: str
    key: Hashable  # its files, and the label names
    pretrained: Pretrained
    backbone: Backbone
    prefixes: Prefixes = field(default_factory=Prefixes)
    encoded: dict[tuple[str, int, str], Encoded] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        return sum(tensor.nbytes for tensor in self.pretrained.pristine.values())


class ModelCache:
    """One study's data and its models, least recently used first; another study's take their place."""

    def __init__(self) -> None:
        self.micro_batch: int | None = None  # examples that fit in memory at once, once more did not
        self._study: Hashable = None
        self._data: tuple[Hashable, Data] | None = None
        self._models: dict[Hashable, CachedModel] = {}

    def open(self, assignment: Assignment, model: str | None = None) -> "OpenStudy":
        """Data and model of an assignment, checked; `model`: another one of its study's. Raises BadData."""
        models, name = assignment.spec.models, model or assignment.model
        try:
            return self._open(assignment, name)
        except BadData as error:
            if error.path == ["model"] and len(models) > 1:
                error.path = ["model", models.index(name)]
            raise

    def _open(self, assignment: Assignment, name: str) -> "OpenStudy":
        spec = assignment.spec
        task = task_module(spec.task)
        quieten()
        folder = model_folder(name)
        task.check(folder, name)
        data = self.data(assignment)
        files = sorted(file for file in folder.iterdir() if file.is_file())  # weights, configuration, processor
        key = (spec.task, str(folder), tuple((file.name, _stamp(file)) for file in files), tuple(data.label_names))
        self._make_room(key, name, spec)
        if key not in self._models:
            pretrained = task.load(folder, name, data.label_names)
            self._models[key] = CachedModel(name, key, pretrained, Backbone.find(pretrained.model, pretrained.fresh))
        kept = self._models[key] = self._models.pop(key)  # the most recently used
        kept.pretrained.model.to(device())
        study = (self._data and self._data[0], assignment.study, spec.model)
        if self._study != study:
            self._study, self.micro_batch = study, None
        if assignment.micro_batch is not None:  # what other workers of this study have found
            self.micro_batch = min(self.micro_batch or assignment.micro_batch, assignment.micro_batch)
        return OpenStudy(task, data, folder, kept, spec.augmentation)

    def data(self, assignment: Assignment) -> Data:
        """The assignment's examples, checked and split. Raises BadData."""
        spec = assignment.spec
        # Images and sounds may be written anew without a trace in what names them: a new study reads them again.
        named = assignment.study if {"image", "audio"} & set(spec.task_info.columns) else None
        study = (spec.task, spec.seed, spec.dataset.model_dump_json(), _stamps(spec), named)
        if self._data is None or self._data[0] != study:
            self._data = None  # not two studies' data in memory at once
            for kept in self._models.values():
                kept.encoded.clear()
            self._data = (study, load_data(spec.dataset, spec.task, spec.seed))
        data = self._data[1]
        if assignment.inspection is not None and assignment.inspection.fingerprint != data.fingerprint:
            text = "The data changed since the study began; put the old file back, or start a new study on the new one."
            raise BadData(text, "dataset", "source")
        return data

    def _make_room(self, key: Hashable, name: str, spec: StudySpec) -> None:
        """Leave the device to the model of this key, and keep no more of the study's others than there is room for."""
        wanted = set(spec.models) - {name}
        self._models = {k: kept for k, kept in self._models.items() if k == key or kept.name in wanted}
        others = [other for other in self._models if other != key]
        while others and (len(others) >= KEPT_MODELS or sum(self._models[o].bytes for o in others) > KEPT_BYTES):
            del self._models[others.pop(0)]
        for other in others:
            self._models[other].pretrained.model.to("cpu")


class OpenStudy:
    """A study's task, data and model, ready for use."""

    def __init__(self, task: TaskModule, data: Data, folder: Path, kept: CachedModel, augmentation: str) -> None:
        self.task, self.data, self.pretrained, self.backbone = task, data, kept.pretrained, kept.backbone
        self.folder = folder  # the base model's
        self.key, self.prefixes = kept.key, kept.prefixes
        self._encoded, self._augmentation = kept.encoded, augmentation

    def encoded(self, split: str, max_length: int) -> Encoded:
        """A split as the model's inputs; kept for later trials. Only the training split is augmented."""
        augmentation = self._augmentation if split == "train" else "none"
        key = (split, max_length, augmentation)
        kept, examples = self._encoded, self.data.splits[split]
        if key not in kept and augmentation == "none":
            kept[key] = self.task.encode(self.pretrained, examples, max_length)
        elif key not in kept:
            kept[key] = self.task.augmented(self.pretrained, examples, augmentation)
        kept[key] = kept.pop(key)  # the most recently used
        while len(kept) > KEPT_SPLITS:
            del kept[next(iter(kept))]
        return kept[key]

    def scores(self, logits: torch.Tensor, encoded: Encoded) -> Metrics:
        """Every metric of the task, from logits (units, classes) on the CPU."""
        return self.task.scores(logits, encoded, self.data.label_names)


def _stamps(spec: StudySpec) -> tuple[Hashable, ...]:
    """Sizes and times of the study's local files and folders: a file that was written anew is read anew."""
    source = spec.dataset.source
    names = [v for v in source.model_dump().values() if v] if isinstance(source, SplitFiles) else [source]
    return tuple(_stamp(Path(name).expanduser()) for name in names)


def _stamp(path: Path) -> Hashable:
    try:
        found = path.stat()
        if path.is_dir():
            return folders.stamps(path)
    except OSError:
        return None
    return (found.st_ino, found.st_size, found.st_mtime_ns)
