"""What a spec with `task: external` may hold: a study whose trainer is the user's own, with neither model nor data.

`spec_keys.py` and `spec_problems.py` ask. The trials of such a study are handed out by `POST /v1/studies/{name}/ask`,
never to our own workers.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from luthier.studies.budget import Budget
from luthier.studies.dataset import Dataset
from luthier.studies.documents import Path
from luthier.studies.open_space import SCHEMA as OPEN_SCHEMA
from luthier.studies.priors import prior_problems
from luthier.studies.results import Inspection
from luthier.studies.space import Space
from luthier.studies.strategy import Objective, Pruner, Sampler, grid_problems
from luthier.studies.task import Task
from luthier.studies.wire import METRIC_NAME

EXTERNAL = "external"
TASK = Task(
    name=EXTERNAL,
    about="A trainer of your own, which asks for configurations and tells their scores.",
    auto=(),
    columns={},
    metrics=(),
    baseline={},
)
NO_DATASET = Dataset.model_construct(source="")
"""Stands where an external study has no data set, so that the code of our own trainers need not ask; no user can write
a data set with this source."""
NOTHING_TO_INSPECT = Inspection(blocks=[], trainable_parameters=[], label_names=[], labels={}, rows={}, fingerprint="")
"""Stands where other studies have what a worker found of model and data."""
ANY_LENGTH = 2**31 - 1  # evaluations: the longest trial of a study that does not say its `steps`
_OURS = "is for models that Luthier trains itself; your own trainer does that: leave it out"
IDLE_KEYS: Mapping[str, str] = {
    "preset": "stands for hyperparameters that Luthier trains with itself; write space and budget",
    "early_stopping": "is for trials that Luthier trains itself; take pruner: {name: patient}, or stop in your trainer",
    "confirm": "is for trials that Luthier trains itself; enqueue the best configuration again with other seeds",
    "augmentation": _OURS,
    "precision": _OURS,
    "quantization": _OURS,
    "gradient_checkpointing": _OURS,
    "evaluations_per_epoch": "is for epochs that Luthier counts itself; give steps, the last step that a trial reports",
    "generation": _OURS,
    "answering": _OURS,
    "resources": "is for GPUs that Luthier shares itself; your own trainer does that: leave it out",
}
"""Key of a spec that changes nothing in an external study -> what to do instead."""
REFUSED = {
    "model": "has no meaning for an external study: your own trainer loads its models; leave it out, or put a list of "
    "models under space",
    "dataset": "has no meaning for an external study: your own trainer reads its data; leave it out",
}


def search_problems_of(
    objective: Objective, pruner: Pruner, sampler: Sampler, budget: Budget, space: Space, steps: int | None
) -> Iterator[tuple[Path, str]]:
    """Yield what the search of an external study cannot mean, and what it lacks, each with its path in the spec."""
    if "metric" not in objective.model_fields_set:
        yield ("objective", "metric"), "is missing: name the score that your trainer reports, as accuracy"
    elif not re.fullmatch(METRIC_NAME, objective.metric):
        text = "must be letters, digits and _ . @ / - (64 characters at most), without spaces, as eval_loss"
        yield ("objective", "metric"), text
    if "direction" not in objective.model_fields_set:
        yield ("objective", "direction"), "is missing: say maximize or minimize; only you know the score"
    if pruner.name == "hyperband" and steps is None:
        text = "is missing: hyperband needs the last step that a trial reports, as steps: 20; or take the pruner median"
        yield ("steps",), text
    if pruner.name == "asha":
        text = (
            "must be another one: asha lets trials wait, and go on from files that Luthier's own workers write; take "
        )
        yield ("pruner", "name"), f"{text}hyperband, and say steps, or median"
    if pruner.name != "none" and steps == 1:
        yield ("pruner", "name"), "must be none: every trial has one report; raise steps to prune"
    yield from grid_problems(sampler, space)
    yield from prior_problems(sampler, space)
    if sampler.portfolio:
        text = "has no meaning for an external study: only you know what is good there; enqueue it, or take warm_start"
        yield ("sampler", "portfolio"), text
    if sampler.cost_aware is True:
        text = "is for trials that Luthier trains itself: it knows what makes them long; leave it out"
        yield ("sampler", "cost_aware"), text
    if budget.trial_seconds is not None:
        text = "is for trials that Luthier trains itself; end a trial that takes too long in your trainer, and tell it"
        yield ("budget", "trial_seconds"), text


def with_external(schema: dict[str, Any]) -> None:
    """Complete the JSON Schema of a spec: external studies lack two keys that all others have, and name what they like.

    Args:
        schema: as pydantic makes it; it is changed in place.
    """
    properties = schema["properties"]
    for key in REFUSED:
        properties[key].pop("default", None)
        told = properties[key].get("description", "The examples, and how they are split.")
        properties[key]["description"] = f"{told} Required, but for external studies, which have none."
    usual = properties["space"]
    properties["space"] = {"anyOf": [usual, {"type": "object"}]}
    schema["if"] = {"properties": {"task": {"const": EXTERNAL}}, "required": ["task"]}
    schema["then"] = {"properties": {"space": OPEN_SCHEMA, **dict.fromkeys(REFUSED, False)}, "required": ["objective"]}
    schema["else"] = {"properties": {"space": usual}, "required": [*REFUSED]}


def refused(task: Any, key: str) -> str | None:
    """Return why an external study may not have a key of the spec; None for other tasks and keys."""
    return REFUSED.get(key) if task == EXTERNAL else None
