"""What Optuna lacks of a study, written there from our rows: evaluations, ends, whole trials.

`search_pool.py` calls it for searches that are open. Our rows are always written first, so they have everything. No
transaction of ours is open while Optuna is written to.
"""

import time
from collections.abc import Callable

from sqlalchemy import func, select

from luthier.service.storage.database import Database
from luthier.service.storage.tables import AssignmentRow, ReportRow
from luthier.studies.protocol import FINISHED, AssignmentKind, Reason, TrialState
from luthier.studies.search.restoring import KnownTrial
from luthier.studies.search.search import Search
from luthier.studies.search.study_trials import Contradicted

PAUSE_SECONDS = 0.005  # between two of many writes: the lock on SQLite is not fair, and others write too
KEEP_SECONDS = 10.0  # between two looks at whether the turn is still the own one


def tell_ends(database: Database, study_id: int, search: Search) -> None:
    """Tell Optuna of trials that ended in our rows only, after a crash or a failure of its storage.

    A trial that Optuna has and our rows lack is not touched here: the next `ask` adopts it.
    """
    unfinished = search.unfinished()
    if not unfinished:
        return
    with database.reading() as session:
        ended = session.scalars(
            select(AssignmentRow).where(
                AssignmentRow.study_id == study_id,
                AssignmentRow.kind == AssignmentKind.TRAIN,
                AssignmentRow.number.in_(unfinished),
                AssignmentRow.state.in_(FINISHED),
            )
        ).all()
    for row in ended:
        tell(database, search, row)
        time.sleep(PAUSE_SECONDS)


def tell(database: Database, search: Search, row: AssignmentRow) -> None:
    """Tell Optuna how a trial ended, after the evaluations that it lacks."""
    replay_reports(database, search, row, row.step)
    search.tell(row.number, _end(row), row.value, _reason(row), _seconds(row))


def check_end(database: Database, search: Search, row: AssignmentRow) -> None:
    """Look whether a trial that Optuna takes for ended still runs. Raises Contradicted where it does."""
    if search.has_ended(row.number):
        with database.reading() as session:
            state = session.scalar(select(AssignmentRow.state).where(AssignmentRow.id == row.id))
        if state not in FINISHED:
            raise Contradicted(f"trial {row.number} has ended for Optuna, and is {state}")


def paused(database: Database, study_id: int, search: Search) -> frozenset[int]:
    """Return the numbers of the trials that are paused now, once Optuna has all of their evaluations.

    A service ended between our rows and Optuna's, perhaps another one than this.
    """
    with database.reading() as session:
        rows = session.scalars(
            select(AssignmentRow).where(
                AssignmentRow.study_id == study_id,
                AssignmentRow.kind == AssignmentKind.TRAIN,
                AssignmentRow.state == TrialState.PAUSED,
            )
        ).all()
    for row in rows:
        replay_reports(database, search, row, row.step)
    return frozenset(row.number for row in rows)


def forgotten(database: Database, study_id: int) -> frozenset[int]:
    """Return the numbers of the trials from which a search must learn nothing: a user deleted them, or none ever ran.

    The second kind are configurations that the inspection found impossible.
    """
    never_ran = (AssignmentRow.state == TrialState.FAILED) & (AssignmentRow.attempt == 0)
    with database.reading() as session:
        numbers = select(AssignmentRow.number).where(
            AssignmentRow.study_id == study_id,
            AssignmentRow.kind == AssignmentKind.TRAIN,
            AssignmentRow.deleted | never_ran,
        )
        return frozenset(session.scalars(numbers))


def _reason(row: AssignmentRow) -> Reason | None:
    return Reason(row.reason) if row.reason in set(Reason) else None


def _seconds(row: AssignmentRow) -> float | None:
    """Return the seconds that a worker was busy with a trial; None where they say nothing of its configuration.

    That is where a part of it was trained twice, since a worker was lost, and where it ran in another study.
    """
    return None if row.losses or row.taken_from is not None else row.seconds + row.seconds_before


def _end(row: AssignmentRow) -> TrialState:
    """Return a trial's state for Optuna: what an older version took for a score may be none."""
    state = TrialState(row.state)
    return TrialState.FAILED if state is TrialState.COMPLETE and row.value is None else state


def replay_reports(database: Database, search: Search, row: AssignmentRow, last: int) -> None:
    """Tell Optuna of the evaluations up to step `last` that only our rows have.

    A service ended between the two writes, and the trial continued from a checkpoint that came with the report.
    """
    if last < 1 or search.has_report(row.number, last):
        return
    with database.reading() as session:
        statement = select(ReportRow).where(ReportRow.assignment_id == row.id, ReportRow.step <= last)
        reports = session.scalars(statement.order_by(ReportRow.step)).all()
    for report in reports:
        value = report.metrics.get(search.spec.objective.metric)
        if value is not None:
            search.report(row.number, report.step, value)


def lacks_trials(database: Database, study_id: int, search: Search) -> bool:
    """Return whether our rows have trials that Optuna lacks."""
    with database.reading() as session:
        ours = select(func.count()).where(
            AssignmentRow.study_id == study_id, AssignmentRow.kind == AssignmentKind.TRAIN
        )
        count = session.scalar(ours) or 0
    return count > search.count() or not search.is_dense()


def restore(database: Database, study_id: int, search: Search, keep: Callable[[], None], anew: bool) -> None:
    """Write the trials into Optuna that only our rows have.

    Args:
        database: where our rows are.
        study_id: the study; the caller has its turn.
        search: its search, opened anew.
        keep: keeps the turn; it raises where the turn is another request's. Called now and then.
        anew: write all of them anew, as some have wrong numbers.
    """
    kept_at = time.monotonic()

    def keep_now_and_then() -> None:
        nonlocal kept_at
        time.sleep(PAUSE_SECONDS)
        if time.monotonic() - kept_at > KEEP_SECONDS:
            kept_at = time.monotonic()
            keep()

    search.restore(_known_trials(database, study_id, search.spec.objective.metric), keep_now_and_then, anew)


def _known_trials(database: Database, study_id: int, metric: str) -> list[KnownTrial]:
    """Return a study's trials by number, with their finite scores."""
    is_trial = (AssignmentRow.study_id == study_id, AssignmentRow.kind == AssignmentKind.TRAIN)
    scores: dict[int, dict[int, float]] = {}
    with database.reading() as session:
        rows = session.scalars(select(AssignmentRow).where(*is_trial).order_by(AssignmentRow.number)).all()
        reports = select(ReportRow.assignment_id, ReportRow.step, ReportRow.metrics).join(
            AssignmentRow, AssignmentRow.id == ReportRow.assignment_id
        )
        for assignment_id, step, metrics in session.execute(reports.where(*is_trial).order_by(ReportRow.step)):
            if metrics.get(metric) is not None:
                scores.setdefault(assignment_id, {})[step] = metrics[metric]
    return [
        KnownTrial(
            number=row.number,
            params=row.params,
            state=_end(row),
            value=row.value,
            reason=_reason(row),
            scores=scores.get(row.id, {}),
            started_at=row.started_at or row.created_at,
            finished_at=row.finished_at,
            forgotten=row.deleted,
            seconds=_seconds(row),
        )
        for row in rows
    ]
