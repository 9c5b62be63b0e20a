"""Request bodies that are YAML or JSON (a study's spec, a schedule or changes of it), as dependencies of routes.

They are parsed in a thread, by their content: a program need not say which of the two it sends.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Query, Request
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool

from luthier.service.errors import Invalid, invalid, unreadable
from luthier.studies.documents import DocumentError, decode, mapping_of
from luthier.studies.schedule import ScheduleSpec, parse_schedule
from luthier.studies.semantics import NEWEST_SEMANTICS, OLDEST_SEMANTICS
from luthier.studies.spec import StudySpec, parse_spec

T = TypeVar("T")


def _openapi(text: str) -> dict[str, Any]:
    """Return the OpenAPI of such a body."""
    kinds = ("application/json", "application/yaml")
    content = {kind: {"schema": {"type": "object", "description": text}} for kind in kinds}
    return {"requestBody": {"required": True, "content": content}}


def _parser(parse: Callable[[str], T]) -> Callable[[Request], Awaitable[T]]:
    """Return a dependency that reads the body and parses it; it raises Invalid."""

    def parse_bytes(body: bytes) -> T:
        try:
            return parse(decode(body))
        except ValidationError as error:
            raise invalid(error) from None
        except DocumentError as error:
            raise unreadable(error) from None
        except ValueError as error:
            raise Invalid(str(error)) from None

    async def parse_body(request: Request) -> T:
        return await run_in_threadpool(parse_bytes, await request.body())

    return parse_body


def _parse_changes(text: str) -> dict[str, Any]:
    return mapping_of(text, "changes are a mapping of a schedule's keys to their new values")


Semantics = Annotated[
    int | None,
    Query(
        ge=OLDEST_SEMANTICS,
        le=NEWEST_SEMANTICS,
        description="Defaults and ways of scoring of an earlier version, as a bundle's study has them; else today's.",
    ),
]


async def _study_spec(request: Request, semantics: Semantics = None) -> StudySpec:
    """Return the spec in a request's body, with the semantics that its query asks for."""
    return await _parser(partial(parse_spec, semantics=semantics or NEWEST_SEMANTICS))(request)


StudyBody = Annotated[StudySpec, Depends(_study_spec)]
SPEC_BODY = _openapi("A study's spec; `luthier schema` prints its schema.")
SpecBody = Annotated[StudySpec, Depends(_parser(parse_spec))]
SCHEDULE_BODY = _openapi("A schedule; `luthier schedule schema` prints its schema.")
ScheduleBody = Annotated[ScheduleSpec, Depends(_parser(parse_schedule))]
CHANGES_BODY = _openapi("Keys of a schedule and their new values.")
ChangesBody = Annotated[dict[str, Any], Depends(_parser(_parse_changes))]
