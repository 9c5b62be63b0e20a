"""Curves in a terminal: on one scale, never wider than their column; and the last lines of a log."""

from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console

from luthier.service.cli.curves import PLAIN_BLOCKS, LatestTrials, curves_table, sparkline
from luthier.service.cli.log_lines import tail
from luthier.service.schemas import StepView, TrialView
from luthier.studies.protocol import TrialState

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def trial(number: int, *values: float | None, state: TrialState = TrialState.COMPLETE) -> TrialView:
    steps = [StepView(step=step, metrics={"accuracy": value}) for step, value in enumerate(values, 1)]
    params = {"learning_rate": 1.234e-5, "batch_size": 32, "epochs": 3, "weight_decay": 0.01, "freeze_depth": 3}
    started = NOW - timedelta(hours=30)
    return TrialView(number=number, state=state, params=params, value=values[-1], values=steps, started_at=started)


def test_scores_are_blocks_between_the_lowest_and_the_highest() -> None:
    assert sparkline([0.0, 0.5, 1.0], 0.0, 1.0) == "▁▅█"
    assert sparkline([0.0, None, 9.0, -9.0], 0.0, 1.0, plain=True) == "_ #_"
    assert sparkline([0.3, 0.3], 0.3, 0.3) == "▁▁"
    assert sparkline([], 0.0, 1.0) == ""
    many = [number / 999 for number in range(1000)]
    curve = sparkline(many, 0.0, 1.0, plain=True)
    assert len(curve) == 16
    assert curve[-1] == PLAIN_BLOCKS[-1]
    assert list(curve) == sorted(curve, key=PLAIN_BLOCKS.index)


@pytest.mark.parametrize(("width", "has_configuration"), [(60, False), (120, True)])
def test_a_table_of_curves_fits_the_terminal(width: int, has_configuration: bool) -> None:
    trials = [trial(9_999, *[0.1] * 400), trial(10_000, 0.5, 0.25, None, state=TrialState.RUNNING)]
    trials[1].state = TrialState.CANCELLED
    screen = Console(width=width, record=True, file=None, force_terminal=False)
    with screen.capture() as captured:
        screen.print(curves_table(trials, "accuracy_of_some_long_name", NOW, width))
        screen.print(curves_table(trials, "accuracy", NOW, width))
    lines = captured.get().splitlines()
    assert len(lines) == 6, lines
    assert max(map(len, lines)) <= width
    assert ("batch_size 32" in lines[-1]) is has_configuration
    assert "30:00:00" in lines[-1] or "30:00:00" in lines[-2] or trials[0].seconds is None


def test_the_latest_trials_are_shown_once() -> None:
    latest = LatestTrials(3)
    ended = [trial(number, 0.5) for number in range(5)]
    assert [t.number for t in latest.after([], ended)] == [2, 3, 4]
    running = [trial(3, 0.5, state=TrialState.RUNNING), trial(6, 0.5, state=TrialState.RUNNING)]
    assert [(t.number, t.state) for t in latest.after(running, [])] == [(3, "running"), (4, "complete"), (6, "running")]
    assert [t.number for t in latest.after(running * 2, [trial(7, 0.1)])] == [3, 6, 6]


def test_the_last_lines_of_a_log_are_whole() -> None:
    assert tail("a\nb\nc\n", 2) == "b\nc\n"
    assert tail("a\nb", 1) == "b"
    assert (tail("a\n", 0), tail("a\n", None), tail("a\n", 9)) == ("", "a\n", "a\n")
