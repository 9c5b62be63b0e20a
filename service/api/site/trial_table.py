"""The table of a study's trials: sorted, by state, with the columns one wants, a page at a time, with small curves.

A page of it reads its own rows and their thinned curves, and nothing of the other trials.
"""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import HTMLResponse
from sqlalchemy import case, func, select
from sqlalchemy.orm import Session
from sqlalchemy.sql.expression import ColumnElement

from luthier.service.api.context import ServiceDep
from luthier.service.api.site import curves
from luthier.service.api.site.page import PageRoute, show
from luthier.service.api.trial_views import trials_without_values
from luthier.service.errors import Invalid
from luthier.service.lifecycle import study_rows
from luthier.service.storage.tables import AssignmentRow, StudyRow
from luthier.studies.dimensions import Range
from luthier.studies.hyperparameters import HYPERPARAMETERS
from luthier.studies.protocol import FINISHED, AssignmentKind, TrialState

router = APIRouter(include_in_schema=False, route_class=PageRoute, prefix="/studies/{name}")
ROWS = 40  # of a page
FACTS = {  # column -> its words, besides the score and the configuration
    "seconds": "Time",
    "peak_memory_bytes": "Memory",
    "examples_per_second": "Examples/s",
    "worker": "Worker",
    "attempt": "Attempts",
    "seed": "Seed",
    "started_at": "Started",
}
SORTED = {"number": AssignmentRow.number, "value": AssignmentRow.value, "state": AssignmentRow.state} | {
    name: getattr(AssignmentRow, name) for name in FACTS
}
FEW = 6  # columns of hyperparameters, where nobody has chosen


@dataclass(frozen=True)
class Table:
    """What the table shows, as its address says."""

    state: TrialState | None = None
    sort: str = "number"
    columns: tuple[str, ...] = ()
    page: int = 1

    @property
    def query(self) -> dict[str, Any]:
        """The same as the query of an address."""
        sort = None if self.sort == "number" else self.sort
        page = None if self.page == 1 else self.page
        return {"state": self.state, "sort": sort, "column": list(self.columns), "page": page}


def _table(
    state: TrialState | Literal[""] = "",
    sort: Annotated[str, Query(max_length=60)] = "",
    column: Annotated[list[str] | None, Query(max_length=60)] = None,
    page: Annotated[int, Query(ge=1, le=1_000_000)] = 1,
) -> Table:
    return Table(state or None, sort or "number", tuple(column or ()), page)


TableQuery = Annotated[Table, Depends(_table)]


@router.get("/table")
def table(name: str, request: Request, service: ServiceDep, query: TableQuery) -> HTMLResponse:
    """Show the table of a study's trials. Raises NotFound."""
    with service.core.database.reading() as session:
        shown = values(session, study_rows.find(session, name), query)
    return show(request, "trials_table.html", **shown)


def values(session: Session, study: StudyRow, table: Table) -> dict[str, Any]:
    """Return what the table shows of a study. Raises Invalid for an order by a column that it lacks."""
    free = _searched(study)
    known = {*SORTED, *HYPERPARAMETERS, "model", *free}
    if table.sort.removeprefix("-") not in known:
        raise Invalid(f"sort: a table of trials has no column {table.sort[:60]}; click on the head of one.")
    of_study = (AssignmentRow.study_id == study.id, AssignmentRow.kind == AssignmentKind.TRAIN, ~AssignmentRow.deleted)
    by_state = select(AssignmentRow.state, func.count()).where(*of_study).group_by(AssignmentRow.state)
    counts: dict[str, int] = {str(state): int(count) for state, count in session.execute(by_state)}
    total = counts.get(table.state, 0) if table.state else sum(counts.values())
    rows = select(AssignmentRow).where(*of_study)
    if table.state:
        rows = rows.where(AssignmentRow.state == table.state)
    page = session.scalars(_ordered(rows, study, table.sort).offset((table.page - 1) * ROWS).limit(ROWS)).all()
    metric = study.spec.objective.metric if study.is_readable else "score"
    read = curves.read(session, page, curves.SPARKS)
    sparks = {row.number: curves.spark(curves.of_metric(read[row.id], metric)) for row in page}
    return {
        "name": study.name,
        "trials": trials_without_values(session, page),
        "sparks": sparks,
        "table": table,
        "counts": counts,
        "total": total,
        "last": -(-total // ROWS),
        "states": [state for state in TrialState if counts.get(state)],
        "parameters": free,
        "facts": FACTS,
        "columns": tuple(name for name in table.columns if name in known) or ("seconds", *free[:FEW]),
        "sortable": known,
        "lives": any(state not in FINISHED for state in counts) or study.finished_at is None,
    }


def _searched(study: StudyRow) -> list[str]:
    """Return the hyperparameters that a study varies; of one that cannot be read, none."""
    return list(study.spec.space.free()) if study.is_readable else []


def _ordered(rows: Any, study: StudyRow, sort: str) -> Any:
    key = sort.removeprefix("-")
    column: ColumnElement[Any] = SORTED[key] if key in SORTED else _parameter(study, key)
    lacking = case((column.is_(None), 1), else_=0)  # both databases: what has none comes last, either way
    return rows.order_by(lacking, column.desc() if sort.startswith("-") else column, AssignmentRow.number)


def _parameter(study: StudyRow, name: str) -> ColumnElement[Any]:
    """Return the SQL expression of a hyperparameter's value."""
    value = AssignmentRow.params[name]
    if study.external:
        is_number = study.is_readable and isinstance(study.spec.space.root.get(name), Range)
    else:
        is_number = name in HYPERPARAMETERS and HYPERPARAMETERS[name].kind in ("float", "int")
    ordered: ColumnElement[Any] = value.as_float() if is_number else value.as_string()
    return ordered
