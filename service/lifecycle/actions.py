"""The actions that a user may ask of a study: pause, resume, stop, cancel.

Called by the API and the schedules, always with the study's row locked (`study_rows.lock`) and within their
transaction. What follows from an action is up to `transitions.settle`.
"""

from enum import StrEnum

from sqlalchemy.orm import Session

from luthier.service.errors import Conflict
from luthier.service.lifecycle import failing_studies, retraining, transitions, winner
from luthier.service.storage.leases import Leases
from luthier.service.storage.tables import StudyRow
from luthier.studies.protocol import ENDED, StudyState, TrialState


class Action(StrEnum):
    """An action that a user may ask of a study."""

    PAUSE = "pause"
    RESUME = "resume"
    STOP = "stop"
    CANCEL = "cancel"


def act(session: Session, leases: Leases, study: StudyRow, action: Action) -> None:
    """Execute a user's action on a locked study, and settle it.

    Raises:
        Conflict: the action makes no sense in the study's state.
    """
    if action is Action.PAUSE:
        pause(study)
    elif action is Action.RESUME:
        resume(session, leases, study)
    elif action is Action.STOP:
        stop(study)
    else:
        cancel(session, leases, study)
    transitions.settle(session, leases, study)


def pause(study: StudyRow) -> None:
    """Start no new trial of a locked study until it is resumed. Raises Conflict unless it is running."""
    if study.state != StudyState.RUNNING or study.ending:
        raise Conflict(f"A study can be paused while it is running; {study.name} is {transitions.phase(study)}.")
    study.state = StudyState.PAUSED


def resume(session: Session, leases: Leases, study: StudyRow) -> None:
    """Continue a locked study: draw trials again after a pause, or measure the winner again after a failure.

    Raises:
        Conflict: the study is neither.
    """
    unmeasured = is_unmeasured(session, study)
    if study.state != StudyState.PAUSED and not unmeasured:
        raise Conflict(f"Only a paused study can be resumed; {study.name} is {transitions.phase(study)}.")
    if unmeasured:  # `settle` queues what is missing
        retraining.forget_failed(session, leases, study)
        study.winner = study.winner_confirmation = None
        study.error = None
        study.finished_at = None
    study.away = None
    failing_studies.forget(session, leases.database, study)
    is_stopping = study.state == StudyState.PAUSED and study.ending == StudyState.STOPPED
    study.state = StudyState.STOPPING if is_stopping else StudyState.RUNNING


def is_unmeasured(session: Session, study: StudyRow) -> bool:
    """Return whether a study has failed because its winner could not be measured; an earlier winner may have been."""
    if study.state != StudyState.FAILED or study.winner is None or study.external:
        return False  # the winner of an external study is never measured
    evaluation = session.scalar(winner.present_evaluation(study.id))
    return evaluation is None or evaluation.state != TrialState.COMPLETE


def stop(study: StudyRow) -> None:
    """Start no new trial of a locked study; running ones finish, then the winner is measured.

    Raises:
        Conflict: the study ends or has ended already.
    """
    if study.state in ENDED or study.ending:
        raise Conflict(f"{study.name} is {transitions.phase(study)} already; there is nothing to stop.")
    study.state = StudyState.STOPPING
    transitions.end_search(study, StudyState.STOPPED, "Stopped on request.")


def cancel(session: Session, leases: Leases, study: StudyRow) -> None:
    """End a locked study and all its work now. Its workers notice when their next message is refused as stale.

    Raises:
        Conflict: the study has ended already.
    """
    if study.state in ENDED:
        raise Conflict(f"{study.name} is {study.state} already; there is nothing to cancel.")
    why = f"It was cancelled with its study, by a cancel of {study.name}. {transitions.AGAIN}"
    leases.cancel(session, study.id, started=True, why=why)
    study.ending = StudyState.CANCELLED
    study.message = "Cancelled on request."
    transitions.finish(session, leases.database, study)
