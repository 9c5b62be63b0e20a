"""The registry of tasks: name -> class, imported when a task is first used.

The jobs, the training engine and the model cache ask here for a task's code. This module imports no task itself, so a
library that is missing (Pillow for images, say) hurts only the task that needs it.
"""

from importlib import import_module
from typing import Any

from luthier.studies.tasks import TASKS
from luthier.trials.tasks.base import TaskCode


def task_code(task: str) -> TaskCode[Any]:
    """Return the code of a task: text-classification is `text_classification.TextClassification`.

    Args:
        task: A key of `luthier.studies.tasks.TASKS`.

    Raises:
        KeyError: There is no such task.
        ImportError: A library that the task needs is missing.
    """
    name = TASKS[task].name
    module = import_module(f"luthier.trials.tasks.{name.replace('-', '_')}")
    code: type[TaskCode[Any]] = getattr(module, name.title().replace("-", ""))
    return code()
