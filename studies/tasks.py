"""The tasks that can be fine-tuned: columns, metrics, and the baseline that is trial 0 of every study.

Specs are validated by them; the code that trains a task is in the workers, under the same name. An entry is written in
the file of its inputs: `text_tasks.py`, `image_tasks.py` or `audio_tasks.py`.
"""

from collections.abc import Mapping

from luthier.studies.audio_tasks import AUDIO_TASKS
from luthier.studies.image_tasks import IMAGE_TASKS
from luthier.studies.task import Task
from luthier.studies.text_tasks import TEXT_TASKS

TASKS: Mapping[str, Task] = {task.name: task for task in (*TEXT_TASKS, *IMAGE_TASKS, *AUDIO_TASKS)}
