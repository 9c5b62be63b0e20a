"""Numbers of rows in SQL that can be believed: bounds on what is summed, compared or stored.

Budgets, views and leases call it. A row may hold any number, as older versions stored what workers said; what cannot
be true counts as none, as it does where a row is read (`column_types.py`). Nothing is changed here.
"""

from typing import Any

from sqlalchemy import Double, case, func, literal, type_coerce
from sqlalchemy.sql.expression import ColumnElement

from luthier.service.storage.tables import AssignmentRow
from luthier.studies.wire import LARGEST_SCORE, LONGEST_SECONDS


def busy_seconds() -> ColumnElement[float]:
    """Return the SQL expression of the seconds that workers were busy with an assignment, over all its attempts.

    A sum of any number of them stays finite.
    """
    return seconds_of(AssignmentRow.seconds) + seconds_of(AssignmentRow.seconds_before)


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
