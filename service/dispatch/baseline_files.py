"""The baseline's weights beside the winner's, for the evaluation that scores both on the same examples.

`payload.py` places them when an evaluation is handed out, `outcomes.py` removes them when it has ended. They are a link
in the folder of the winner's weights, which an evaluation's worker reads; one that a crash leaves is an orphan.
"""

from sqlalchemy.orm import Session

from luthier.service.dispatch.placement import trial_params
from luthier.service.errors import NotFound
from luthier.service.lifecycle import winner
from luthier.service.storage.file_store import FileStore
from luthier.service.storage.tables import AssignmentRow, StudyRow
from luthier.studies.results import BaselineWeights

NAME = "baseline.safetensors"


def place(session: Session, store: FileStore, study: StudyRow, source: AssignmentRow) -> BaselineWeights | None:
    """Link the baseline's weights into the folder of the winner's, and return them for the message of an evaluation.

    Args:
        session: the transaction that grants the lease.
        store: the files.
        study: the study whose winner is measured.
        source: the assignment that has the winner's weights.

    Returns:
        None where the winner has the baseline's own weights, and where these are gone or need not be measured.
    """
    baseline = winner.baseline_to_measure(session, study)
    if baseline is None or baseline.best is None or baseline.id == source.id:
        return None
    try:
        store.link(store.place(study.id, baseline.id, baseline.best.name), store.place(study.id, source.id, NAME))
    except NotFound:
        return None
    weights = baseline.best.model_copy(update={"name": NAME})
    return BaselineWeights(params=trial_params(study, baseline.params), seed=baseline.seed, weights=weights)


def remove(store: FileStore, study_id: int, source_id: int) -> None:
    """Remove the link from the folder of an assignment whose weights were measured, if it is there."""
    store.remove(store.place(study_id, source_id, NAME))
