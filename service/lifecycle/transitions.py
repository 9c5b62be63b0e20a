"""A study's life: made, paused, resumed, stopped, cancelled, deleted, and settled after every change.

`ending` is the state a study will end in once its running trials are done and its winner is measured; from the moment
it is set no new trial starts. `settle` is the one place that moves a study on; it may be called at any time.
"""

from enum import StrEnum
from typing import Any

from sqlalchemy import Select, func, select, update
from sqlalchemy.orm import Session

from luthier.service.errors import Conflict, NotFound
from luthier.service.lifecycle import confirmation as confirm
from luthier.service.storage.database import Database
from luthier.service.storage.leases import Leases, TrialCounts, changed_rows
from luthier.service.storage.tables import AssignmentRow, StudyRow
from luthier.studies.protocol import ENDED, AssignmentKind, StudyState, TrialState
from luthier.studies.spec import StudySpec, is_better, trial_seed

ACTIVE = (TrialState.QUEUED, TrialState.RUNNING)


def find(session: Session, name: str) -> StudyRow:
    """The study's row as it is now. Raises NotFound."""
    return _named(session, name, select(StudyRow))


def locked(session: Session, name: str) -> StudyRow:
    """The study's row, locked until the transaction ends. Raises NotFound."""
    return _named(session, name, select(StudyRow).with_for_update())


def _named(session: Session, name: str, rows_of: Select[StudyRow]) -> StudyRow:
    # NUL is in no name, and Postgres takes none in a query.
    study = None if "\0" in name else session.scalar(rows_of.where(StudyRow.name == name, ~StudyRow.transient))
    if study is None:
        raise NotFound(f"There is no study named {name}.")
    return study


def locked_by_id(session: Session, study_id: int) -> StudyRow | None:
    return session.scalar(select(StudyRow).where(StudyRow.id == study_id).with_for_update())


def locked_of(session: Session, assignment_id: int) -> StudyRow | None:
    """The locked study that an assignment belongs to."""
    of = select(AssignmentRow.study_id).where(AssignmentRow.id == assignment_id).scalar_subquery()
    return session.scalar(select(StudyRow).where(StudyRow.id == of).with_for_update())


def best_trial(session: Session, study: StudyRow) -> AssignmentRow | None:
    """The complete trial with the best value; of equals the earliest."""
    return next(iter(confirm.ranked(session, study, 1)), None)


def create(
    session: Session, database: Database, spec: StudySpec, name: str, transient: bool = False, hold: bool = False
) -> StudyRow:
    """A new study and its inspection, queued. `hold`: once inspected it waits, paused, for who made it."""
    now = database.time(session)
    study = StudyRow(
        name=name,
        state=StudyState.QUEUED,
        spec=spec,
        parallel=spec.parallel,
        transient=transient,
        hold=hold,
        created_at=now,
    )
    session.add(study)
    session.flush()
    session.add(_queued(study, AssignmentKind.INSPECT, 0, {}, spec.seed, now))
    session.flush()
    return study


def pause(study: StudyRow) -> None:
    if study.state != StudyState.RUNNING or study.ending:
        raise Conflict(f"A study can be paused while it is running; {study.name} is {_phase(study)}.")
    study.state = StudyState.PAUSED


def resume(session: Session, study: StudyRow) -> None:
    """Go on: a paused study with its trials, one whose winner could not be measured with that."""
    unmeasured = study.state == StudyState.FAILED and study.winner is not None and study.model is None
    if study.state != StudyState.PAUSED and not unmeasured:
        raise Conflict(f"Only a paused study can be resumed; {study.name} is {_phase(study)}.")
    if unmeasured:
        evaluation = update(AssignmentRow).where(
            AssignmentRow.study_id == study.id,
            AssignmentRow.kind == AssignmentKind.EVALUATE,
            AssignmentRow.state == TrialState.FAILED,
        )
        again = {
            "state": TrialState.QUEUED,
            "losses": 0,
            "token": None,
            "finished_at": None,
            "reason": None,
            "error": None,
        }
        changed_rows(session, evaluation.values(**again))
        study.error = study.finished_at = None
    study.state = StudyState.RUNNING


def stop(study: StudyRow) -> None:
    """No new trial; running ones finish; then the winner is measured."""
    if study.state in ENDED or study.ending:
        raise Conflict(f"{study.name} is {_phase(study)} already; there is nothing to stop.")
    study.state = StudyState.STOPPING
    end_search(study, StudyState.STOPPED, "Stopped on request.")


