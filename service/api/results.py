"""The route of a winner's tables (/v1/studies/{name}/results)."""

from fastapi import APIRouter

from luthier.service.api.context import ServiceDep
from luthier.service.errors import Conflict, NotFound, responses
from luthier.service.lifecycle import study_rows, winner
from luthier.service.schemas.results import ResultsView
from luthier.service.storage.tables import ResultsRow

router = APIRouter(prefix="/v1/studies/{name}", tags=["studies"])


@router.get("/results", responses=responses(NotFound, Conflict))
def results(name: str, service: ServiceDep) -> ResultsView:
    """Return the winner's tables on validation and test: by class, confusion, calibration, examples to look at.

    `validation` and `test` are null for a winner that an older version measured.
    """
    with service.core.database.reading() as session:
        study = study_rows.find(session, name)
        if study.external:
            why = "its trainer is its user's own, and has told its scores alone"
            raise Conflict(f"{name} has no tables: {why}. Its trials and its report show them.")
        if winner.measured_model(session, study) is None:
            raise Conflict(f"{name} has no results yet: it is {study.state}, and they come with the packed winner.")
        row = session.get(ResultsRow, study.id)
        found = None if row is None or row.results is None else row.results
        return ResultsView(
            study=study.name,
            trial=study.winner or 0,
            metric=study.spec.objective.metric,
            validation=None if found is None else found.validation,
            test=None if found is None else found.test,
        )
