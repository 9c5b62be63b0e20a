"""Data or models that a worker lacks after a good inspection: its work is given back, it rests, the study pauses.

A file was moved for a moment, a disk is not mounted, a worker of another machine has no copy: no configuration is to
blame. Dispatch calls it when a worker says so (`Reason.AWAY`), when one did well, and before it gives a worker work.
The caller holds the study's row where something is changed.
"""

import logging

from sqlalchemy import select
from sqlalchemy.orm import Session

from luthier.service.storage.away import Away, Rest
from luthier.service.storage.database import Database
from luthier.service.storage.schedule_tables import RunRow
from luthier.service.storage.tables import AssignmentRow, StudyRow
from luthier.studies.protocol import ENDED, AssignmentKind, Outcome, Reason, StudyState, TrialState
from luthier.studies.schedule_runs import RunState

log = logging.getLogger("luthier")
FIRST_REST = 5.0  # seconds that a worker gets no work of the study for; each time without success doubles them
LONGEST_REST = 300.0  # seconds
MOST_IN_A_ROW = 2  # times that work is given back before the study pauses
PATIENCE_SECONDS = 3600.0  # that a study waits for workers that are busy elsewhere, and may have what others lack
GIVE_UP_SECONDS = 4 * 3600.0  # that a schedule's study, which nobody resumes, is tried again for
MOST_RESTS = 1_000  # workers that are remembered for one study


def found(study: StudyRow) -> Away | None:
    """Return what workers lack of a study's data and models; None where they lack nothing."""
    return study.away if isinstance(study.away, Away) else None


def rests(session: Session, database: Database, study: StudyRow, worker: str) -> bool:
    """Return whether a worker gave work of the study back so lately that it gets none for now."""
    away = found(study)
    rest = None if away is None else away.rests.get(worker)
    if rest is None:
        return False
    return 0 < rest.until - database.time(session) <= LONGEST_REST  # further ahead: the clock went back


def note(session: Session, database: Database, study: StudyRow, row: AssignmentRow, outcome: Outcome) -> Outcome:
    """Note that a worker lacks what a study's inspection has found, and return the outcome that its work has now.

    The work is given back, unless it is an inspection, or a schedule's study has lacked it for too long: then it fails.
    A study that no worker can go on with is paused; a schedule's, which nobody would resume, is tried again, and so is
    the comparison of one that has ended.

    Args:
        session: the caller's transaction.
        database: its clock.
        study: the study's locked row.
        row: the assignment's locked row, still held by the worker.
        outcome: what the worker said.
    """
    failed = outcome.model_copy(update={"reason": Reason.BAD_DATA})
    if row.kind == AssignmentKind.INSPECT:
        return failed
    now, worker = database.time(session), row.worker or ""
    before = found(study) or Away(in_a_row=0, since=now, worker="", text="", rests={})
    last = before.rests.get(worker)
    seconds = FIRST_REST if last is None else min(2 * last.seconds, LONGEST_REST)
    rests = {**before.rests, worker: Rest(seconds=seconds, until=now + seconds)}
    for name in sorted(rests, key=lambda name: rests[name].until)[:-MOST_RESTS]:
        del rests[name]
    study.away = Away(
        in_a_row=before.in_a_row + 1,
        since=before.since if before.in_a_row else now,
        worker=worker,
        text="it gave no reason." if outcome.problem is None else outcome.problem.message,
        rests=rests,
    )
    if study.away.in_a_row == 1:
        log.warning("study %s: worker %s gave work back: %s", study.name, worker, study.away.text)
    if study.state in ENDED or _is_scheduled(session, study):
        if now - study.away.since >= GIVE_UP_SECONDS:
            return failed
    elif study.state in (StudyState.RUNNING, StudyState.STOPPING) and not _may_go_on(session, study, row, now):
        study.state = StudyState.PAUSED
        log.warning("study %s is paused: %s", study.name, study.away.text)
    return outcome.model_copy(update={"status": "released", "reason": None, "seconds": 0.0})  # no budget pays for it


def note_success(study: StudyRow, worker: str | None) -> None:
    """Note that a worker had all that a locked study's work needs: an evaluation came, or an end that is no failure."""
    away = found(study)
    if away is None or study.state == StudyState.PAUSED:  # a paused study says why until it is resumed
        return
    if worker == away.worker:
        study.away = None
        return
    rests = {name: rest for name, rest in away.rests.items() if name != worker}
    study.away = away.model_copy(update={"in_a_row": 0, "rests": rests})


def sentence(study: StudyRow) -> str | None:
    """Return for a study's user what a worker lacks, and what happens now; None where none lacks anything."""
    away = found(study)
    if away is None:
        return None
    text = f"Worker {away.worker} lacks data or model, which the inspection found good, and gave its work back: "
    text += away.text
    if study.state == StudyState.PAUSED:
        return f"{text} The study is paused. Put back what it lacks, then `luthier resume {study.name}`."
    return f"{text} Other workers may take it, and this one tries again after a while."


def _is_scheduled(session: Session, study: StudyRow) -> bool:
    """Return whether a schedule's run waits for the study."""
    run = select(RunRow.id).where(RunRow.study_id == study.id, RunRow.state == RunState.RUNNING)
    return session.scalar(run.limit(1)) is not None


def _may_go_on(session: Session, study: StudyRow, row: AssignmentRow, now: float) -> bool:
    """Return whether a study may yet go on by itself: once more, or with a worker that has not given work back.

    Who holds work of the study will tell how it went; who is busy elsewhere may come, and is waited for a while.
    """
    away = found(study)
    if away is None or away.in_a_row < MOST_IN_A_ROW:
        return True
    held = select(AssignmentRow.study_id, AssignmentRow.worker).join(StudyRow).where(~StudyRow.external)
    held = held.where(
        AssignmentRow.state == TrialState.RUNNING, AssignmentRow.deadline > now, AssignmentRow.id != row.id
    )
    is_patient = now - away.since < PATIENCE_SECONDS
    return any(
        study_id == study.id or (is_patient and worker not in away.rests) for study_id, worker in session.execute(held)
    )
