"""The route of the log of actions (/v1/audit), for admins."""

from typing import Annotated

from fastapi import APIRouter, Query

from luthier.service.access import audit
from luthier.service.api import paging
from luthier.service.api.context import ServiceDep
from luthier.service.caller import PROJECT_NAME
from luthier.service.errors import Invalid, responses
from luthier.service.schemas import AuditView, Page
from luthier.service.storage.access_tables import AuditRow
from luthier.service.storage.damaged import instant_or_epoch

router = APIRouter(prefix="/v1", tags=["tokens"])


@router.get("/audit", responses=responses(Invalid))
def listing(
    service: ServiceDep,
    caller: Annotated[str | None, Query(max_length=64, description="Only what this token did, by its name.")] = None,
    cursor: paging.Cursor = None,
    limit: paging.Limit = 50,
    project: Annotated[
        str | None, Query(pattern=f"^{PROJECT_NAME.pattern}$", description="Only what was about this project.")
    ] = None,
) -> Page[AuditView]:
    """List who did what, newest first: requests that changed something, and those that were refused."""
    position = paging.decode(cursor)
    if position is None:
        service.audit.write()
    rows = audit.listing(caller, project)
    with service.core.database.reading() as session:
        page, next_cursor = paging.fetch(session, rows, AuditRow.id, position, limit)
        return Page(items=[_view(row) for row in page], next_cursor=next_cursor)


def _view(row: AuditRow) -> AuditView:
    return AuditView(
        id=row.id,
        at=instant_or_epoch(row.at),
        caller=row.caller,
        token_id=row.token_id,
        project=row.project,
        action=row.action,
        subject=row.subject,
        status=row.status,
        address=row.address,
    )
