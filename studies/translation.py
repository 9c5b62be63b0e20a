"""Configurations of one study in the terms of another one, whose space names other things or says them otherwise.

`successor.py` and the service's warm starts ask. A freeze depth is a number of blocks in a study of one model, and a
fraction of them where there are several.
"""

from collections.abc import Mapping
from typing import Any

from luthier.studies.best_of_study import BestTrial
from luthier.studies.hyperparameters import Params, complete, is_used
from luthier.studies.old_trials import OldTrial, Predecessor
from luthier.studies.space import Space
from luthier.studies.spec import StudySpec


def translated(
    params: Mapping[str, Any], source: Predecessor, old_space: Space, models: tuple[str, ...]
) -> tuple[Params, Params]:
    """Return an old trial's whole configuration: as its worker got it, and in the terms of a new study.

    Args:
        params: The old trial's.
        source: Its study.
        old_space: The space of that, resolved.
        models: Those of the new study.
    """
    spec, inspection = source.spec, source.inspection
    whole = complete(dict(params), spec.task_info.baseline)
    assigned = old_space.assigned(whole)
    model = str(params.get("model", spec.models[0]))
    given = {**assigned, "model": model}
    if len(models) > 1:
        depth = inspection.depths[spec.models.index(model)]
        exact = whole["freeze_depth"] if len(spec.models) > 1 else int(assigned["freeze_depth"]) / max(depth, 1)
        given["freeze_depth"] = exact
        if model not in models:
            del given["model"]
    return assigned, given


def best_trials(today: StudySpec, source: Predecessor, old: list[OldTrial]) -> list[BestTrial]:
    """Return the first different configurations of another study, as `warm_start` of a new spec holds them.

    Args:
        today: The new spec, whose `warm_start` says how many are wanted.
        source: The other study.
        old: Its trials, the best first.

    Raises:
        ValidationError: The other study's space does not fit its inspection any more.
    """
    assert today.warm_start is not None
    old_space = source.spec.resolved_space(source.inspection)
    best: list[BestTrial] = []
    for trial in old:
        params = dict(trial.params) if today.is_external else _in_todays_terms(today, source, old_space, trial.params)
        if len(best) < today.warm_start.top and all(params != other.params for other in best):
            best.append(BestTrial(trial=trial.number, value=trial.value, params=params))
    return best


def _in_todays_terms(today: StudySpec, source: Predecessor, old_space: Space, params: Mapping[str, Any]) -> Params:
    """Return what a configuration says of today's hyperparameters, and what it had searched besides."""
    given = translated(params, source, old_space, today.models)[1]
    names = [*(["model"] if len(today.models) > 1 else []), *today.space]
    said = {name: given[name] for name in names if name in given and is_used(name, given)}
    searched = [name for name in source.spec.space.free() if name not in names and is_used(name, params)]
    return said | {name: params[name] for name in searched if name in params}


def shares_nothing(today: StudySpec, source: StudySpec) -> bool:
    """Return whether another study can say nothing about a new one: no hyperparameter is searched in both."""
    several = {"model"} if len(today.models) > 1 and len(source.models) > 1 else set()
    return not (set(today.space.free()) | several) & (set(source.space.free()) | several)
