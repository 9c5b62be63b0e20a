"""Checkpoints that a study needs no more, and damaged ones: rows forget them first, then the store removes them.

Called by `reports.py` and `outcomes.py` when a trial reports or ends, and by the API and the schedules when a study was
ended. In this order a row never names a file that is gone.
"""

from sqlalchemy import select
from sqlalchemy.exc import NoResultFound
from sqlalchemy.orm import Session

from luthier.service.dispatch.core import Core
from luthier.service.lifecycle import winner
from luthier.service.storage.file_store import FileStore
from luthier.service.storage.tables import AssignmentRow, StudyRow
from luthier.studies.protocol import FINISHED, TRAINING, AssignmentKind, Outcome, Report
from luthier.studies.wire import FileRef


def clean_up(core: Core, study: StudyRow) -> None:
    """Remove the checkpoints of a study that was ended from outside, and tell Optuna how its trials ended.

    It opens a transaction of its own. A repeated call changes nothing.
    """
    with core.database.transaction() as session:
        superseded = forget_superseded(session, session.get_one(StudyRow, study.id))
    remove_unnamed(core.store, superseded)
    core.searches.close_study(study)


def forget_superseded(session: Session, study: StudyRow) -> list[AssignmentRow]:
    """Make ended trials whose weights cannot become the winner's name no checkpoint any more.

    Args:
        session: the caller's transaction; `remove_unnamed` must follow once it is committed.
        study: the study's row.

    Returns:
        The trials and repetitions that named one.
    """
    if not study.is_readable:  # which weights are the winner's cannot be told; deleting the study removes them
        return []
    try:
        ids_to_keep = winner.ids_to_keep(session, study)
    except NoResultFound:  # the row of its winner is gone, and its weights cannot be told either
        return []
    with_files = select(AssignmentRow).where(
        AssignmentRow.study_id == study.id,
        AssignmentRow.kind.in_(TRAINING),
        AssignmentRow.state.in_(FINISHED),
        AssignmentRow.best.is_not(None) | AssignmentRow.resume.is_not(None),
    )
    superseded = [row for row in session.scalars(with_files) if row.id not in ids_to_keep]
    for row in superseded:
        row.best = None
        row.resume = None
    return superseded


def remove_unnamed(store: FileStore, trials: list[AssignmentRow]) -> None:
    """Remove the files of ended trials, except logs, packed models and the weights that their rows name."""
    for trial in trials:
        store.keep_only(trial.study_id, trial.id, [] if trial.best is None else [trial.best])


def replace(store: FileStore, row: AssignmentRow, report: Report, value: float | None) -> list[FileRef]:
    """Let a trial's locked row name the files of an attempt that started over; return those that it names no more.

    Such an attempt comes to steps that are recorded, since it found the files of the attempt before damaged.

    Args:
        store: where the files are.
        row: the trial.
        report: the evaluation, whose step is recorded.
        value: its score; weights that score otherwise take the place of none that are there.
    """
    named_before = [row.resume, row.best]
    if report.resume is not None and store.has(row.study_id, row.id, report.resume):
        row.resume, row.resume_step = report.resume, report.step
    if report.best is not None and report.step == row.best_step and store.has(row.study_id, row.id, report.best):
        is_gone = row.best is None or not store.has(row.study_id, row.id, row.best)
        row.best = report.best if is_gone or value == row.value else row.best
    names = {ref.name for ref in (row.resume, row.best) if ref is not None}
    return [ref for ref in (*named_before, report.best) if ref is not None and ref.name not in names]


def check_damage(core: Core, outcome: Outcome) -> Outcome:
    """Return a worker's outcome that says that a file is damaged, as a lost attempt if the store's own file is whole.

    Then the worker's way to the file is what is broken, and another worker may do better. All of the file is read, in
    no transaction.
    """
    with core.database.reading() as session:
        row = session.get(AssignmentRow, outcome.id)
        if row is None or row.kind != AssignmentKind.EVALUATE:
            return outcome
        study = session.get_one(StudyRow, row.study_id)
        source = None if study.winner is None else winner.winning_assignment(session, study)
    if source is None or source.best is None:
        return outcome
    place = core.store.place(source.study_id, source.id, source.best.name)
    if not core.store.is_whole(place, source.best):
        return outcome
    return outcome.model_copy(update={"status": "lost", "reason": None})
