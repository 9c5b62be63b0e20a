"""Changes that streams of events tell of: noted while a transaction runs, stored as its last rows.

`Database.transaction` opens the sessions that do so. Studies and new assignments are noted when they are flushed;
`Leases` notes changed ones, and dispatch reports and deletions. A change says what to look at again, not what it is.
"""

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import delete, event, insert, inspect, select
from sqlalchemy.orm import Session

from luthier.service.storage.service_tables import ChangeRow
from luthier.service.storage.tables import AssignmentRow, StudyRow
from luthier.studies.protocol import USES, AssignmentKind

NOTED = (AssignmentRow.id, AssignmentRow.study_id, AssignmentRow.kind, AssignmentRow.number)  # what a note needs
UNTOLD = frozenset(
    {"ask_token", "ask_expires_at", "micro_batch", "hold_after_inspection", "idle_seconds", "first_budget", "top_rung"}
)  # of a study; no view has it
PENDING = "luthier_changes"  # the key of a session's notes


class Changed(StrEnum):
    """What has changed."""

    TRIAL = "trial"
    REPORT = "report"
    STUDY = "study"
    DELETED = "deleted"  # a study


@dataclass(frozen=True)
class Change:
    """A change, as `ChangeRow` stores it."""

    kind: Changed
    study_id: int
    assignment_id: int | None = None
    number: int | None = None
    step: int | None = None
    name: str | None = None
    project: str | None = None


class NotingSession(Session):
    """A session that knows what it has changed."""

    def store_changes(self) -> None:
        """Insert what was noted, each change once and the studies' last: their counts are those of all before."""
        self.flush()
        noted = self.info.pop(PENDING, {})
        if noted:
            ordered = sorted(noted, key=lambda change: change.kind is Changed.STUDY)
            self.connection().execute(insert(ChangeRow), [asdict(change) for change in ordered])


@event.listens_for(NotingSession, "after_flush")
def _note_flushed(session: Session, _: Any) -> None:
    for row in session.new:
        if isinstance(row, AssignmentRow):
            note_assignment(session, row)
        elif isinstance(row, StudyRow) and not row.transient:
            _note(session, Change(Changed.STUDY, row.id))
    for row in session.dirty:
        if isinstance(row, StudyRow) and not row.transient and _is_told(row):
            _note(session, Change(Changed.STUDY, row.id))
    for row in session.deleted:
        if isinstance(row, AssignmentRow):
            note_assignment(session, row)


def _is_told(study: StudyRow) -> bool:
    """Return whether anything of a study has changed that its view may show."""
    return any(column.key not in UNTOLD and column.history.has_changes() for column in inspect(study).attrs)


def _note(session: Session, change: Change) -> None:
    session.info.setdefault(PENDING, {})[change] = None


def note_assignment(session: Session, row: Any) -> None:
    """Note that an assignment has another state, is new, or is deleted; its study's counts or phase are others too.

    Args:
        session: the transaction that changes it.
        row: an AssignmentRow, or the columns NOTED.
    """
    if row.kind in USES:  # no view of a study or trial shows it
        return
    if row.kind == AssignmentKind.TRAIN:
        _note(session, Change(Changed.TRIAL, row.study_id, row.id, row.number))
    _note(session, Change(Changed.STUDY, row.study_id))


def note_report(session: Session, row: AssignmentRow, step: int) -> None:
    """Note a new evaluation of a trial; those of repetitions are not told."""
    if row.kind == AssignmentKind.TRAIN:
        _note(session, Change(Changed.REPORT, row.study_id, row.id, row.number, step))


def is_latest(session: Session, study_id: int, change: int) -> bool:
    """Return whether a study has changed no more after a change, as far as the transaction sees."""
    later = select(ChangeRow.id).where(ChangeRow.study_id == study_id, ChangeRow.id > change)
    return session.scalar(later.where(ChangeRow.kind == Changed.STUDY).order_by(ChangeRow.id.desc()).limit(1)) is None


def note_deletion(session: Session, study: StudyRow) -> None:
    """Note that a study is deleted, and remove its earlier changes."""
    session.execute(delete(ChangeRow).where(ChangeRow.study_id == study.id))
    _note(session, Change(Changed.DELETED, study.id, name=study.name, project=study.project))
