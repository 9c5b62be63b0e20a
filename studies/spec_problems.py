"""What parts of a spec do not suit each other or the task: for each problem the path of the value, and the cure.

`StudySpec` asks for all of them at once, so that a user reads every problem of a document in one answer.
"""

from luthier.studies.augmentations import MIXTURES, augmentation_problem, idle_strength
from luthier.studies.budget import budget_problems
from luthier.studies.cost_awareness import cost_problems
from luthier.studies.dataset import Dataset
from luthier.studies.documents import Path
from luthier.studies.early_stopping import stopping_problems
from luthier.studies.external import EXTERNAL, IDLE_KEYS, search_problems_of
from luthier.studies.hyperparameters import AUTO, PROBE
from luthier.studies.origin import configuration_problems
from luthier.studies.own_values import own_value_problems
from luthier.studies.portfolio import portfolio_problems
from luthier.studies.priors import prior_problems
from luthier.studies.rates import rate_problems
from luthier.studies.semantics import IDLE_VALUES_REFUSED
from luthier.studies.space import Space
from luthier.studies.spec_keys import SpecKeys
from luthier.studies.strategy import Answering, Objective, grid_problems
from luthier.studies.task import Task

Problems = list[tuple[Path, str]]
OTHERS = ("full", "gradual", PROBE)
"""Strategies without adapters."""


def spec_problems(spec: SpecKeys) -> Problems:
    """Return every problem of a spec whose keys are right, each by itself."""
    if spec.is_external:
        problems = _external_problems(spec)
    else:
        problems = [*_task_problems(spec), *rate_problems(spec.space), *_search_problems(spec)]
        problems += stopping_problems(spec.early_stopping, spec.objective, spec.pruner, spec.max_steps)
    if spec.origin is not None and spec.warm_start is not None:
        problems.append((("warm_start",), "and from both say what runs first: keep one of them"))
    for key in ("patience", "expected_gain"):
        if spec.pruner.name == "asha" and getattr(spec.budget, key) is not None:
            text = "counts trials that have ended, and those that the pruner asha pauses have not: leave it out"
            problems.append((("budget", key), f"{text}, or take another pruner"))
    return [*problems, *budget_problems(spec.budget)]


def _external_problems(spec: SpecKeys) -> Problems:
    """Return what an external study cannot have, and what it lacks."""
    fields = type(spec).model_fields
    problems: Problems = [
        ((name,), text)
        for name, text in IDLE_KEYS.items()
        if getattr(spec, name) != fields[name].get_default(call_default_factory=True, validated_data={})
    ]
    parts = (spec.objective, spec.pruner, spec.sampler, spec.budget, spec.space, spec.steps)
    return [*problems, *search_problems_of(*parts)]


def _task_problems(spec: SpecKeys) -> Problems:
    """Return the values that do not suit the task."""
    task = spec.task_info
    problems = _objective_problems(spec.objective, task) + _dataset_problems(spec.dataset, task)
    problems += [(("space", name), task.refuses[name]) for name in spec.space if name in task.refuses]
    unsuitable = augmentation_problem(spec.task, task.augmentation_names, spec.augmentation)
    if unsuitable is not None:
        problems.append((("augmentation",), unsuitable))
    if spec.generation is not None and not task.generates:
        problems.append((("generation",), f"has no meaning: {spec.task} writes no texts; leave it out"))
    problems += _answering_problems(spec.answering, task, spec.space)
    if spec.steps is not None:
        text = f"is for task: {EXTERNAL}; here a step is an evaluation: epochs times evaluations_per_epoch"
        problems.append((("steps",), text))
    if spec.quantization != "none" and any(spec.space.offers("strategy", other) for other in OTHERS):
        text = "4bit needs adapters in every trial: set space.strategy to lora, or leave quantization out"
        problems.append((("quantization",), text))
    if spec.space.offers("strategy", PROBE) and not task.has_linear_head:
        text = f"probe solves a linear layer for one vector of each answer, and {task.name} has none; leave probe out"
        problems.append((("space", "strategy"), text))
    return problems


def _search_problems(spec: SpecKeys) -> Problems:
    """Return the values that do not suit the search: it never ends, has no choices, or prunes what is over."""
    meaningful = [name for name in spec.space if name not in spec.task_info.refuses]
    problems: Problems = [(("space", name), text) for name, text in spec.space.idle_problems()]
    problems += [(("space", name), text) for name in meaningful if (text := idle_strength(name, spec.augmentation))]
    if spec.semantics >= IDLE_VALUES_REFUSED:
        problems += [*own_value_problems(spec.space), *_mixture_problems(spec)]
    if spec.pruner.name != "none" and spec.max_steps == 1:
        text = "must be none: every trial has one evaluation; raise space.epochs or evaluations_per_epoch to prune"
        problems.append((("pruner", "name"), text))
    problems += cost_problems(spec.sampler, spec.space, len(spec.models))
    key = "warm_start" if spec.origin is None else "from"
    problems += configuration_problems(spec.takes_over, spec.space.vocabulary, key)
    problems += portfolio_problems(spec.sampler, spec.task_info, spec.semantics)
    return problems + grid_problems(spec.sampler, spec.space) + prior_problems(spec.sampler, spec.space)


def _mixture_problems(spec: SpecKeys) -> Problems:
    """Return that examples are to be mixed, where every batch of every trial has one example."""
    if spec.augmentation not in MIXTURES or spec.space.largest("batch_size") != 1:
        return []
    text = f"{spec.augmentation} mixes the examples of a batch, and batch_size is 1 in every trial: raise "
    return [(("augmentation",), f"{text}space.batch_size, or leave augmentation out")]


def _objective_problems(objective: Objective, task: Task) -> Problems:
    """Return what is wrong with a metric and its direction, for a task."""
    metric = task.metric(objective.metric)
    if metric is None:
        return [(("objective", "metric"), f"must be one of {', '.join(m.name for m in task.metrics)}")]
    if metric.maximize != (objective.direction == "maximize"):
        right = "maximize" if metric.maximize else "minimize"
        return [(("objective", "direction"), f"must be {right} for {metric.name}")]
    return []


def _dataset_problems(dataset: Dataset, task: Task) -> Problems:
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
        "box_format": ("objects" not in roles, f"{task.name} has no boxes"),
        "learn": ("messages" not in roles, f"a row of {task.name} is no conversation"),
    }
    defaults = Dataset.model_fields
    for name, (is_idle, why) in idle.items():
        if is_idle and getattr(dataset, name) != defaults[name].default:
            problems.append((("dataset", name), f"has no meaning: {why}; leave it out"))
    if dataset.unreadable != "refuse" and task.media is None:
        problems.append((("dataset", "unreadable"), f"must be refuse: {task.name} has no images and no sounds"))
    return problems


def _answering_problems(answering: Answering | None, task: Task, space: Space) -> Problems:
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
