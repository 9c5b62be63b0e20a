"""Learning curves in a terminal: a line of small blocks for each of the latest trials, all on one scale.

The live pictures of `luthier run` and `luthier watch` have them.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from luthier.service.cli.output import configuration, duration, score
from luthier.studies.protocol import FINISHED

if TYPE_CHECKING:
    from rich.table import Table

    from luthier.service.schemas import TrialView

BLOCKS = "▁▂▃▄▅▆▇█"
PLAIN_BLOCKS = "_.-:=+*#"  # where the terminal has no Unicode
POINTS = 16  # of a curve
WIDE = 90  # columns of a terminal from which on configurations are shown
SHOWN = 12  # trials in the picture


class LatestTrials:
    """The trials that a picture shows: those that run, and before them the latest that ended."""

    def __init__(self, shown: int = SHOWN) -> None:
        """Begin without a trial; `shown` is the most that a picture has room for."""
        self._shown = shown
        self._ended: dict[int, TrialView] = {}

    def after(self, running: Sequence["TrialView"], ended: Sequence["TrialView"]) -> list["TrialView"]:
        """Return the trials to show, by number, after further ones have ended."""
        for trial in ended:
            self._ended.pop(trial.number, None)
            self._ended[trial.number] = trial
        for trial in running:
            self._ended.pop(trial.number, None)
        for number in list(self._ended)[: -self._shown]:
            del self._ended[number]
        first = list(running)[-self._shown :]
        room = self._shown - len(first)
        return sorted([*first, *(list(self._ended.values())[-room:] if room else [])], key=lambda t: t.number)


def curves_table(trials: Sequence["TrialView"], metric: str, now: datetime, width: int, plain: bool = False) -> "Table":
    """Return a table of trials with their curves, which fits 60 columns.

    Args:
        trials: to show.
        metric: of the objective, whose scores are the curves.
        now: the present time, in UTC.
        width: columns of the terminal.
        plain: the terminal has no Unicode.
    """
    from rich.table import Table

    low, high = _bounds(trials, metric)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("trial", "state", "step", metric[:8], "curve", "time"):
        table.add_column(heading, justify="left" if heading in ("state", "curve") else "right", no_wrap=True)
    if width >= WIDE:
        table.add_column("configuration", no_wrap=True, overflow="ellipsis")
    for trial in trials:
        values = [step.metrics.get(metric) for step in trial.values]
        is_over = trial.state in FINISHED
        seconds = trial.seconds if is_over else (now - trial.started_at).total_seconds() if trial.started_at else None
        shown = trial.value if is_over or not values else values[-1]
        row = [str(trial.number), trial.state.value, str(trial.values[-1].step if trial.values else 0), score(shown)]
        row += [sparkline(values, low, high, plain), duration(seconds)]
        table.add_row(*row, *([configuration(trial.params)] if width >= WIDE else []), style="dim" if is_over else None)
    return table


def sparkline(values: Sequence[float | None], low: float, high: float, plain: bool = False) -> str:
    """Return scores as blocks between a lowest and a highest one, at most POINTS of them; a space for one that is none.

    Of more scores each block shows the last of its part.
    """
    count = min(len(values), POINTS)
    points = [values[(i + 1) * len(values) // count - 1] for i in range(count)]
    blocks = PLAIN_BLOCKS if plain else BLOCKS
    scale = (len(blocks) - 1) / (high - low) if high > low else 0.0
    return "".join(" " if v is None else blocks[round((min(max(v, low), high) - low) * scale)] for v in points)


def _bounds(trials: Iterable["TrialView"], metric: str) -> tuple[float, float]:
    scores = [value for trial in trials for step in trial.values if (value := step.metrics.get(metric)) is not None]
    return min(scores, default=0.0), max(scores, default=0.0)
