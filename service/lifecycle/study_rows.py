"""Rows of studies: found by name, locked by name, by id, or through an assignment.

Called by the API, the schedules and dispatch at the start of a transaction. A name is one of the caller's project; of
other projects nothing is found, nor meant. Plans (`StudyRow.transient`) have no name
that a user may use, and are not found by one. Nothing is changed here.
"""

from difflib import get_close_matches

from sqlalchemy import ColumnElement, Select, bindparam, select, text
from sqlalchemy.orm import Session

from luthier.service.caller import current
from luthier.service.errors import NotFound
from luthier.service.storage.tables import AssignmentRow, StudyRow, named_in_search

LOCKED = select(StudyRow).where(StudyRow.id == bindparam("study_id")).with_for_update()
NAMES = 1_000  # of the latest studies, among which a name is looked for that was meant


def is_shown() -> ColumnElement[bool]:
    """Return the condition that a study is one that the caller may see: of the caller's project, and no plan."""
    return StudyRow.is_here() & ~StudyRow.transient


def find(session: Session, name: str) -> StudyRow:
    """Return the study's row as it is now, without a lock. Raises NotFound."""
    return _by_name(session, name, select(StudyRow))


def lock(session: Session, name: str) -> StudyRow:
    """Return the study's row, locked until the transaction ends. Raises NotFound."""
    return _by_name(session, name, select(StudyRow).with_for_update())


def state_of(session: Session, name: str) -> str | None:
    """Return the study's state as it is now, of a row that may be locked later; None where there is none."""
    if "\0" in name:
        return None
    return session.scalar(select(StudyRow.state).where(StudyRow.name == name, ~StudyRow.transient))


def lock_by_id(session: Session, study_id: int) -> StudyRow | None:
    """Return the study's row, locked until the transaction ends; None when the study was deleted."""
    return session.scalar(LOCKED, {"study_id": study_id})


def lock_of_assignment(session: Session, assignment_id: int) -> StudyRow | None:
    """Return the row of an assignment's study, locked until the transaction ends; None when it was deleted.

    The assignment itself is not locked: that comes second (see `Leases`).
    """
    study_id = select(AssignmentRow.study_id).where(AssignmentRow.id == assignment_id).scalar_subquery()
    return session.scalar(select(StudyRow).where(StudyRow.id == study_id).with_for_update())


def name_in_optuna(session: Session, optuna_id: int) -> str | None:
    """Return the name of the study of the caller's project that has an id in Optuna's tables; None for no such one."""
    named = session.scalar(text("SELECT study_name FROM studies WHERE study_id = :id"), {"id": optuna_id})
    project, name = named_in_search(named or "")
    return name if named is not None and project == current().project else None


def _by_name(session: Session, name: str, statement: Select[StudyRow]) -> StudyRow:
    # No name holds NUL, and Postgres refuses a query that does.
    study = None if "\0" in name else session.scalar(statement.where(StudyRow.name == name, is_shown()))
    if study is None:
        raise NotFound(f"There is no study named {name}.{_meant(session, name)}")
    return study


def _meant(session: Session, name: str) -> str:
    """Return the name that a user may have meant, as a sentence; "" for none."""
    names = session.scalars(select(StudyRow.name).where(is_shown()).order_by(StudyRow.id.desc()).limit(NAMES))
    near = get_close_matches(name[:100], names.all(), 1)
    return f" Did you mean {near[0]}?" if near else ""
