"""The registry of tasks: name -> class, imported when a task is first used.

The jobs, the training engine and the model cache ask here for a task's code. This module imports no task itself, so a
library that is missing (Pillow for images, say) hurts only the task that needs it.
"""

from importlib import import_module
from typing import Any

from luthier.trials.tasks.base import TaskCode

_CLASSES = {
    "text-classification": "luthier.trials.tasks.text_classification:TextClassification",
    "token-classification": "luthier.trials.tasks.token_classification:TokenClassification",
    "image-classification": "luthier.trials.tasks.image_classification:ImageClassification",
    "audio-classification": "luthier.trials.tasks.audio_classification:AudioClassification",
}


def task_code(task: str) -> TaskCode[Any]:
    """Return the code of a task.

    Args:
        task: A key of `luthier.studies.tasks.TASKS`.

    Raises:
        KeyError: There is no such task.
        ImportError: A library that the task needs is missing.
    """
    module, name = _CLASSES[task].split(":")
    code: type[TaskCode[Any]] = getattr(import_module(module), name)
    return code()
