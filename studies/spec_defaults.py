"""What a spec leaves out, where its other keys decide it: from its preset, its task, and the length of its trials.

`StudySpec` has a raw document completed before it is validated. So a wrong value is left as it is here: its own key
refuses it later.
"""

from typing import Any

from luthier.studies.external import EXTERNAL
from luthier.studies.hyperparameters import PROBE
from luthier.studies.presets import fill_preset
from luthier.studies.space import Space
from luthier.studies.task import Task
from luthier.studies.tasks import TASKS


def with_defaults(raw: Any) -> Any:
    """Return a raw spec with what its other keys decide written out; what is no mapping is returned as it is."""
    if not isinstance(raw, dict):
        return raw
    is_external = raw.get("task") == EXTERNAL
    document = raw if is_external else fill_preset(raw)
    task = TASKS.get(document["task"]) if isinstance(document.get("task"), str) else None
    if task is not None:
        document = _with_metric(_with_new_tokens(document, task), task)
    return document if is_external else _with_pruner(document)


def _with_metric(document: dict[str, Any], task: Task) -> dict[str, Any]:
    """Take the task's first metric as the objective if the user chose none."""
    objective = document.get("objective", {})
    if not isinstance(objective, dict) or "metric" in objective:
        return document
    return {**document, "objective": {**objective, "metric": task.metrics[0].name}}


def _with_new_tokens(document: dict[str, Any], task: Task) -> dict[str, Any]:
    """Take the task's number of new tokens if the user chose how to write, and no number."""
    written = document.get("generation")
    if not isinstance(written, dict) or "max_new_tokens" in written:
        return document
    return {**document, "generation": {**written, "max_new_tokens": task.max_new_tokens}}


def _with_pruner(document: dict[str, Any]) -> dict[str, Any]:
    """Take no pruner if the user chose none and trials have one evaluation, too few to be pruned."""
    space = document.get("space")
    if document.get("pruner") is not None or not isinstance(space, dict):
        return document
    if space.get("strategy") in (PROBE, [PROBE]):
        return {**document, "pruner": {"name": "none"}}
    try:
        epochs = Space.model_validate({name: d for name, d in space.items() if name == "epochs"}).largest("epochs")
        has_one = int(epochs) * int(document.get("evaluations_per_epoch", 1)) == 1
    except (ValueError, TypeError):
        return document
    given = {key: value for key, value in document.items() if key != "pruner"}
    return {**given, "pruner": {"name": "none"}} if has_one else given
