"""Checkpoints that a study needs no more: rows forget them first, then the store removes them.

Called by `reports.py` when a trial ends, and by the API and the schedules when a study was ended. In this order a row
never names a file that is gone.
"""

from sqlalchemy import select
from sqlalchemy.orm import Session

from luthier.service.dispatch.core import Core
from luthier.service.lifecycle import transitions, winner
from luthier.service.storage.file_store import FileStore
from luthier.service.storage.tables import AssignmentRow, StudyRow
from luthier.studies.protocol import TRAINING


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
    ids_to_keep = winner.ids_to_keep(session, study)
    with_files = select(AssignmentRow).where(
        AssignmentRow.study_id == study.id,
        AssignmentRow.kind.in_(TRAINING),
        AssignmentRow.state.not_in(transitions.ACTIVE),
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
