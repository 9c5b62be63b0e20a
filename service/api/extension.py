"""The route that extends a study: POST /v1/studies/{name}/extend."""

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict

from luthier.service.api import views
from luthier.service.api.context import ServiceDep
from luthier.service.api.json_body import JsonRoute
from luthier.service.errors import Conflict, Invalid, NotFound, responses
from luthier.service.lifecycle import extension, study_rows
from luthier.service.lifecycle.creation_limits import CreationLimits
from luthier.service.schemas import StudyView
from luthier.studies.budget import Budget
from luthier.studies.protocol import ENDED

router = APIRouter(prefix="/v1/studies", tags=["studies"], route_class=JsonRoute)


class Extension(BaseModel):
    """A larger budget.

    Attributes:
        budget: the new totals; what is left out stays as it is, and null removes a limit.
    """

    model_config = ConfigDict(extra="forbid")
    budget: Budget


@router.post("/{name}/extend", responses=responses(NotFound, Conflict, Invalid))
def extend(name: str, larger: Extension, service: ServiceDep) -> StudyView:
    """Give a study a larger budget; one that has ended goes on with its search's memory, to a new end and measurement.

    The budget has new totals, not what is added: sent twice it changes nothing more. Until the next end the study keeps
    the model that it has.
    """
    core = service.core
    with core.database.transaction() as session:
        if study_rows.state_of(session, name) in ENDED:
            # Before the lock of its row, as whoever creates a study.
            CreationLimits(service.settings, core.database).check_study(session)
        study = study_rows.lock(session, name)
        extension.extend(session, core.leases, core.store, study, larger.budget)
        view = views.study_view(session, study)
    service.notifier.notify()
    return view
