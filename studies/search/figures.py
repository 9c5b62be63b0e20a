"""The plots of a study, as plotly figures; `Search.figure` draws them on request."""

from collections.abc import Callable
from typing import Any

from optuna import visualization
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState
from plotly.graph_objects import Figure

KINDS = ("history", "importance", "parallel", "slice", "contour", "intermediate", "timeline")


def draw(kind: str, study: Study, searched: list[str], metric: str) -> Figure:
    """Return a plot of a study.

    Args:
        kind: A name of KINDS.
        study: The study.
        searched: The hyperparameters with more than one value.
        metric: The objective's name, for the axis.

    Raises:
        ValueError: With a sentence, for an unknown kind or when there is not enough to draw yet.
    """
    if kind not in KINDS:
        raise ValueError(f"a plot is one of {', '.join(KINDS)}, not {kind}")
    trials = study.get_trials(deepcopy=False)
    complete = [t for t in trials if t.state == TrialState.COMPLETE]
    lacking = _lacking(kind, trials, complete, len(searched))
    if lacking:
        raise ValueError(f"the {kind} plot needs {lacking}")
    if kind == "intermediate":
        return visualization.plot_intermediate_values(study)
    if kind == "timeline":
        return visualization.plot_timeline(study)
    if kind == "history":
        return visualization.plot_optimization_history(study, target_name=metric)
    plots: dict[str, Callable[..., Any]] = {
        "importance": visualization.plot_param_importances,
        "parallel": visualization.plot_parallel_coordinate,
        "slice": visualization.plot_slice,
        "contour": visualization.plot_contour,
    }
    return plots[kind](study, params=searched, target_name=metric)


def _lacking(kind: str, trials: list[FrozenTrial], complete: list[FrozenTrial], searched: int) -> str | None:
    """Return the words for what a plot still needs, or None when it can be drawn."""
    if kind == "timeline":
        return None if trials else "a trial that has started; wait for the first"
    if kind == "intermediate":
        return None if any(t.intermediate_values for t in trials) else "an evaluation; wait for the first"
    least = 2 if kind in ("importance", "contour") else 1
    if len(complete) < least:
        return f"{least} complete trial{'s' if least > 1 else ''}; there {'is' if len(complete) == 1 else 'are'} " + (
            str(len(complete) or "none yet")
        )
    dimensions = {"history": 0, "contour": 2}.get(kind, 1)
    if searched < dimensions:
        return f"{dimensions} hyperparameter{'s' if dimensions > 1 else ''} with more than one value in the space"
    if kind == "importance" and len({t.value for t in complete}) < 2:
        return "complete trials with different scores"
    return None
