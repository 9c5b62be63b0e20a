"""Whether a study's search weighs the seconds of trials (`sampler.cost_aware`), and where it cannot.

`spec_problems.py` and `trial_costs.py` ask. It must never import Optuna.
"""

from collections.abc import Mapping

from luthier.studies.budget import Budget
from luthier.studies.documents import Path
from luthier.studies.space import Space
from luthier.studies.strategy import Sampler

COSTLY = ("freeze_depth", "epochs", "batch_size", "max_length", "strategy")
"""Hyperparameters that the seconds of a trial are predicted from; the model is one where a study has several."""
CANNOT: Mapping[str, str] = {
    "gp": "gp proposes one configuration at a time, so that there is nothing to choose from",
    "cmaes": "cmaes learns from the configurations that it proposed itself, in their order",
    "qmc": "qmc covers the space evenly, whatever a trial takes",
    "random": "random has no model of what a configuration gains",
    "grid": "grid runs every configuration, so that their order saves nothing",
}
"""Sampler that cannot weigh seconds -> why."""


def weighs_seconds(sampler: Sampler, budget: Budget, space: Space, models: int) -> bool:
    """Return whether draws weigh the seconds of trials.

    Args:
        sampler: the study's.
        budget: the study's.
        space: the study's, resolved or not; not that of an external study, of whose work nothing is known.
        models: how many models the study has.
    """
    if sampler.cost_aware != "auto":
        return sampler.cost_aware
    is_time = budget.trials is None and (budget.gpu_seconds is not None or budget.wall_clock_seconds is not None)
    return is_time and sampler.name == "tpe" and _differs(space, models)


def cost_problems(sampler: Sampler, space: Space, models: int) -> list[tuple[Path, str]]:
    """Return why the seconds of trials cannot be weighed, where a spec asks for it; the arguments are as above."""
    if sampler.cost_aware is not True:
        return []
    path: Path = ("sampler", "cost_aware")
    if sampler.name in CANNOT:
        return [(path, f"needs the sampler tpe: {CANNOT[sampler.name]}; take name: tpe, or leave cost_aware out")]
    if _differs(space, models):
        return []
    words = ", ".join(COSTLY)
    return [(path, f"changes nothing: all trials take the same time; search one of {words}, or leave it out")]


def _differs(space: Space, models: int) -> bool:
    """Return whether some trials of a space are expected to take longer than others."""
    return models > 1 or any(name in COSTLY for name in space.free())
