"""Routes of events, which are server-sent (/v1/events, /v1/studies/{name}/events)."""

from collections.abc import AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi.sse import EventSourceResponse, ServerSentEvent

from luthier.service.api.context import Service, ServiceDep
from luthier.service.api.event_stream import ID, KINDS, EventStream, Position, Wanted
from luthier.service.api.rate_limit import client_of
from luthier.service.api.security_headers import is_head
from luthier.service.caller import current
from luthier.service.errors import Invalid, NotFound, Unavailable, responses
from luthier.service.lifecycle import study_rows

router = APIRouter(prefix="/v1", tags=["events"])

Kind = Literal["study", "trial", "report", "log"]
EVENT_ID = {"pattern": f"^({ID.pattern})?$"}
LastEvent = Annotated[
    str,
    Header(
        alias="Last-Event-ID",
        max_length=8_000,
        description="The id of the last event seen.",
        json_schema_extra=EVENT_ID,
    ),
]
FirstEvent = Annotated[
    str,
    Query(
        alias="last_event_id",
        max_length=8_000,
        description="The same, for a browser's first request; 0: all kept.",
        json_schema_extra=EVENT_ID,
    ),
]
Kinds = Annotated[list[Kind], Query(alias="kind", description="Only events of these kinds.")]
Trial = Annotated[int | None, Query(ge=0, lt=2**31, description="Only this trial's events, and its study's.")]


@asynccontextmanager
async def _opened(
    request: Request, service: Service, name: str | None, ids: tuple[str, str], kinds: list[Kind], trial: int | None
) -> AsyncIterator[EventStream]:
    """Open a stream, as a member of the feed until the block ends. Raises NotFound, Invalid, TooMany, Unavailable."""
    if service.feed.closed:
        raise Unavailable("The service stops; come again in a moment.", retry_after=1)
    id = ids[0] or ids[1]  # a browser that comes again asks for the same address, and sends the newer id as a header
    position = Position.parse(id) if id else None

    def find() -> int | None:
        with service.core.database.reading() as session:
            return None if name is None else study_rows.find(session, name).id

    token_id = current().token_id

    def is_allowed() -> bool:
        token = None if token_id is None else service.tokens.by_id(token_id)
        return token_id is None or (token is not None and token.is_live)

    wanted = Wanted(current().project, await service.feed.in_thread(find), frozenset(kinds or KINDS), trial)
    with service.feed.joined(client_of(request.scope)):
        stream = EventStream(service.feed, wanted, position, name, is_allowed)
        await stream.open()
        yield stream


async def _of_study(
    name: str,
    request: Request,
    service: ServiceDep,
    last: LastEvent = "",
    first: FirstEvent = "",
    kinds: Kinds = [],  # noqa: B006 - FastAPI copies it
    trial: Trial = None,
) -> AsyncIterator[EventStream]:
    async with _opened(request, service, name, (last, first), kinds, trial) as stream:
        yield stream


async def _of_all(
    request: Request,
    service: ServiceDep,
    last: LastEvent = "",
    first: FirstEvent = "",
    kinds: Kinds = [],  # noqa: B006 - FastAPI copies it
) -> AsyncIterator[EventStream]:
    async with _opened(request, service, None, (last, first), kinds, None) as stream:
        yield stream


@router.get(
    "/studies/{name}/events",
    response_class=EventSourceResponse,
    responses=responses(NotFound, Invalid, Unavailable),
)
async def of_study(
    request: Request, stream: Annotated[EventStream, Depends(_of_study)]
) -> AsyncIterable[ServerSentEvent]:
    """Stream what happens to a study: `study`, `trial`, `report`, `log`; `reset` where events were missed.

    It begins with the study as it is now; after an id with what has happened since, then the study. It ends, after a
    while or with the service, and is gone on with by the last event's id; it ends for good with the study's deletion.
    """
    async for event in _answer(request, stream):
        yield event


@router.get("/events", response_class=EventSourceResponse, responses=responses(Invalid, Unavailable))
async def of_all(request: Request, stream: Annotated[EventStream, Depends(_of_all)]) -> AsyncIterable[ServerSentEvent]:
    """Stream what happens to all studies of the project, from now on or after the event whose id is given."""
    async for event in _answer(request, stream):
        yield event


async def _answer(request: Request, stream: EventStream) -> AsyncIterator[ServerSentEvent]:
    async for event in stream.sent():
        yield event
        if is_head(request.scope):
            return
