"""What users do with one trial: stop it, run it again, delete it.

Called by the API. Our rows change first, in one transaction under the locks of the study and the trial; Optuna and the
files follow. What a crash keeps from following is mended: ends are told by the reaper, a deleted trial is passed over
whenever its search is read, its files are orphans.
"""

from sqlalchemy import select
from sqlalchemy.orm import Session

from luthier.service.dispatch import checkpoints, own_trials, waiting_trials
from luthier.service.dispatch.core import Core
from luthier.service.dispatch.own_trials import Added
from luthier.service.dispatch.requests import Request
from luthier.service.dispatch.search_pool import resolved_space
from luthier.service.errors import Conflict, NotFound
from luthier.service.lifecycle import confirmation, study_rows, transitions
from luthier.service.storage.schedule_tables import ChampionRow, ScheduleRow
from luthier.service.storage.tables import AssignmentRow, StudyRow
from luthier.studies.protocol import ENDED, FINISHED, AssignmentKind, TrialState

AGAIN = (TrialState.FAILED, TrialState.CANCELLED, TrialState.PRUNED)  # states from which a trial may run again


def find(session: Session, study: StudyRow, number: int, lock: bool = False) -> AssignmentRow:
    """Return a trial's row, locked on demand. Raises NotFound; Conflict while it waits for the inspection."""
    rows = select(AssignmentRow).where(
        AssignmentRow.study_id == study.id,
        AssignmentRow.kind == AssignmentKind.TRAIN,
        AssignmentRow.number == number,
    )
    row = session.scalar(rows.with_for_update() if lock else rows)
    waiting = waiting_trials.waiting(session, study.id) if row is None else []
    if 0 < number <= len(waiting):
        waiting_trials.check_there(study, number, waiting[number - 1])
        text = f"Trial {number} of {study.name} waits for the inspection, or its study ended before"
        raise Conflict(f"{text}: until then it can be stopped or deleted, and nothing else.")
    if row is None or row.deleted:
        raise NotFound(f"{study.name} has no trial {number}{'' if row is None else ': it was deleted'}.")
    return row


def stop(core: Core, name: str, number: int) -> None:
    """Have a trial end at its next evaluation, complete with its best; one that is queued or paused ends at once.

    A queued trial without an evaluation has nothing to keep: it is cancelled. A repeated call changes nothing.

    Raises:
        NotFound: there is no such trial.
        Conflict: it has ended.
    """
    with core.database.transaction() as session:
        study = study_rows.lock(session, name)
        if waiting_trials.end(session, study, number, TrialState.CANCELLED):
            return
        row = find(session, study, number, lock=True)
        if not core.leases.stop(session, row):
            raise Conflict(f"Trial {number} of {name} is {row.state} already; there is nothing to stop.")
        transitions.settle(session, core.leases, study)
        ended = row.state in FINISHED
        superseded = checkpoints.forget_superseded(session, study) if ended else []
    if ended:
        core.searches.tell(study, row)
        checkpoints.remove_unnamed(core.store, [*superseded, row])
    _close_if_ended(core, study)


def retry(core: Core, name: str, number: int) -> Added:
    """Queue a new trial with the configuration and the seed of one that failed, was cancelled or was pruned.

    It is the study's next trial, and no pruner ends it. Where the trial runs again already, or has, that one is named.

    Raises:
        NotFound: there is no such trial.
        Conflict: it has not ended, or is complete; or the study takes no trial.
    """
    with core.database.reading() as session:
        study = study_rows.find(session, name)
        row = find(session, study, number)
    if row.state not in AGAIN:
        if row.state == TrialState.COMPLETE:
            cure = f"to run its configuration once more, add it with the seed {row.seed} or another"
        elif row.state == TrialState.PAUSED:
            cure = "it goes on once it is among the best of its rung; stop it to end it with the score that it has"
        else:
            cure = "stop it first"
        raise Conflict(f"Trial {number} of {name} is {row.state}; {cure}.")
    if study.inspection is None:
        raise Conflict(f"{name} is {study.state} and was never inspected: no trial can be added.")
    free = resolved_space(study).free()
    params = {key: value for key, value in row.params.items() if key in free}
    return own_trials.enqueue(core, name, Request(params, row.seed, retry_of=number))


def delete(core: Core, name: str, number: int) -> None:
    """Delete a trial: its files, its scores, and what the search has learned from it. Its number is not given again.

    Raises:
        NotFound: there is no such trial.
        Conflict: it runs, or the study's result rests on it.
    """
    with core.database.transaction() as session:
        study = study_rows.lock(session, name)
        if waiting_trials.end(session, study, number, waiting_trials.DELETED):
            return
        row = find(session, study, number, lock=True)
        _check_deletable(session, study, row)
        had_ended = study.state in ENDED
        was_waiting = row.state in (TrialState.QUEUED, TrialState.PAUSED)
        if not core.leases.erase(session, row):
            raise Conflict(f"Trial {number} of {name} is running; stop it first (POST .../trials/{number}/stop).")
        transitions.settle(session, core.leases, study)
    if was_waiting:
        core.searches.tell(study, row)  # Optuna takes it for running
    core.searches.forget_trial(study.id, number)
    core.store.remove_assignment(study.id, row.id)
    if not had_ended:
        _close_if_ended(core, study)


def _check_deletable(session: Session, study: StudyRow, row: AssignmentRow) -> None:
    """Raise Conflict where the result of a locked study rests on a trial, or is about to."""
    number, name = row.number, study.name
    if study.ending is not None and study.state not in ENDED:
        raise Conflict(f"{name} is ending, its winner is being chosen: delete trial {number} once it has ended.")
    if number == study.winner:
        raise Conflict(f"Trial {number} is the winner of {name}, and is kept with it; delete the study instead.")
    in_use = select(ScheduleRow.name).join(ChampionRow, ChampionRow.id == ScheduleRow.champion_id)
    in_use = in_use.where(ScheduleRow.project == study.project)
    schedule = session.scalar(in_use.where(ChampionRow.study == name, ChampionRow.trial == number))
    if schedule is not None:
        raise Conflict(f"Trial {number} of {name} is the champion that the schedule {schedule} has in use; it is kept.")
    if number == 0 and row.value is not None:
        raise Conflict(f"Trial 0 is the baseline that the trials of {name} are compared with; it is kept.")
    if study.is_readable and any(
        candidate.trial.id == row.id and candidate.repetitions for candidate in confirmation.candidates(session, study)
    ):
        text = f"Trial {number} of {name} was trained again on fresh seeds to find the winner, and is kept with it"
        raise Conflict(f"{text}; delete the study instead.")


def _close_if_ended(core: Core, study: StudyRow) -> None:
    if study.state in ENDED:
        core.searches.close_study(study)
