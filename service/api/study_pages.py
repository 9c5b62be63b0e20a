"""The page of a study under its name: /studies/{name} leads to its page in optuna-dashboard, which has numbers."""

from fastapi import APIRouter
from fastapi.responses import RedirectResponse
from sqlalchemy import text

from luthier.service.api.context import ServiceDep
from luthier.service.lifecycle import study_rows

router = APIRouter(include_in_schema=False)


@router.get("/studies/{name}")
def one_study(name: str, service: ServiceDep) -> RedirectResponse:
    """Lead to a study's page; to the list of all while it has none. Raises NotFound."""
    with service.core.database.reading() as session:
        study = study_rows.find(session, name)
        number = None
        if study.inspection is not None:
            number = session.scalar(text("SELECT study_id FROM studies WHERE study_name = :name"), {"name": name})
    return RedirectResponse("/dashboard" if number is None else f"/dashboard/studies/{number}", 303)
