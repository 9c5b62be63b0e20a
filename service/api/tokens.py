"""Routes of tokens (/v1/tokens), for admins: make one, list, change, revoke."""

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

from luthier.service.access import tokens
from luthier.service.access.known_tokens import scopes_of
from luthier.service.access.tokens import NewToken, TokenState
from luthier.service.api import paging
from luthier.service.api.context import Service, ServiceDep
from luthier.service.api.json_body import JsonRoute
from luthier.service.api.request_project import RULE
from luthier.service.caller import PROJECT_NAME, Scope, current
from luthier.service.errors import Conflict, Invalid, NotFound, responses
from luthier.service.schemas import NewTokenView, Page, TokenView
from luthier.service.storage.access_tables import TokenRow
from luthier.service.storage.damaged import instant_or_epoch
from luthier.service.times import instant

router = APIRouter(prefix="/v1/tokens", tags=["tokens"], route_class=JsonRoute)
Id = Annotated[int, Path(ge=1, lt=2**63)]
MOST_SECONDS = 1e12  # GPU seconds that a limit may have


def _checked_name(name: str) -> str:
    if not tokens.NAME.fullmatch(name):
        raise ValueError(f"must have {tokens.NAME_RULE}")
    if name in tokens.RESERVED:
        raise ValueError(f"{name} names callers without a token of their own; take another name")
    return name


def _checked_project(name: str | None) -> str | None:
    if name is not None and not PROJECT_NAME.fullmatch(name):
        raise ValueError(RULE)
    return name


def _checked_scopes(scopes: list[Scope]) -> list[Scope]:
    if not scopes:
        raise ValueError("must have at least one of read, write, worker and admin")
    return scopes


def _checked_end(end: datetime | None) -> datetime | None:
    if end is not None and end.year > 9000:
        raise ValueError("must be before the year 9000; leave it out for a token without an end")
    return end


def _shown(**keywords: Any) -> Any:
    """Return a field whose schema has more keywords: what a check of ours, with a sentence of its own, asks."""
    return Field(json_schema_extra=keywords)


MaxParallel = Annotated[int | None, Field(ge=1, le=1_000_000, strict=True)]
MaxGpuSeconds = Annotated[float | None, Field(gt=0, le=MOST_SECONDS, allow_inf_nan=False)]
End = Annotated[AwareDatetime | None, AfterValidator(_checked_end)]


Project = Annotated[str | None, AfterValidator(_checked_project), _shown(pattern=rf"^{PROJECT_NAME.pattern}$")]


class TokenSpec(BaseModel):
    """A token to be made.

    Attributes:
        name: its person's or program's; live tokens have different ones.
        scopes: read, write (includes read), admin (includes both), worker (the worker protocol, of all projects).
        project: the project that it works in; left out: the project of the request.
        expires_at: when it ends (RFC 3339, with an offset); left out: never.
        max_parallel: trials that may run at once, in all studies that this name creates; left out: no limit.
        max_gpu_seconds: GPU seconds that these studies may use together; left out: no limit.
    """

    model_config = ConfigDict(extra="forbid")
    name: Annotated[str, AfterValidator(_checked_name), _shown(pattern=rf"^{tokens.NAME.pattern}$")]
    scopes: Annotated[list[Scope], Field(max_length=20), AfterValidator(_checked_scopes), _shown(minItems=1)]
    project: Annotated[str | None, AfterValidator(_checked_project), _shown(pattern=rf"^{PROJECT_NAME.pattern}$")] = (
        None
    )
    expires_at: End = None
    max_parallel: MaxParallel = None
    max_gpu_seconds: MaxGpuSeconds = None


class TokenChanges(BaseModel):
    """Keys of a token and their new values; null takes a limit, or the end, away."""

    model_config = ConfigDict(extra="forbid")
    expires_at: End = None
    max_parallel: MaxParallel = None
    max_gpu_seconds: MaxGpuSeconds = None


@router.post("", status_code=201, responses=responses(NotFound, Conflict, Invalid))
def create(spec: TokenSpec, service: ServiceDep, response: Response) -> NewTokenView:
    """Make a token, and show its secret, once: the service stores no more than its digest."""
    creator = current()
    limits = {"max_parallel": spec.max_parallel, "max_gpu_seconds": spec.max_gpu_seconds}
    end = None if spec.expires_at is None else spec.expires_at.timestamp()
    new = NewToken(spec.name, spec.scopes, spec.project or creator.project, end, limits)
    database = service.core.database
    with database.transaction() as session:
        row, secret = tokens.create(session, database, creator, new)
        view = NewTokenView(**_fields(row, database.time(session)), secret=secret)
    service.tokens.forget()
    response.headers["Location"] = f"/v1/tokens/{row.id}"
    response.headers["Cache-Control"] = "no-store"
    return view


@router.get("", responses=responses(Invalid))
def listing(
    service: ServiceDep,
    state: Annotated[TokenState | None, Query(description="Only tokens in this state.")] = None,
    cursor: paging.Cursor = None,
    limit: paging.Limit = 50,
) -> Page[TokenView]:
    """List the tokens of all projects, newest first, without their secrets; ended ones for as long as the log."""
    position = paging.decode(cursor)
    database = service.core.database
    with database.reading() as session:
        page, next_cursor = paging.fetch(session, tokens.listing(database, state), TokenRow.id, position, limit)
        return Page(items=_views(service, page, database.time(session)), next_cursor=next_cursor)


@router.patch("/{id}", responses=responses(NotFound, Conflict, Invalid))
def change(id: Id, changes: TokenChanges, service: ServiceDep) -> TokenView:
    """Change a live token's limits, or when it expires; keys that are left out stay."""
    given = changes.model_dump(exclude_unset=True)
    if given.get("expires_at") is not None:
        given["expires_at"] = given["expires_at"].timestamp()
    database = service.core.database
    with database.transaction() as session:
        row = tokens.lock(session, id)
        now = database.time(session)
        tokens.change(session, current(), row, given, now)
        view = _views(service, [row], now)[0]
    service.tokens.forget()
    service.notifier.notify()  # trials may wait for a limit
    return view


@router.delete("/{id}", status_code=204, responses=responses(NotFound, Invalid))
def revoke(id: Id, service: ServiceDep) -> None:
    """Revoke a token: this service refuses it at once, others of its database within a second. It stays in the list."""
    database = service.core.database
    with database.transaction() as session:
        tokens.revoke(tokens.lock(session, id), database.time(session))
    service.tokens.forget()


def _views(service: Service, rows: Iterable[TokenRow], now: float) -> list[TokenView]:
    """Return views of rows; a use that this service has not stored yet counts."""
    used = service.tokens.unstored_uses(now)
    return [TokenView(**_fields(row, now, used.get(row.id))) for row in rows]


def _fields(row: TokenRow, now: float, used: float | None = None) -> dict[str, Any]:
    last = max((at for at in (row.last_used_at, used) if at is not None), default=None)
    return {
        "id": row.id,
        "name": row.name,
        "scopes": scopes_of(row),
        "project": row.project,
        "state": tokens.state_of(row, now),
        "created_at": instant_or_epoch(row.created_at),
        "created_by": row.created_by,
        "expires_at": instant(row.expires_at),
        "last_used_at": instant(last),
        "revoked_at": instant(row.revoked_at),
        "max_parallel": row.max_parallel,
        "max_gpu_seconds": row.max_gpu_seconds,
    }
