"""What is particular to each kind of fine-tuning, one module a task, behind one small interface."""

from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Protocol

import torch

from luthier.studies.wire import Metrics
from luthier.trials.data.encoded import Encoded
from luthier.trials.data.load import Split
from luthier.trials.model.pretrained import Pretrained


class TaskModule(Protocol):
    """A module of this package.

    One whose task has augmentations also has `augmented(pretrained, split, augmentation)`, which encodes for training
    with `drawn` true.
    """

    check: Callable[[Path, str], None]
    """check(folder, name): raise BadData when the model's folder lacks what this task needs beside weights."""
    load: Callable[[Path, str, list[str]], Pretrained]
    """load(folder, name, label_names): model and processor. Raises BadData."""
    encode: Callable[[Pretrained, Split, int], Encoded]
    """encode(pretrained, split, max_length): no padding yet."""
    collate: Callable[[Encoded, Sequence[int]], dict[str, torch.Tensor]]
    """collate(encoded, rows): a padded batch of the model's inputs, on the CPU."""
    scores: Callable[[torch.Tensor, Encoded, Sequence[str]], Metrics]
    """scores(logits, encoded, label_names): every metric of the task, from (units, classes) on the CPU."""


_MODULES = {
    "text-classification": "luthier.trials.tasks.text_classification",
    "token-classification": "luthier.trials.tasks.token_classification",
    "image-classification": "luthier.trials.tasks.image_classification",
    "audio-classification": "luthier.trials.tasks.audio_classification",
}


def task_module(task: str) -> TaskModule:
    """The code of a task of studies.tasks.TASKS."""
    return import_module(_MODULES[task])
