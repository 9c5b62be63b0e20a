"""The plot of a champion's score over time, as plotly's JSON.

`api/schedules.py` calls it.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from luthier.service.schemas import RunView
from luthier.studies.schedule_runs import RunOutcome

RUNS = 1_000  # the latest; a plot has no more
WORDS = 200  # characters shown of a run's message


def draw_champion(name: str, metric: str, runs: Sequence[RunView]) -> str:
    """Draw the scores of the model in use, and of its challengers, on each run's test data.

    Args:
        name: The schedule's name.
        metric: The objective's metric.
        runs: Finished runs, oldest first, at most RUNS.
    """
    from plotly import graph_objects  # half a second

    promoted = [run for run in runs if run.outcome in (RunOutcome.FIRST, RunOutcome.PROMOTED)]
    judged = [run for run in runs if run.decision is not None]
    figure = graph_objects.Figure()
    figure.add_scatter(x=_times(runs), y=[run.score for run in runs], mode="lines+markers", name="model in use")
    figure.add_scatter(
        x=_times(judged),
        y=[(run.decision or {})["challenger"].get(metric) for run in judged],
        text=[(run.message or "")[:WORDS] for run in judged],
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
    if len({run.due_at for run in runs}) == 1:  # plotly would show milliseconds around it
        day = timedelta(days=1)
        figure.update_xaxes(range=[runs[0].due_at - day, runs[0].due_at + day])
        figure.update_yaxes(rangemode="tozero")
    if len(runs) == RUNS:
        figure.update_layout(title_subtitle_text=f"the latest {RUNS:,} runs")
    return str(figure.to_json())


def _times(runs: Sequence[RunView]) -> list[Any]:
    return [run.due_at for run in runs]
