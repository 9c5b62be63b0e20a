"""The running service, as its routes see it."""

from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends, Request

from service.core import Core
from service.dispatch import Dispatch
from service.intake import Intake
from service.schedules.scheduler import Scheduler
from service.settings import Settings
from service.wake import Wake


@dataclass(frozen=True)
class Service:
    settings: Settings
    core: Core
    dispatch: Dispatch
    intake: Intake
    scheduler: Scheduler
    wake: Wake


def _service(request: Request) -> Service:
    return cast(Service, request.app.state.service)


ServiceDep = Annotated[Service, Depends(_service)]
