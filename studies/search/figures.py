"""The plots of a study as plotly's JSON, bounded in points, bytes and time whatever the study's size.

`Search.plot` draws them on request. Plotly and Optuna's plots grow with the number of trials, the contour plot with its
square for each pair of hyperparameters, so a plot is drawn of a choice of the trials (`thinning.py`) and says so.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from optuna import importance, visualization
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState
from plotly.graph_objects import Figure, Scatter

from luthier.studies.search.thinning import spread, thin

KINDS = ("history", "importance", "parallel", "slice", "contour", "intermediate", "timeline")
OTHER_KINDS = ("rank", "edf")  # which optuna-dashboard asks for too
MAX_BYTES = 4 * 2**20  # of a plot's JSON; a plot that would have more shows fewer trials
LEAST = 2  # trials that a plot shows at least
POINTS = 12_000  # of a plot that draws a point for each trial and hyperparameter
PAIRED_POINTS = 4_000  # of one that draws a point, and words, for each trial and pair of hyperparameters
WEIGHED = 10_000  # trials that importance is computed of at most: half a second for the most hyperparameters
CELLS = 300_000  # of all grids of a contour plot
PAIRED = 6  # hyperparameters at most in plots of all pairs; more take a browser many seconds
LARGEST_FLOAT32 = float(np.finfo(np.float32).max)
ROW_PIXELS = 150  # in plots of all pairs
STEPS = 50  # evaluations shown of a trial at most
MOST = {"history": 2_000, "parallel": 300, "slice": 1_000, "contour": 300, "intermediate": 200, "timeline": 1_000}


class StudyOf(Protocol):
    """Makes a study of Optuna that has these trials and no others."""

    def __call__(self, trials: list[FrozenTrial], /) -> Study:
        """Return the study."""


def draw(
    kind: str, trials: list[FrozenTrial], study_of: StudyOf, searched: list[str], metric: str, maximize: bool
) -> str:
    """Return a plot of a study, as plotly's JSON of at most MAX_BYTES. It has no `<` and no `>`.

    Args:
        kind: A name of KINDS or OTHER_KINDS.
        trials: The study's trials, by number.
        study_of: Makes a study of some of them.
        searched: The hyperparameters with more than one value.
        metric: The objective's name, for the axis.
        maximize: Whether a higher value is better.

    Raises:
        ValueError: With a sentence, for an unknown kind or when there is not enough to draw yet.
    """
    choice = choose(kind, trials, study_of, searched)
    limit = _limit(kind, len(choice.names), len(choice.drawn))
    while True:
        shown = choice.shown(limit, maximize)
        figure = _figure(kind, shown, choice.drawn, study_of, choice.names, metric, maximize)
        _annotate(figure, choice.notes(shown))
        text = str(figure.to_json())
        if len(text) <= MAX_BYTES:
            return text
        if len(shown) <= LEAST or kind == "importance":
            raise ValueError(f"the {kind} plot needs a space with fewer or shorter choices: it has {len(text):,} bytes")
        limit = max(LEAST, len(shown) // 3)


@dataclass(frozen=True)
class Choice:
    """What a plot is drawn of.

    Attributes:
        kind: The plot's.
        drawn: The trials that belong into it, which may be too many.
        names: The hyperparameters in it.
        note: Words on the hyperparameters that are left out.
    """

    kind: str
    drawn: list[FrozenTrial]
    names: list[str]
    note: list[str]

    def shown(self, limit: int | None, maximize: bool) -> list[FrozenTrial]:
        """Return the trials that the plot shows; `limit`: None for as many as its kind may have."""
        if self.kind == "importance":
            # It compares the best trials with all, so a choice that holds more of the best would mislead it.
            return spread(self.drawn, WEIGHED)
        most = _limit(self.kind, len(self.names), len(self.drawn)) if limit is None else limit
        return thin(self.drawn, most, maximize)

    def notes(self, shown: list[FrozenTrial]) -> list[str]:
        """Return the words for what the plot does not show."""
        return [*self.note, *_thinned(self.kind, shown, self.drawn)]


def choose(kind: str, trials: list[FrozenTrial], study_of: StudyOf, searched: list[str]) -> Choice:
    """Return what a plot is to be drawn of; the arguments and the error are those of `draw`."""
    if kind not in (*KINDS, *OTHER_KINDS):
        raise ValueError(f"a plot is one of {', '.join(KINDS)}, not {kind}")
    complete = [t for t in trials if t.state == TrialState.COMPLETE and math.isfinite(t.value or 0.0)]
    lacking = _lacking(kind, trials, complete, len(searched))
    if lacking:
        raise ValueError(f"the {kind} plot needs {lacking}")
    evaluated = [t for t in trials if t.intermediate_values and t.state != TrialState.FAIL]
    drawn = {"timeline": trials, "intermediate": evaluated}.get(kind, complete)
    if kind not in ("contour", "rank") or len(searched) <= PAIRED:
        return Choice(kind, drawn, searched, [])
    weighed = study_of([copied(trial) for trial in spread(complete, WEIGHED)])
    names = list(importance.get_param_importances(weighed, params=searched))[:PAIRED]
    return Choice(kind, drawn, names, [f"the {PAIRED} of {len(searched)} hyperparameters that matter most"])


def _limit(kind: str, dimensions: int, trials: int) -> int:
    """Return how many trials a plot may show."""
    pairs = max(1, dimensions * (dimensions - 1))
    points = {
        "slice": POINTS // max(1, dimensions),
        "rank": PAIRED_POINTS // pairs,
        "contour": math.isqrt(CELLS // pairs),
    }
    return max(LEAST, min(MOST.get(kind, trials), points.get(kind, trials)))


def _figure(
    kind: str,
    shown: list[FrozenTrial],
    drawn: list[FrozenTrial],
    study_of: StudyOf,
    names: list[str],
    metric: str,
    maximize: bool,
) -> Figure:
    """Draw `shown`, which was chosen of `drawn`."""
    if kind == "history":
        return _history(shown, drawn, metric, maximize)
    study = study_of([copied(trial) for trial in shown])
    if kind == "intermediate":
        return visualization.plot_intermediate_values(study)
    if kind == "edf":
        return visualization.plot_edf(study, target_name=metric)
    if kind == "timeline":
        figure = visualization.plot_timeline(study)
        for bar in figure.select_traces(selector={"type": "bar"}):  # a bar is thinner than a pixel where there are many
            bar.marker.line = {"width": 1, "color": bar.marker.color}
        return figure
    plots: dict[str, Callable[..., Any]] = {
        "importance": visualization.plot_param_importances,
        "parallel": visualization.plot_parallel_coordinate,
        "slice": visualization.plot_slice,
        "contour": visualization.plot_contour,
        "rank": visualization.plot_rank,
    }
    figure = plots[kind](study, params=names, target_name=metric)
    if kind in ("contour", "rank") and len(names) > 4:  # else the names of the axes overlap
        figure.update_layout(height=ROW_PIXELS * len(names))
    for grid in figure.select_traces(selector={"type": "contour"}):
        if grid.z is not None:
            scores = np.asarray(grid.z, dtype=np.float64)  # undefined ones become NaN
            grid.z = scores.clip(-LARGEST_FLOAT32, LARGEST_FLOAT32).astype(np.float32)  # half the bytes will do
    return figure


def _history(shown: list[FrozenTrial], complete: list[FrozenTrial], metric: str, maximize: bool) -> Figure:
    """Draw the scores of some trials, and the best score so far of all."""
    steps = best_so_far(complete, maximize)
    figure = Figure(layout={"title": {"text": "Optimization History Plot"}})
    figure.update_layout(xaxis_title="Trial", yaxis_title=metric)
    figure.add_trace(Scatter(x=[t.number for t in shown], y=[t.value for t in shown], mode="markers", name=metric))
    x, y = [t.number for t in steps], [t.value for t in steps]
    figure.add_trace(
        Scatter(x=[*x, complete[-1].number], y=[*y, y[-1]], mode="lines", line={"shape": "hv"}, name="Best Value")
    )
    return figure


def best_so_far(complete: list[FrozenTrial], maximize: bool) -> list[FrozenTrial]:
    """Return the trials that were each better than all before them, the last one among them; a choice of very many."""
    best: list[FrozenTrial] = []
    for trial in complete:
        if not best or (_value(trial) > _value(best[-1]) if maximize else _value(trial) < _value(best[-1])):
            best.append(trial)
    return spread(best, MOST["history"])


def _value(trial: FrozenTrial) -> float:
    return trial.value or 0.0


def copied(trial: FrozenTrial) -> FrozenTrial:
    """Return a trial with at most STEPS of its intermediate values, and its number as its id.

    Importance tells trials apart by their ids, and trials that this process created have none.
    """
    steps = trial.intermediate_values
    return FrozenTrial(
        number=trial.number,
        trial_id=trial.number,
        state=trial.state,
        value=None,
        values=trial.values,
        datetime_start=trial.datetime_start,
        datetime_complete=trial.datetime_complete,
        params=trial.params,
        distributions=trial.distributions,
        user_attrs=trial.user_attrs,
        system_attrs=trial.system_attrs,
        intermediate_values={step: steps[step] for step in spread(sorted(steps), STEPS)},
    )


def _thinned(kind: str, shown: list[FrozenTrial], drawn: list[FrozenTrial]) -> list[str]:
    """Return the words that a plot of fewer trials needs."""
    words = []
    if kind == "intermediate" and any(len(trial.intermediate_values) > STEPS for trial in shown):
        words.append(f"at most {STEPS} evaluations of each")
    if len(shown) == len(drawn):
        return words
    which = "an even sample" if kind == "importance" else "the best, and an even sample of the others"
    noun = "trials" if kind in ("timeline", "intermediate") else "complete trials"
    return [f"{len(shown):,} of {len(drawn):,} {noun} shown: {which}", *words]


def _annotate(figure: Figure, note: list[str]) -> None:
    """Write under the title what the plot does not show."""
    if note:
        figure.update_layout(title_subtitle_text="; ".join(note))


def _lacking(kind: str, trials: list[FrozenTrial], complete: list[FrozenTrial], searched: int) -> str | None:
    """Return the words for what a plot still needs, or None when it can be drawn."""
    if kind == "timeline":
        return None if trials else "a trial that has started; wait for the first"
    if kind == "intermediate":
        evaluated = any(t.intermediate_values and t.state != TrialState.FAIL for t in trials)
        return None if evaluated else "an evaluation of a trial that did not fail; wait for the first"
    least = 2 if kind in ("importance", "contour", "rank") else 1
    if len(complete) < least:
        return f"{least} complete trial{'s' if least > 1 else ''}; there {'is' if len(complete) == 1 else 'are'} " + (
            str(len(complete) or "none yet")
        )
    dimensions = {"history": 0, "edf": 0, "contour": 2, "rank": 2}.get(kind, 1)
    if searched < dimensions:
        return f"{dimensions} hyperparameter{'s' if dimensions > 1 else ''} with more than one value in the space"
    if kind == "importance" and len({t.value for t in complete}) < 2:
        return "complete trials with different scores"
    return None
