"""What is particular to each kind of fine-tuning, one module a task, behind one small interface."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import torch

from trials.data import Split
from trials.models import Pretrained


@dataclass(frozen=True)
class Encoded:
    """A split as the model's inputs: input name -> one list of numbers per example."""

    columns: Mapping[str, Sequence[Sequence[int]]]
    padding: Mapping[str, int]
    labels: torch.Tensor  # (examples,) class ids
    lengths: Sequence[int]  # by which examples are bucketed
    longest: int  # of them

    def __len__(self) -> int:
        return len(self.lengths)


class TaskModule(Protocol):
    """A module of this package."""

    check: Callable[[Path, str], None]
    """check(folder, name): raise BadData when the model's folder lacks what this task needs beside weights."""
    load: Callable[[Path, str, list[str]], Pretrained]
    """load(folder, name, label_names): model and processor. Raises BadData."""
    encode: Callable[[Pretrained, Split, int], Encoded]
    """encode(pretrained, split, max_length): no padding yet."""
    collate: Callable[[Encoded, Sequence[int]], dict[str, torch.Tensor]]
    """collate(encoded, rows): a padded batch of the model's inputs, on the CPU."""
    scores: Callable[[torch.Tensor, torch.Tensor], dict[str, Any]]
    """scores(logits, labels): every metric of the task, from (examples, classes) and (examples,)."""


_MODULES = {"text-classification": "trials.tasks.text_classification"}


def task_module(task: str) -> TaskModule:
    """The code of a task of studies.tasks.TASKS."""
    return import_module(_MODULES[task])
