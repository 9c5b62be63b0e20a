"""What studies and their projects are charged with, in rows: at a claim what is expected, at the end what was used.

Claims, ends of work and ends of studies call it, in their own transactions, which hold the study's row. The row of the
project comes last of all locks, so that claims of one project wait for each other only while they commit. The numbers
are those of `dispatch/fair_share.py`, which decides by them.
"""

from sqlalchemy import case, func, select, update
from sqlalchemy.orm import Session

from luthier.service.storage.access_tables import ProjectRow
from luthier.service.storage.believable import gpu_seconds, seconds_of
from luthier.service.storage.database import Database, changed_rows
from luthier.service.storage.share_tables import FLEET, DeletedUsageRow, ShareRow
from luthier.service.storage.tables import AssignmentRow, StudyRow
from luthier.studies.protocol import USES


def start_project(database: Database, session: Session, project: str, floor: float, amount: float) -> None:
    """Charge a project with a trial that starts now.

    Args:
        database: of the session.
        session: the caller's transaction.
        project: its name.
        floor: the least virtual time that it starts at.
        amount: the trial's GPU seconds over the project's weight.
    """
    start = case((ShareRow.virtual_time > floor, ShareRow.virtual_time), else_=floor)
    values = {"virtual_start": max(floor, 0.0), "virtual_time": max(floor, 0.0) + amount, "owed": 0.0}
    insert = database.insert(ShareRow).values(project=project, **values)
    changed = {"virtual_start": start, "virtual_time": start + amount}
    session.execute(insert.on_conflict_do_update(index_elements=["project"], set_=changed))


def owe(database: Database, session: Session, gpu_seconds: float) -> None:
    """Add GPU seconds to what lower priorities are owed, or take them off."""
    values = {"virtual_start": 0.0, "virtual_time": 0.0, "owed": gpu_seconds}
    insert = database.insert(ShareRow).values(project=FLEET, **values)
    changed = {"owed": ShareRow.owed + gpu_seconds}
    session.execute(insert.on_conflict_do_update(index_elements=["project"], set_=changed))


def charge(session: Session, study: StudyRow, gpu_seconds: float) -> None:
    """Add GPU seconds to what a locked study and its project were charged with, or take them off."""
    if gpu_seconds == 0.0:
        return
    study.virtual_time += gpu_seconds / study.weight
    of_project = select(ProjectRow.weight).where(ProjectRow.name == study.project)
    amount = gpu_seconds / (session.scalar(of_project) or 1.0)
    row = update(ShareRow).where(ShareRow.project == study.project)
    changed_rows(session, row.values(virtual_time=ShareRow.virtual_time + amount))


def keep_usage(database: Database, session: Session, study: StudyRow) -> None:
    """Add the GPU seconds of a study that is deleted to those of its project and owner: limits count them further."""
    if study.transient:
        return
    of_study = (AssignmentRow.study_id == study.id, AssignmentRow.kind.not_in(USES))
    used = session.scalar(select(func.sum(gpu_seconds())).where(*of_study)) or 0.0
    if used:
        values = {"project": study.project, "owner": study.owner or "", "gpu_seconds": used}
        insert = database.insert(DeletedUsageRow).values(**values)
        changed = {"gpu_seconds": seconds_of(DeletedUsageRow.gpu_seconds) + used}
        session.execute(insert.on_conflict_do_update(index_elements=["project", "owner"], set_=changed))
