"""The order of a listing of trials, and its pages: by a column, by a hyperparameter, or by a score.

`trials.py` calls it. Of all trials only the number and the value that orders them are read, and of a page's trials the
rest. Trials without a value come last, in both directions; equal ones by number.
"""

import base64
import binascii
import json
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, NamedTuple

from fastapi import Query
from sqlalchemy import Select
from sqlalchemy.orm import Session

from luthier.service.api.paging import OPAQUE
from luthier.service.errors import Invalid
from luthier.service.schemas import Fault
from luthier.service.storage.tables import AssignmentRow, ReportRow, StudyRow
from luthier.studies.hyperparameters import in_use
from luthier.studies.wire import LARGEST_SCORE

COLUMNS = {
    "number": (AssignmentRow.number,),
    "state": (AssignmentRow.state,),
    "value": (AssignmentRow.value,),
    "seconds": (AssignmentRow.seconds, AssignmentRow.seconds_before),
    "started_at": (AssignmentRow.started_at,),
    "finished_at": (AssignmentRow.finished_at,),
    "attempt": (AssignmentRow.attempt,),
    "worker": (AssignmentRow.worker,),
    "seed": (AssignmentRow.seed,),
    "reason": (AssignmentRow.reason,),
    "peak_memory_bytes": (AssignmentRow.peak_memory_bytes,),
    "examples_per_second": (AssignmentRow.examples_per_second,),
}
"""Key -> columns whose sum, or whose only value, orders the trials."""
PARAMS = "params."
TEXT = 100  # characters of a text that order it
Sort = Annotated[
    str | None,
    Query(
        max_length=200,
        description="A key, with - before it for the greatest first: number, value, state, seconds, started_at, "
        "finished_at, attempt, worker, seed, reason, peak_memory_bytes, examples_per_second, params.NAME, or a metric "
        "of the task, as it was at the trial's best evaluation. Trials without a value come last.",
    ),
]
Cursor = Annotated[
    str | None, Query(max_length=1000, description="`next_cursor` of the page before.", json_schema_extra=OPAQUE)
]


class Place(NamedTuple):
    """A trial's place in the order; tuples of Python compare as the listing does."""

    is_missing: bool
    is_text: bool
    key: Any  # a number or a text; 0 where it is missing
    number: int


class Order:
    """An order of trials, as a request asks for it."""

    def __init__(self, study: StudyRow, sort: str | None) -> None:
        """Read the request's `sort` (None: by number). Raises Invalid for a key that the study does not have."""
        text = sort or "number"
        self.descending = text.startswith("-")
        self.key = text.removeprefix("-")
        self.sort = text
        if self.key in COLUMNS:
            return
        known = [*COLUMNS, *(f"{PARAMS}{name}" for name in _parameters(study)), *_metrics(study)]
        if self.key not in known:
            message = f"no trial can be sorted by {self.key[:60]!r}; keys are {', '.join(known)}, and - turns one round"
            raise Invalid(f"sort: {message}", [Fault(path="sort", message=message)])

    def page(
        self, session: Session, rows: Select[Any], cursor: str | None, limit: int
    ) -> tuple[Sequence[AssignmentRow], str | None]:
        """Return a page of trials, and the cursor of the page after it (None on the last).

        Args:
            session: the transaction to read in.
            rows: all trials of the listing, as a query of their rows.
            cursor: the cursor of the request.
            limit: trials in a page.

        Raises:
            Invalid: the cursor is none of this order.
        """
        after = None if cursor is None else self._decoded(cursor)
        places = sorted(
            (place for place in self._places(session, rows) if after is None or self._rank(place) > self._rank(after)),
            key=self._rank,
        )
        numbers = [place.number for place in places[:limit]]
        found = {row.number: row for row in session.scalars(rows.where(AssignmentRow.number.in_(numbers)))}
        last = self._encoded(places[limit - 1]) if len(places) > limit else None
        return [found[number] for number in numbers if number in found], last

    def _places(self, session: Session, rows: Select[Any]) -> Iterable[Place]:
        number = AssignmentRow.number
        if self.key in COLUMNS:
            for row in session.execute(rows.with_only_columns(number, *COLUMNS[self.key])):
                values = row[1:]
                yield _place(sum(values) if len(values) > 1 else values[0], row[0])
        elif self.key.startswith(PARAMS):
            name = self.key.removeprefix(PARAMS)
            for row_number, params in session.execute(rows.with_only_columns(number, AssignmentRow.params)):
                yield _place(in_use(params).get(name) if isinstance(params, dict) else None, row_number)
        else:
            join = (ReportRow.assignment_id == AssignmentRow.id) & (ReportRow.step == AssignmentRow.best_step)
            scores = rows.with_only_columns(number, ReportRow.metrics).outerjoin(ReportRow, join)
            for row_number, metrics in session.execute(scores):
                yield _place((metrics or {}).get(self.key), row_number)

    def _rank(self, place: Place) -> tuple[bool, bool, "_Reversed | Any", int]:
        key = _Reversed(place.key) if self.descending else place.key
        is_text = place.is_text is not self.descending  # numbers before texts, and the other way round
        number = -place.number if self.descending and self.key == "number" else place.number
        return place.is_missing, is_text, key, number

    def _encoded(self, place: Place) -> str:
        text = json.dumps([self.sort, None if place.is_missing else place.key, place.number])
        return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")

    def _decoded(self, cursor: str) -> Place:
        try:
            text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii")
            sort, value, number = json.loads(text)
            is_value = value is None or (isinstance(value, int | float | str) and not isinstance(value, bool))
            if sort == self.sort and is_value and isinstance(number, int):
                return _place(value, number)
        except (binascii.Error, ValueError, TypeError, RecursionError):
            pass
        message = f"must be the next_cursor of an earlier page of the same listing, sorted by {self.sort}"
        raise Invalid(f"cursor: {message}", [Fault(path="cursor", message=message)])


class _Reversed:
    """A value that compares the other way round."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Reversed) and bool(self.value == other.value)

    def __lt__(self, other: "_Reversed") -> bool:
        return bool(other.value < self.value)

    def __hash__(self) -> int:
        return hash(self.value)


def _place(value: Any, number: int) -> Place:
    if isinstance(value, bool):
        value = str(value).lower()
    if isinstance(value, str):
        return Place(False, True, value[:TEXT], number)
    if isinstance(value, int | float) and abs(value) <= LARGEST_SCORE:
        return Place(False, False, value, number)
    return Place(True, False, 0, number)


def _parameters(study: StudyRow) -> list[str]:
    """Return the hyperparameters that the study's trials show."""
    if not study.is_readable:
        return []
    model = [] if len(study.spec.models) == 1 else ["model"]
    length = [] if study.inspection is None or study.inspection.max_length is None else ["max_length"]
    return list(dict.fromkeys([*model, *study.spec.space, *length]))


def _metrics(study: StudyRow) -> list[str]:
    """Return the metrics that the study's trials report."""
    return [metric.name for metric in study.spec.task_info.metrics] if study.is_readable else []
