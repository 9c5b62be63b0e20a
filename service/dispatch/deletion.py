"""Deletion of a study: its search in Optuna's tables, its rows, its files.

Called by the API and by the retention of schedules. The caller makes sure that nothing of the study runs.
"""

from sqlalchemy import delete, select

from luthier.service.dispatch.core import Core
from luthier.service.storage import shares
from luthier.service.storage.changes import note_deletion
from luthier.service.storage.tables import StudyRow


def delete_study(core: Core, study: StudyRow) -> None:
    """Delete a study in which nothing runs, in transactions of its own. A repeated call is safe, also after a crash."""
    if study.inspection is not None:  # Optuna's part first: a study that takes the name later must not find it
        core.searches.delete(study)
    with core.database.transaction() as session:
        present = session.scalar(select(StudyRow).where(StudyRow.id == study.id).with_for_update())
        if present is not None:  # else it was deleted before
            shares.keep_usage(core.database, session, present)
        note_deletion(session, study)
        session.execute(delete(StudyRow).where(StudyRow.id == study.id))
    drop_leftovers(core, study.id)


def drop_leftovers(core: Core, study_id: int) -> None:
    """Close the search and remove the files of a study whose rows are gone."""
    core.searches.forget(study_id)
    core.store.remove_study(study_id)
