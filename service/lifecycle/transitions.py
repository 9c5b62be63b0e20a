"""The transitions of a study: create, fail, end its search, settle after every change.

Called by the API, the schedules, dispatch and `actions.py`, which has what users ask for, always with the study's row
locked (`study_rows.lock`) and within their transaction. `StudyRow.ending` is the state that a study will end in once
its running trials are done and its winner is measured; from the moment it is set no new trial starts. Only `settle`
moves a study along this way; it may be called at any time. No other module may write a study's `state` or `ending`,
except the end of an inspection, `actions.py`, `absences.py` and `failing_studies.py`, which pause or resume it, and
`extension.py`, by which a study that has ended goes on.
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session
from sqlalchemy.sql.expression import ColumnElement

from luthier.service.access import projects
from luthier.service.lifecycle import datasets, failing_studies, no_winner, promotions, winner
from luthier.service.lifecycle.budget import TrialCounts, find_limit
from luthier.service.lifecycle.notices import queue_notice
from luthier.service.storage import shares
from luthier.service.storage.assignments import Assignments
from luthier.service.storage.database import Database
from luthier.service.storage.leases import Leases
from luthier.service.storage.tables import AssignmentRow, StudyRow
from luthier.studies.external import NOTHING_TO_INSPECT
from luthier.studies.protocol import ENDED, USES, AssignmentKind, StudyState, TrialState
from luthier.studies.spec import StudySpec, trial_seed

AGAIN = "Send the table again: the model of the winner that was asked is kept."  # predictions that were cancelled
ACTIVE = (TrialState.QUEUED, TrialState.RUNNING)


def create(
    session: Session, leases: Leases, spec: StudySpec, name: str, transient: bool = False, hold: bool = False
) -> StudyRow:
    """Insert a study, queue its inspection, and return its row. An external study has nothing to inspect, and runs.

    Args:
        session: the caller's transaction.
        leases: where the inspection is queued.
        spec: the spec of the study.
        name: unique among the studies of the caller's project, in which the study is created; the database refuses a
            second one with IntegrityError.
        transient: the study is a plan's: it is never listed, and is removed after the answer.
        hold: once inspected it waits, paused, for the schedule's run that created it.

    Raises:
        Invalid: the spec names an uploaded data set that is not there.
        NotFound: there is no such project.
    """
    projects.hold(session)
    if not hold:  # a schedule keeps its own data sets
        datasets.hold(session, spec)
    now = leases.database.time(session)
    study = StudyRow(
        name=name,
        state=StudyState.QUEUED,
        spec=spec,
        parallel=spec.parallel,
        weight=spec.weight,
        priority=spec.priority,
        transient=transient,
        hold_after_inspection=hold,
        external=spec.is_external,
        created_at=now,
    )
    session.add(study)
    if study.external:
        study.state, study.inspection = StudyState.RUNNING, NOTHING_TO_INSPECT
        session.flush()
        return study
    session.flush()
    leases.queue(session, study, AssignmentKind.INSPECT, 0, {}, spec.seed, now)
    return study


def queue_trial(
    session: Session,
    leases: Leases,
    study: StudyRow,
    number: int,
    params: dict[str, Any],
    now: float | ColumnElement[float],
    own_seed: int | None = None,
    notes: Mapping[str, Any] | None = None,
) -> AssignmentRow:
    """Queue a trial of a locked study, with a user's own seed or that of its number, and return its row.

    `notes` are further columns: what is kept of the request that asked for it.
    """
    seed = trial_seed(study.spec.seed, number) if own_seed is None else own_seed
    return leases.queue(session, study, AssignmentKind.TRAIN, number, params, seed, now, notes)


def queue_comparison(session: Session, leases: Leases, study: StudyRow, champion_id: int) -> AssignmentRow:
    """Queue the comparison of a study's winner with a champion, and return its row.

    The caller must place both models in the comparison's folder of the store before the transaction ends.
    """
    params = winner.winning_assignment(session, study).params
    now = leases.database.time(session)
    return leases.queue(session, study, AssignmentKind.COMPARE, champion_id, params, study.spec.seed, now)


def fail(session: Session, leases: Leases, study: StudyRow, error: str) -> None:
    """End a locked study, which cannot continue, as failed; `error` is the sentence for its user."""
    leases.cancel(session, study.id, started=True, why=f"It was cancelled as {study.name} failed: {error} {AGAIN}")
    study.ending = StudyState.FAILED
    study.error = error
    study.message = None
    finish(session, leases.database, study)


def fail_unmeasured(session: Session, database: Database, study: StudyRow, error: str) -> None:
    """End a locked study, whose winner could not be measured, as failed; `resume` queues the evaluation again."""
    _end_unmeasured(session, database, study, f"{error} Its weights are kept; `resume` measures it again.")


def _end_unmeasured(session: Session, database: Database, study: StudyRow, error: str) -> None:
    study.error = f"The winner could not be measured: {error}"
    study.state = StudyState.FAILED
    study.finished_at = database.time(session)
    queue_notice(session, database, study)


def end_search(
    study: StudyRow,
    state: StudyState,
    message: str,
    stop_at_next_evaluation: bool = False,
    error: str | None = None,
) -> None:
    """Set how a locked study will end; a reason that was set before stays.

    Args:
        study: its row.
        state: the state that it will end in.
        message: why, as a sentence for its user.
        stop_at_next_evaluation: running trials end at their next evaluation; False: they train to their end.
        error: a sentence, where it will fail.
    """
    if study.state == StudyState.PAUSED:
        study.state = StudyState.RUNNING  # trials that were given back have to end first
    if study.ending is None:
        study.ending = state
        study.message = message
        study.stop_at_next_evaluation = stop_at_next_evaluation
        study.error = error


def settle(session: Session, leases: Leases, study: StudyRow) -> TrialCounts | None:
    """Move a locked study to its next phase, if it can: end its search, confirm, measure its winner, or end it.

    A repeated call changes nothing. It is called after every change of a study's trials, and by the reaper.

    Returns:
        The study's trials by state while it wants more of them, else None.
    """
    if study.state in ENDED:
        leases.cancel(session, study.id, started=False)  # one that was being drawn when the study was ended
        return None
    if study.transient or study.state == StudyState.QUEUED:
        return None
    if study.ending is None:
        counts = TrialCounts.of(session, study.id)
        limit = find_limit(session, leases.database, study, counts)
        limit = limit or failing_studies.find_limit(session, leases.database, study, counts)
        if counts[TrialState.PAUSED] and (limit is None or limit.is_of_trials):
            if study.state != StudyState.RUNNING:  # a paused study: they may go on once it is resumed
                return counts
            if promotions.go_on(session, leases, study, counts, is_drawn_up=limit is not None):
                return TrialCounts.of(session, study.id)
        if limit is None:
            return counts
        end_search(study, limit.state, limit.message, limit.stop_at_next_evaluation, limit.error)
    _approach_end(session, leases, study)
    return None


def _approach_end(session: Session, leases: Leases, study: StudyRow) -> None:
    """Once nothing of the study runs: queue repetitions, then the evaluation of the winner; after these, end it."""
    leases.cancel(session, study.id, started=False)
    if study.external and study.state == StudyState.STOPPING:
        _end_given_back(session, leases, study)
    active = select(func.count()).where(
        AssignmentRow.study_id == study.id,
        AssignmentRow.kind.not_in(USES),  # a study that goes on does not wait for its users' tables and files
        AssignmentRow.state.in_(ACTIVE),
    )
    if session.scalar(active):
        return
    promotions.end_paused(session, leases, study)
    best = winner.best_trial(session, study)
    if best is None:
        _finish_without_winner(session, leases.database, study)
    elif study.winner is not None or study.external:
        study.winner = best.number if study.winner is None else study.winner
        finish(session, leases.database, study)
    elif not winner.queue_repetitions(session, leases, study):
        problem = winner.queue_evaluation(session, leases, study)
        if problem is not None:
            _end_unmeasured(session, leases.database, study, f"{problem} `resume` trains it again.")


def _end_given_back(session: Session, leases: Leases, study: StudyRow) -> None:
    """End the trials that nobody has any more, with their best scores: whose trainers may never ask again."""
    given_back = select(AssignmentRow).where(
        AssignmentRow.study_id == study.id,
        AssignmentRow.kind == AssignmentKind.TRAIN,
        AssignmentRow.state == TrialState.QUEUED,
    )
    for row in session.scalars(given_back.with_for_update()):
        leases.stop(session, row)


def finish(session: Session, database: Database, study: StudyRow) -> None:
    """End a locked study, nothing of which runs any more, in the state that was set for its end."""
    shares.charge(session, study, Assignments(database).settle(session, study.id))
    study.state = study.ending or StudyState.FAILED
    study.finished_at = database.time(session)
    queue_notice(session, database, study)


def _finish_without_winner(session: Session, database: Database, study: StudyRow) -> None:
    """End a study that has no complete trial, and say why; a study that would be completed fails instead."""
    why = no_winner.why_no_winner(session, study)
    if study.ending == StudyState.COMPLETED:
        study.ending = StudyState.FAILED
        study.error = why
    elif study.ending == StudyState.FAILED:
        study.error = f"{study.error} {why}" if study.error else why
    else:
        study.message = f"{study.message} {why}" if study.message else why
    finish(session, database, study)


def phase(study: StudyRow) -> str:
    """Return the word that messages use for a study's state."""
    return "ending" if study.ending and study.state not in ENDED else study.state
