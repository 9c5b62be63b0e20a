"""What a worker's child keeps between trials, so that the next one of the same study starts at once."""

from collections.abc import Hashable
from pathlib import Path

import torch

from studies.protocol import Assignment, Metrics
from studies.spec import Files, StudySpec
from trials import folders
from trials.backbone import Backbone
from trials.data import Data, load_data
from trials.models import Pretrained, model_folder, quieten
from trials.session import BadData
from trials.tasks import Encoded, TaskModule, task_module


class Warm:
    """One study's data, its encoded splits, and its model; another study's take their place."""

    def __init__(self) -> None:
        self.micro_batch: int | None = None  # examples that fit in memory at once, once more did not
        self._study: Hashable = None
        self._data: tuple[Hashable, Data] | None = None
        self._model: tuple[Hashable, Pretrained, Backbone] | None = None
        self._encoded: dict[tuple[str, int, str], Encoded] = {}

    def open(self, assignment: Assignment) -> "Opened":
        """Data and model of an assignment, checked. Raises BadData."""
        spec = assignment.spec
        task = task_module(spec.task)
        quieten()
        folder = model_folder(spec.model)
        task.check(folder, spec.model)
        study = (spec.task, spec.seed, spec.dataset.model_dump_json(), _stamps(spec))
        if self._data is None or self._data[0] != study:
            self._data = None  # not two studies' data in memory at once
            self._encoded.clear()
            self._data = (study, load_data(spec.dataset, spec.task, spec.seed))
        data = self._data[1]
        if assignment.inspection is not None and assignment.inspection.fingerprint != data.fingerprint:
            text = "The data changed since the study began; put the old file back, or start a new study on the new one."
            raise BadData(text, "dataset", "source")
        files = [folder / "config.json", *sorted(folder.glob("*.safetensors"))]
        model = (str(folder), tuple((file.name, _stamp(file)) for file in files), tuple(data.label_names))
        if self._model is None or self._model[0] != model:
            self._model = None
            self._encoded.clear()  # they are the old tokenizer's
            pretrained = task.load(folder, spec.model, data.label_names)
            self._model = (model, pretrained, Backbone.find(pretrained.model, pretrained.fresh))
        if self._study != (study, model, assignment.study):
            self._study, self.micro_batch = (study, model, assignment.study), None
        if assignment.micro_batch is not None:  # what other workers of this study have found
            self.micro_batch = min(self.micro_batch or assignment.micro_batch, assignment.micro_batch)
        return Opened(self, task, data, folder, self._model[1], self._model[2], spec.augmentation)


class Opened:
    """A study's task, data and model, ready for use."""

    def __init__(
        self,
        warm: Warm,
        task: TaskModule,
        data: Data,
        folder: Path,
        pretrained: Pretrained,
        backbone: Backbone,
        augmentation: str,
    ) -> None:
        self.task, self.data, self.pretrained, self.backbone = task, data, pretrained, backbone
        self.folder = folder  # the base model's
        self._warm, self._augmentation = warm, augmentation

    def encoded(self, split: str, max_length: int) -> Encoded:
        """A split as the model's inputs; kept for later trials. Only the training split is augmented."""
        augmentation = self._augmentation if split == "train" else "none"
        key = (split, max_length, augmentation)
        kept, examples = self._warm._encoded, self.data.splits[split]
        if key not in kept and augmentation == "none":
            kept[key] = self.task.encode(self.pretrained, examples, max_length)
        elif key not in kept:
            kept[key] = self.task.augmented(self.pretrained, examples, augmentation)
        return kept[key]

    def scores(self, logits: torch.Tensor, encoded: Encoded) -> Metrics:
        """Every metric of the task, from logits (units, classes) on the CPU."""
        return self.task.scores(logits, encoded, self.data.label_names)


def _stamps(spec: StudySpec) -> tuple[Hashable, ...]:
    """Sizes and times of the study's local files and folders: a file that was written anew is read anew."""
    source = spec.dataset.source
    names = [v for v in source.model_dump().values() if v] if isinstance(source, Files) else [source]
    return tuple(_stamp(Path(name).expanduser()) for name in names)


def _stamp(path: Path) -> Hashable:
    try:
        found = path.stat()
        if path.is_dir():
            return folders.stamps(path)
    except OSError:
        return None
    return (found.st_ino, found.st_size, found.st_mtime_ns)
