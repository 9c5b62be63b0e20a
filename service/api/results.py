"""The route of a winner's tables (/v1/studies/{name}/results)."""

from fastapi import APIRouter
from sqlalchemy.orm import Session

from luthier.service.api.context import ServiceDep
from luthier.service.errors import Conflict, NotFound, responses
from luthier.service.lifecycle import study_rows
from luthier.service.lifecycle.packed_winner import packed_winner
from luthier.service.schemas.results import ResultsView
from luthier.service.storage.tables import ResultsRow, StudyRow

router = APIRouter(prefix="/v1/studies/{name}", tags=["studies"])


@router.get("/results", responses=responses(NotFound, Conflict))
def results(name: str, service: ServiceDep) -> ResultsView:
    """Return the winner's tables on validation and test: by class, confusion, calibration, examples to look at.

    `validation` and `test` are null for a winner that an older version measured. While an extended study has no new
    winner yet, they are those of the winner before; `trial` says which.
    """
    with service.core.database.reading() as session:
        return results_view(session, study_rows.find(session, name))


def results_view(session: Session, study: StudyRow) -> ResultsView:
    """Return the tables of the winner whose model a study has. Raises Conflict where there is none."""
    if study.external:
        why = "its trainer is its user's own, and has told its scores alone"
        raise Conflict(f"{study.name} has no tables: {why}. Its trials and its report show them.")
    packed = packed_winner(study)
    if packed is None:
        raise Conflict(f"{study.name} has no results yet: it is {study.state}, and they come with the packed winner.")
    if packed.trial is None:
        why = "are of an end before an older version extended it, and their trial is not known"
        raise Conflict(f"The tables of {study.name} {why}; those of its new winner come when it has ended.")
    row = session.get(ResultsRow, study.id)
    tables = None if row is None or row.results is None else row.results
    return ResultsView(
        study=study.name,
        trial=packed.trial,
        is_earlier=packed.is_earlier,
        metric=study.spec.objective.metric,
        validation=None if tables is None else tables.validation,
        test=None if tables is None else tables.test,
    )
