"""The plot of a champion's score over time, as a plotly figure.

`api/schedules.py` calls it.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from luthier.service.schemas import RunView
from luthier.studies.schedule import RunOutcome

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

RUNS = 1_000  # the latest


def draw_champion(name: str, metric: str, runs: Sequence[RunView]) -> "Figure":
    """Draw the scores of the model in use, and of its challengers, on each run's test data.

    Args:
        name: The schedule's name.
        metric: The objective's metric.
        runs: Finished runs, oldest first.
    """
    from plotly import graph_objects  # half a second

    promoted = [run for run in runs if run.outcome is not RunOutcome.KEPT]
    judged = [run for run in runs if run.decision is not None]
    figure = graph_objects.Figure()
    figure.add_scatter(x=_times(runs), y=[run.score for run in runs], mode="lines+markers", name="model in use")
    figure.add_scatter(
        x=_times(judged),
        y=[(run.decision or {})["challenger"].get(metric) for run in judged],
        text=[run.message for run in judged],
        mode="markers",
        marker={"symbol": "circle-open", "size": 9},
        name="challenger",
    )
    figure.add_scatter(
        x=_times(promoted),
        y=[run.score for run in promoted],
        text=[run.study for run in promoted],
        mode="markers",
        marker={"symbol": "star", "size": 14},
        name="promoted",
    )
    figure.update_layout(title=f"{name}: {metric} on each run's test data", xaxis_title="due", yaxis_title=metric)
    return figure


def _times(runs: Sequence[RunView]) -> list[Any]:
    return [run.due_at for run in runs]