def cancel(session: Session, leases: Leases, study: StudyRow) -> None:
    """End everything now. Workers learn it with their next message, which is refused as stale."""
    if study.state in ENDED:
        raise Conflict(f"{study.name} is {study.state} already; there is nothing to cancel.")
    leases.cancel(session, study.id, started=True)
    study.ending, study.message = StudyState.CANCELLED, "Cancelled on request."
    _finish(session, leases.database, study)


class Action(StrEnum):
    """What a user may ask of a study."""

    PAUSE = "pause"
    RESUME = "resume"
    STOP = "stop"
    CANCEL = "cancel"


def act(session: Session, leases: Leases, study: StudyRow, action: Action) -> None:
    """Raises Conflict when the action makes no sense in the study's state."""
    if action is Action.PAUSE:
        pause(study)
    elif action is Action.RESUME:
        resume(session, study)
    elif action is Action.STOP:
        stop(study)
    else:
        cancel(session, leases, study)
    settle(session, leases, study)


def end_search(study: StudyRow, state: StudyState, message: str, hurry: bool = False, error: str | None = None) -> None:
    """Set how the study will end. The first reason stays."""
    if study.state == StudyState.PAUSED:
        study.state = StudyState.RUNNING  # what was given back meanwhile has to end first
    if study.ending is None:
        study.ending, study.message, study.hurry, study.error = state, message, hurry, error


def settle(session: Session, leases: Leases, study: StudyRow) -> TrialCounts | None:
    """Move a locked study on: end it, measure its winner, or leave it. Idempotent.

    Returns its trials' tally while it wants more of them.
    """
    if study.state in ENDED or study.transient or study.state == StudyState.QUEUED:
        return None
    if study.ending is None:
        tally = TrialCounts.of(session, study.id)
        _check_budget(session, leases.database, study, tally)
        if study.ending is None:
            return tally
    _end(session, leases, study)
    return None


def _end(session: Session, leases: Leases, study: StudyRow) -> None:
    """No new trial starts. Once nothing runs: measure the winner; once that is done, end."""
    leases.cancel(session, study.id, started=False)
    active = select(func.count()).where(AssignmentRow.study_id == study.id, AssignmentRow.state.in_(ACTIVE))
    if session.scalar(active):
        return
    best = best_trial(session, study)
    if best is None:
        _finish_without_winner(session, leases.database, study)
    elif study.winner is not None:
        _finish(session, leases.database, study)
    elif not _confirm(session, leases.database, study):
        _measure(session, leases.database, study, best)


def fail(session: Session, leases: Leases, study: StudyRow, error: str) -> None:
    """The study cannot go on: end it as failed, with the reason."""
    leases.cancel(session, study.id, started=True)
    study.ending, study.error, study.message = StudyState.FAILED, error, None
    _finish(session, leases.database, study)


def unmeasured(session: Session, database: Database, study: StudyRow, error: str) -> None:
    """The winner's evaluation failed: the study has failed, and may be resumed there."""
    study.error = f"The winner could not be measured: {error} Its weights are kept; `resume` measures it again."
    study.state, study.finished_at = StudyState.FAILED, database.time(session)


def _phase(study: StudyRow) -> str:
    return "ending" if study.ending and study.state not in ENDED else study.state


def _finish(session: Session, database: Database, study: StudyRow) -> None:
    study.state, study.finished_at = study.ending or StudyState.FAILED, database.time(session)


def _finish_without_winner(session: Session, database: Database, study: StudyRow) -> None:
    if study.ending == StudyState.COMPLETED:
        last = session.scalar(
            select(AssignmentRow)
            .where(AssignmentRow.study_id == study.id, AssignmentRow.error.is_not(None))
            .order_by(AssignmentRow.finished_at.desc())
            .limit(1)
        )
        study.ending = StudyState.FAILED
        study.error = "No trial ran to its end." + (f" The last failure: {last.error}" if last else "")
    _finish(session, database, study)


def _confirm(session: Session, database: Database, study: StudyRow) -> bool:
    """Queue the repetitions of the best configurations; False where there are none, or they are done."""
    wanted, found = study.spec.confirm, confirm.candidates(session, study)
    if wanted is None or any(candidate.again for candidate in found):
        return False
    now = database.time(session)
    for rank, candidate in enumerate(found):
        for i in range(wanted.seeds):
            trial = candidate.trial
            seed = trial_seed(study.spec.seed, trial.number, again=i + 1)
            session.add(_queued(study, AssignmentKind.CONFIRM, rank * wanted.seeds + i, trial.params, seed, now))
    return True


