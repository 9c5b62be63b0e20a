"""What studies and their projects are charged with, in rows: at a claim what is expected, at the end what was used.

Claims, ends of work and ends of studies call it, in their own transactions, which hold the study's row. The row of the
project comes last of all locks, so that claims of one project wait for each other only while they commit. The numbers
are those of `dispatch/fair_share.py`, which decides by them.
"""

from functools import cache, lru_cache
from typing import Any

from sqlalchemy import BindParameter, Double, Update, bindparam, case, func, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from luthier.service.storage.access_tables import ProjectRow
from luthier.service.storage.believable import gpu_seconds, seconds_of
from luthier.service.storage.database import Database, changed_rows, insert_into
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
    first = max(floor, 0.0)
    values = {"project": project, "virtual_start": first, "virtual_time": first + amount}
    session.connection().execute(_start(database.sqlite), values | {"floor": floor, "amount": amount})


@lru_cache(maxsize=2)
def _start(is_sqlite: bool) -> sqlite.Insert | postgresql.Insert:
    """Build the statement of `start_project`; it is kept, as each claim needs it."""
    floor: BindParameter[float] = bindparam("floor", type_=Double())
    amount: BindParameter[float] = bindparam("amount", type_=Double())
    start = case((ShareRow.virtual_time > floor, ShareRow.virtual_time), else_=floor)
    values: dict[str, Any] = {name: bindparam(name) for name in ("project", "virtual_start", "virtual_time")}
    insert = insert_into(ShareRow, is_sqlite).values(owed=0.0, **values)
    changed = {"virtual_start": start, "virtual_time": start + amount}
    return insert.on_conflict_do_update(index_elements=["project"], set_=changed)


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
    changed_rows(session, _charged(), {"of": study.project, "amount": gpu_seconds})


@cache
def _charged() -> Update:
    weight = select(ProjectRow.weight).where(ProjectRow.name == bindparam("of")).scalar_subquery()
    amount = bindparam("amount", type_=Double()) / func.coalesce(weight, 1.0)
    row = update(ShareRow).where(ShareRow.project == bindparam("of"))
    return row.values(virtual_time=ShareRow.virtual_time + amount)


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
