"""Work that could not be drawn or handed out: shown on its study, which ends where that cannot change.

`claims.py` calls it, outside of any transaction.
"""

import logging

from luthier.service.dispatch import checkpoints
from luthier.service.dispatch.core import Core
from luthier.service.dispatch.search_faults import Doing, error_text
from luthier.service.lifecycle import study_rows, transitions
from luthier.service.storage.tables import StudyRow
from luthier.studies.protocol import ENDED, StudyState

log = logging.getLogger("luthier")
MOST_FAILURES = 3  # draws in a row that raise the same error, which is none of the database or the machine


def note_failed_draw(core: Core, study_id: int, error: Exception) -> None:
    """Show on a study that no trial could be drawn; after `MOST_FAILURES` by the same error, end its search.

    Its running trials train to their end, and the winner among its trials is measured.
    """
    with core.database.reading() as session:
        study = session.get(StudyRow, study_id)
    if study is None or core.searches.failed(study, Doing.DRAW, error) < MOST_FAILURES:
        return
    with core.database.transaction() as session:
        study = study_rows.lock_by_id(session, study_id)
        if study is None or study.state in ENDED:
            return
        text = f"Its search failed {MOST_FAILURES} times in the same way: {error_text(error)}"
        transitions.end_search(study, StudyState.FAILED, text, error=text)
        study.search_error = core.searches.faults.healed(study_id, Doing.DRAW)
        transitions.settle(session, core.leases, study)
    log.warning("study %s ends: %s", study.name, text)
    if study.state in ENDED:
        checkpoints.clean_up(core, study)


def note_message(core: Core, study_id: int, error: Exception | None) -> None:
    """Show on a study that its queued work could not be handed out, so that it is tried again; None: it could."""
    if error is None:
        core.searches.faults.heal(study_id, Doing.HAND_OUT)
        return
    with core.database.reading() as session:
        study = session.get(StudyRow, study_id)
    if study is not None:
        core.searches.faults.note(study_id, study.name, Doing.HAND_OUT, error)
