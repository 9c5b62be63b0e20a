"""The running service as its routes see it: a dependency of FastAPI that `create_app` fills."""

from dataclasses import dataclass, field
from typing import Annotated, cast

from fastapi import Depends, Request

from luthier.service.access.audit import AuditLog
from luthier.service.access.known_tokens import KnownTokens
from luthier.service.api.drawings import Drawings
from luthier.service.api.event_feed import Feed
from luthier.service.api.notifier import Notifier
from luthier.service.api.waiting_line import WaitingLine
from luthier.service.dispatch.claims import Claims
from luthier.service.dispatch.core import Core
from luthier.service.dispatch.reports import Reports
from luthier.service.schedules.scheduler import Scheduler
from luthier.service.settings import Settings


@dataclass(frozen=True)
class Service:
    """The parts of a running service; threads may share them all.

    Attributes:
        settings: those that it was started with.
        core: database, leases, searches and files.
        claims: hands out assignments.
        reports: takes evaluations and outcomes.
        scheduler: fires due times and moves runs forward.
        notifier: tells of changes those who wait for them.
        line: the claims that wait for work.
        feed: the events, for streams.
        tokens: what is known of the tokens in the database.
        audit: the log of who did what.
        drawings: draws plots, and keeps them.
    """

    settings: Settings
    core: Core
    claims: Claims
    reports: Reports
    scheduler: Scheduler
    notifier: Notifier
    line: WaitingLine
    feed: Feed
    tokens: KnownTokens
    audit: AuditLog
    drawings: Drawings = field(default_factory=Drawings)


def _service(request: Request) -> Service:
    return cast(Service, request.app.state.service)


ServiceDep = Annotated[Service, Depends(_service)]
