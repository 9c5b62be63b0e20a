"""The auto class of transformers that loads a model for a task, or why no class of its kind can do the task.

`pretrained.load` asks it, and `ModelCache` before any other file of a model is looked at.
"""

from pathlib import Path
from typing import Any, Protocol

import transformers

from luthier.studies.tasks import TASKS
from luthier.trials.errors import BadData
from luthier.trials.model.folder import configuration, read_json


class AutoClass(Protocol):
    """An auto class of transformers, such as AutoModelForSequenceClassification."""

    def from_pretrained(self, *args: Any, **options: Any) -> Any:
        """Load the object that a folder, the only argument, describes."""


def check_kind(task: str, folder: Path, name: str) -> None:
    """Check that a model's kind suits a task, before a file is missed that models of the right kind have.

    Args:
        task: A key of `luthier.studies.tasks.TASKS`.
        folder: The model's folder, whose configuration is already checked.
        name: The model's name, for messages.

    Raises:
        BadData: No auto class of the task knows models of this kind.
    """
    if is_timm(folder, name):
        return
    kind = str(read_json(folder / "config.json", name)["model_type"])
    if _class_for(transformers.CONFIG_MAPPING[kind], task) is None:
        raise _unsuitable(transformers.CONFIG_MAPPING[kind], kind, task, name)


def is_timm(folder: Path, name: str) -> bool:
    """Return whether a model is one of timm's, whose one configuration file also says how to prepare images."""
    return "architecture" in read_json(folder / "config.json", name)


def auto_classes(task: str) -> list[Any]:
    """Return the auto classes of transformers that load a task's models."""
    return [getattr(transformers, auto) for auto in TASKS[task].auto]


def choose_class(task: str, folder: Path, name: str) -> tuple[Any, Any]:
    """Return the auto class and the configuration of a model.

    Raises:
        BadData: The configuration is broken, or no class of its kind suits the task.
    """
    config = configuration(folder, name)
    auto = _class_for(type(config), task)
    if auto is None:
        raise _unsuitable(type(config), config.model_type, task, name)
    words = config.get_text_config()
    pad, size = getattr(words, "pad_token_id", None), getattr(words, "vocab_size", None)
    if isinstance(pad, int) and isinstance(size, int) and pad >= size > 0:
        text = f"{name}: in its config.json pad_token_id ({pad}) lies beyond vocab_size ({size}); correct it there."
        raise BadData(text, "model")
    return auto, config


def _unsuitable(configuration: type, kind: str, task: str, name: str) -> BadData:
    """Return the error that a model of a kind cannot do a task, with the tasks that it can."""
    able = [other for other in TASKS if _class_for(configuration, other)]
    cure = f"it can be used for {' and '.join(able)}; choose another model" if able else "choose another model"
    return BadData(f"{name} is a model of the type {kind}, which cannot be used for {task}: {cure}.", "model")


def _class_for(configuration: type, task: str) -> Any:
    """Return the first of a task's auto classes that knows models with this class of configuration, or None."""
    return next((auto for auto in auto_classes(task) if configuration in auto._model_mapping), None)
