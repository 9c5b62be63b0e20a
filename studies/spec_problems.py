"""What parts of a spec do not suit each other or the task: for each problem the path of the value, and the cure.

`StudySpec` asks all of them at once, so that a user reads every problem of a document in one answer.
"""

from luthier.studies.dataset import Dataset
from luthier.studies.dimensions import Range
from luthier.studies.documents import Path
from luthier.studies.hyperparameters import AUTO
from luthier.studies.space import Space
from luthier.studies.strategy import Answering, Objective, Sampler
from luthier.studies.task import Task

Problems = list[tuple[Path, str]]


def objective_problems(objective: Objective, task: Task) -> Problems:
    """Return what is wrong with a metric and its direction, for a task."""
    metric = task.metric(objective.metric)
    if metric is None:
        return [(("objective", "metric"), f"must be one of {', '.join(m.name for m in task.metrics)}")]
    if metric.maximize != (objective.direction == "maximize"):
        right = "maximize" if metric.maximize else "minimize"
        return [(("objective", "direction"), f"must be {right} for {metric.name}")]
    return []


def dataset_problems(dataset: Dataset, task: Task) -> Problems:
    """Return the columns and the ways of reading that a task does not have."""
    roles = task.columns
    unknown = [role for role in dataset.columns if role not in roles]
    told = f"unknown role; {task.name} has {', '.join(roles)}"
    problems: Problems = [(("dataset", "columns", role), told) for role in unknown]
    if not unknown and not task.choices(dataset.columns):
        text = f"mixes columns that exclude each other: {task.name} takes {task.told_alternatives}"
        problems.append((("dataset", "columns"), text))
    idle = {
        "label_separator": (not task.label_sets, f"a row of {task.name} has no list of labels"),
        "colours": ("mask" not in roles, f"{task.name} has no masks"),
        "do_reduce_labels": ("mask" not in roles, f"{task.name} has no masks"),
        "language": (not {"audio", "text"} <= set(roles), f"{task.name} writes down no speech"),
        "learn": ("messages" not in roles, f"a row of {task.name} is no conversation"),
    }
    defaults = Dataset.model_fields
    for name, (is_idle, why) in idle.items():
        if is_idle and getattr(dataset, name) != defaults[name].default:
            problems.append((("dataset", name), f"has no meaning: {why}; leave it out"))
    if dataset.unreadable != "refuse" and task.media is None:
        problems.append((("dataset", "unreadable"), f"must be refuse: {task.name} has no images and no sounds"))
    return problems


def answering_problems(answering: Answering | None, task: Task, space: Space) -> Problems:
    """Return what is wrong with the options of answers, for a task and the lengths of a space."""
    if answering is None:
        return []
    if not task.answers_questions:
        return [(("answering",), f"has no meaning: {task.name} picks no answers from contexts; leave it out")]
    least = space.least("max_length") if "max_length" in space else AUTO
    stride = answering.doc_stride
    if stride is None or not isinstance(least, int) or 2 * stride < least:
        return []
    text = f"must be below half of max_length, which is {least} in some trials: windows would not move on"
    return [(("answering", "doc_stride"), text)]


def grid_problems(sampler: Sampler, space: Space) -> Problems:
    """Return the hyperparameters that have no finite choices, where the sampler is a grid."""
    if sampler.name != "grid":
        return []
    text = "a grid needs finite choices: list them, or give a step"
    endless = [name for name, d in space.free().items() if isinstance(d, Range) and not d.finite]
    return [(("space", name), text) for name in endless if name != "freeze_depth"]  # blocks can be counted
