"""Removing a study: its rows, its search, its files."""

from sqlalchemy import delete

from luthier.service.dispatch.core import Core
from luthier.service.storage.tables import StudyRow


def study(core: Core, row: StudyRow) -> None:
    """Remove a study in which nothing runs. What was removed already is passed over."""
    if row.inspection is not None:  # Optuna's part first: a study that takes the name later must not find it
        core.searches.get(row).delete()
    with core.database.transaction() as session:
        session.execute(delete(StudyRow).where(StudyRow.id == row.id))
    forget(core, row.id)


def forget(core: Core, study_id: int) -> None:
    """Drop what is kept for a study whose rows are gone."""
    core.searches.forget(study_id)
    core.store.remove_study(study_id)
