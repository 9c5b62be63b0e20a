"""The running service, as its routes see it."""

from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends, Request
from sqlalchemy import select
from sqlalchemy.orm import Session

from service.core import Core
from service.dispatch import Dispatch
from service.errors import NotFound
from service.intake import Intake
from service.settings import Settings
from service.tables import StudyRow
from service.wake import Wake


@dataclass(frozen=True)
class Service:
    settings: Settings
    core: Core
    dispatch: Dispatch
    intake: Intake
    wake: Wake


def _service(request: Request) -> Service:
    return cast(Service, request.app.state.service)


ServiceDep = Annotated[Service, Depends(_service)]


def find_study(session: Session, name: str) -> StudyRow:
    """Raises NotFound."""
    # NUL is in no name, and Postgres takes none in a query.
    study = None if "\0" in name else session.scalar(select(StudyRow).where(StudyRow.name == name, ~StudyRow.transient))
    if study is None:
        raise NotFound(f"There is no study named {name}.")
    return study
