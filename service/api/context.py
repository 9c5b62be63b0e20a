"""The running service, as its routes see it."""

from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends, Request

from luthier.service.api.notifier import Notifier
from luthier.service.dispatch.claims import Claims
from luthier.service.dispatch.core import Core
from luthier.service.dispatch.reports import Reports
from luthier.service.schedules.scheduler import Scheduler
from luthier.service.settings import Settings


@dataclass(frozen=True)
class Service:
    settings: Settings
    core: Core
    dispatch: Claims
    reports: Reports
    scheduler: Scheduler
    notifier: Notifier


def _service(request: Request) -> Service:
    return cast(Service, request.app.state.service)


ServiceDep = Annotated[Service, Depends(_service)]