def _measure(session: Session, database: Database, study: StudyRow, best: AssignmentRow) -> None:
    picked = confirm.pick(confirm.candidates(session, study), study.spec.maximize)
    winner = source = best
    if picked is not None:
        winner, source = picked[0].trial, picked[1]
        study.winner_again = source.number
    study.winner = winner.number
    session.add(_queued(study, AssignmentKind.EVALUATE, 0, source.params, source.seed, database.time(session)))


def winning(session: Session, study: StudyRow) -> AssignmentRow:
    """The assignment whose weights are the winner's: the trial, or a repetition of it."""
    kind, number = (
        (AssignmentKind.TRAIN, study.winner)
        if study.winner_again is None
        else (AssignmentKind.CONFIRM, study.winner_again)
    )
    return session.scalars(
        select(AssignmentRow).where(
            AssignmentRow.study_id == study.id, AssignmentRow.kind == kind, AssignmentRow.number == number
        )
    ).one()


def keeping(session: Session, study: StudyRow) -> set[int]:
    """Ids of the assignments whose weights are, or may yet become, the winner's."""
    if study.winner is not None:
        return {winning(session, study).id}
    best = best_trial(session, study)
    repetitions = [candidate.best(study.spec.maximize) for candidate in confirm.candidates(session, study)]
    return {row.id for row in (best, *repetitions) if row is not None}


def _check_budget(session: Session, database: Database, study: StudyRow, tally: TrialCounts) -> None:
    """Set the study's ending when a limit of its budget is reached."""
    spec = study.spec
    budget = spec.budget
    if budget.failures is not None and tally[TrialState.FAILED] >= budget.failures:
        message = f"{tally[TrialState.FAILED]} trials failed, which is the budget's limit."
        end_search(study, StudyState.FAILED, message, hurry=True, error=message)
    best = best_trial(session, study) if budget.target is not None else None
    if best is not None and budget.target is not None and _reaches(best, budget.target, spec.maximize):
        text = f"Trial {best.number} reached the target {budget.target:g}."
        end_search(study, StudyState.COMPLETED, text, hurry=True)
    limit, started = budget.wall_clock_seconds, study.started_at
    if limit is not None and started is not None and database.time(session) - started >= limit:
        text = f"The {limit:g} seconds of wall-clock time are used up."
        end_search(study, StudyState.COMPLETED, text, hurry=True)
    if budget.gpu_seconds is not None and tally.busy_seconds >= budget.gpu_seconds:
        text = f"The {budget.gpu_seconds:g} GPU seconds are used up."
        end_search(study, StudyState.COMPLETED, text, hurry=True)
    if budget.trials is not None and tally.total >= budget.trials and not tally.active:
        end_search(study, StudyState.COMPLETED, f"All {budget.trials} trials of the budget are done.")


def _reaches(trial: AssignmentRow, target: float, maximize: bool) -> bool:
    return trial.value is not None and not is_better(target, trial.value, maximize)


def gpu_seconds(session: Session, study_ids: list[int]) -> dict[int, float]:
    """Time workers were busy with each study's assignments, over all attempts."""
    statement = (
        select(AssignmentRow.study_id, func.sum(AssignmentRow.seconds + AssignmentRow.seconds_before))
        .where(AssignmentRow.study_id.in_(study_ids))
        .group_by(AssignmentRow.study_id)
    )
    return {study_id: float(total or 0.0) for study_id, total in session.execute(statement)}


def compare(session: Session, database: Database, study: StudyRow, champion: int) -> AssignmentRow:
    """Queue the comparison of an ended study's winner with a champion, whose id numbers it. Its files come before the
    transaction's end."""
    row = _queued(
        study, AssignmentKind.COMPARE, champion, winning(session, study).params, study.spec.seed, database.time(session)
    )
    session.add(row)
    session.flush()
    return row


def new_trial(study: StudyRow, number: int, params: dict[str, Any], now: float) -> AssignmentRow:
    return _queued(study, AssignmentKind.TRAIN, number, params, trial_seed(study.spec.seed, number), now)


def _queued(
    study: StudyRow, kind: AssignmentKind, number: int, params: dict[str, Any], seed: int, now: float
) -> AssignmentRow:
    return AssignmentRow(
        study_id=study.id,
        kind=kind,
        number=number,
        state=TrialState.QUEUED,
        params=params,
        seed=seed,
        created_at=now,
    )
