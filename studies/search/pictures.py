"""The plots of a study as PNG pictures, drawn with matplotlib: no browser and no network is needed for them.

`Search.picture` draws them on request. They show the trials that the plots of `figures` show.
"""

import io
import warnings
from collections.abc import Callable
from typing import Any

import matplotlib
import numpy as np
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from optuna.exceptions import ExperimentalWarning
from optuna.study import Study
from optuna.trial import FrozenTrial
from optuna.visualization import matplotlib as plots

from luthier.studies.search.figures import StudyOf, best_so_far, choose, copied

matplotlib.use("Agg")  # draws into memory

WIDTH, HEIGHT, DOTS = 10.0, 6.0, 120  # inches, and dots an inch
LARGEST = 20.0  # inches of a side
CELL = 2.2  # inches of a side of one of many plots in a picture


def draw_picture(
    kind: str, trials: list[FrozenTrial], study_of: StudyOf, searched: list[str], metric: str, maximize: bool
) -> bytes:
    """Draw a plot of a study as PNG. One is drawn at a time in a process: matplotlib's state belongs to it.

    The arguments and the error are those of `figures.draw`.
    """
    choice = choose(kind, trials, study_of, searched)
    shown = choice.shown(None, maximize)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # of Optuna, on its plots
        warnings.simplefilter("ignore", UserWarning)  # of matplotlib, on layouts that do not fit and glyphs of no font
        if kind == "history":
            axes = _history(shown, best_so_far(choice.drawn, maximize), choice.drawn[-1], metric)
        else:
            axes = _of_optuna(kind, study_of([copied(trial) for trial in shown]), choice.names, metric)
        figure = np.asarray(axes).flat[0].figure
        try:
            return _saved(figure, kind, len(choice.names), choice.notes(shown))
        finally:
            pyplot.close(figure)


def _history(shown: list[FrozenTrial], best: list[FrozenTrial], last: FrozenTrial, metric: str) -> Axes:
    """Draw the scores of some trials, and the best score so far of all."""
    _, axes = pyplot.subplots()
    axes.set(title="Optimization History Plot", xlabel="Trial", ylabel=metric)
    axes.scatter([trial.number for trial in shown], [trial.value or 0.0 for trial in shown], label=metric, s=12)
    x, y = [trial.number for trial in best], [trial.value or 0.0 for trial in best]
    axes.step([*x, last.number], [*y, y[-1]], where="post", color="tab:red", label="Best Value")
    axes.legend()
    return axes


def _of_optuna(kind: str, study: Study, names: list[str], metric: str) -> Any:
    """Return the axes of a plot that Optuna draws, one or many."""
    if kind == "intermediate":
        return plots.plot_intermediate_values(study)
    if kind == "timeline":
        return plots.plot_timeline(study)
    drawers: dict[str, Callable[..., Any]] = {
        "importance": plots.plot_param_importances,
        "parallel": plots.plot_parallel_coordinate,
        "slice": plots.plot_slice,
        "contour": plots.plot_contour,
    }
    return drawers[kind](study, params=names, target_name=metric)


def _saved(figure: Figure, kind: str, names: int, notes: list[str]) -> bytes:
    sides = {"slice": (CELL * names + 2, 4.0), "contour": (CELL * names + 2, CELL * names + 2)}
    width, height = sides.get(kind, (WIDTH, HEIGHT))
    figure.set_size_inches(min(LARGEST, max(WIDTH, width)), min(LARGEST, max(4.0, height)))
    if notes:
        figure.text(0.5, 0.005, "; ".join(notes), ha="center", va="bottom", fontsize="small")
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=DOTS, bbox_inches="tight")
    return file.getvalue()
