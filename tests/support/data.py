"""The examples of a data set, read as a task reads them."""

from luthier.studies.dataset import Dataset
from luthier.studies.semantics import NEWEST_SEMANTICS
from luthier.trials.data import load
from luthier.trials.data.load import Data
from luthier.trials.tasks.registry import task_code


def load_data(dataset: Dataset, task: str, seed: int, verify: bool = False, semantics: int = NEWEST_SEMANTICS) -> Data:
    """Return the splits of a data set and what the task learns from them; see `luthier.trials.data.load.load_data`."""
    return load.load_data(dataset, task, task_code(task).targets, seed, verify, semantics)
