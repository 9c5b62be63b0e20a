"""Notices of studies that have ended, for the service's webhook: queued in the transaction of the end itself.

`transitions.py` calls it; `schedules/webhook.py` writes their text and sends them. A study of a schedule's run has
none: the run's own notification tells of it.
"""

from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from luthier.service.storage.database import Database
from luthier.service.storage.schedule_tables import RunRow
from luthier.service.storage.tables import StudyDeliveryRow, StudyRow


def queue_notice(session: Session, database: Database, study: StudyRow) -> None:
    """Queue the notice of a locked study that has just ended, where the service has a webhook and its spec wants it."""
    if not database.tells_ends or study.transient:
        return
    if study.is_readable and study.state not in study.spec.notify:
        return
    if session.scalar(select(exists().where(RunRow.study_id == study.id))):
        return
    now = database.time(session)
    session.add(StudyDeliveryRow(study_id=study.id, event=study.state, next_at=now, created_at=now))
