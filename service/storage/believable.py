"""Numbers of rows in SQL that can be believed: bounds on what is summed, compared or stored.

Budgets, views and leases call it. A row may hold any number, as older versions stored what workers said; what cannot
be true counts as none, as it does where a row is read (`column_types.py`). Nothing is changed here.
"""

from functools import cache
from typing import Any

from sqlalchemy import Double, case, func, literal, type_coerce
from sqlalchemy.sql.expression import ColumnElement

from luthier.service.storage.tables import AssignmentRow
from luthier.studies.protocol import TrialState
from luthier.studies.wire import LARGEST_SCORE, LONGEST_SECONDS

MOST_GPUS = 1024.0  # more is no number of GPUs of one trial


@cache
def busy_seconds() -> ColumnElement[float]:
    """Return the SQL expression of the seconds that workers were busy with an assignment, over all its attempts.

    A sum of any number of them stays finite.
    """
    return seconds_of(AssignmentRow.seconds) + seconds_of(AssignmentRow.seconds_before)


@cache
def gpus() -> ColumnElement[float]:
    """Return the SQL expression of the GPUs, or the share of one, that an assignment's attempt counts for.

    That is what it reserved; 1 where it reserved nothing: without a GPU, and for all work but trials.
    """
    share = type_coerce(AssignmentRow.gpu_share, Double)
    return case((share.between(0.0, MOST_GPUS), share), else_=literal(1.0, Double))


@cache
def gpu_seconds() -> ColumnElement[float]:
    """Return the SQL expression of an assignment's GPU seconds: busy seconds times `gpus`, of each attempt its own.

    A sum of any number of them stays finite. `Leases` moves what an attempt used at another share than its present one
    into `gpu_seconds_before`.
    """
    return seconds_of(AssignmentRow.gpu_seconds_before) + seconds_of(AssignmentRow.seconds) * gpus()


def gpu_seconds_of(row: AssignmentRow) -> float:
    """Return the GPU seconds of an assignment's row, as `gpu_seconds` has them in SQL."""
    share = row.gpu_share
    return row.gpu_seconds_before + row.seconds * (share if share is not None and 0 <= share <= MOST_GPUS else 1.0)


@cache
def committed_gpu_seconds() -> ColumnElement[float]:
    """Return the SQL expression of the GPU seconds that limits count: used ones, or those expected of what runs."""
    expected = seconds_of(AssignmentRow.seconds_expected)
    is_more = (AssignmentRow.state == TrialState.RUNNING) & (expected > seconds_of(AssignmentRow.seconds))
    at_its_end = seconds_of(AssignmentRow.gpu_seconds_before) + expected * gpus()
    return case((is_more, at_its_end), else_=gpu_seconds())


def seconds_of(column: Any) -> ColumnElement[float]:
    """Return the SQL expression of a column of seconds; 0 where it is negative, no number, or centuries."""
    seconds = type_coerce(column, Double)
    return case((seconds.between(0.0, LONGEST_SECONDS), seconds), else_=literal(0.0, Double))


def possible_seconds(said: float, now: ColumnElement[float], slack: float) -> ColumnElement[float]:
    """Return the SQL expression of the seconds that a worker can have been busy with its present attempt.

    That is what it says, but no more than the time since the assignment was first handed out, without its earlier
    attempts. Never less than it was before: where the clock was set back, the time since then says nothing.

    Args:
        said: the worker's own seconds.
        now: the expression of the current instant.
        slack: seconds by which the two clocks may differ.
    """
    before = seconds_of(AssignmentRow.seconds)
    passed = now - func.coalesce(AssignmentRow.started_at, now) - seconds_of(AssignmentRow.seconds_before) + slack
    told = literal(min(said, LONGEST_SECONDS), Double)
    return case((told <= passed, told), (passed > before, passed), else_=before)


def is_score(column: Any) -> ColumnElement[bool]:
    """Return the SQL condition that a column holds a score: finite, and so small that sums of scores are finite."""
    is_between: ColumnElement[bool] = column.between(-LARGEST_SCORE, LARGEST_SCORE)
    return is_between
