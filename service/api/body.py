"""Request bodies that are YAML or JSON (a study's spec, a schedule), as dependencies of routes."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Request
from pydantic import ValidationError

from luthier.service.errors import Invalid, TooLarge, invalid
from luthier.studies.schedule import ScheduleSpec, parse_schedule
from luthier.studies.spec import StudySpec, parse_spec

MAX_SPEC_BYTES = 2**20
T = TypeVar("T")


def _openapi(text: str) -> dict[str, Any]:
    """Return the OpenAPI of such a body."""
    kinds = ("application/json", "application/yaml")
    content = {kind: {"schema": {"type": "object", "description": text}} for kind in kinds}
    return {"requestBody": {"required": True, "content": content}}


def _parser(parse: Callable[[str], T]) -> Callable[[Request], Awaitable[T]]:
    """Return a dependency that reads the body and parses it; it raises TooLarge and Invalid."""

    async def parse_body(request: Request) -> T:
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_SPEC_BYTES:
                raise TooLarge(f"A spec may have {MAX_SPEC_BYTES} bytes.")
        try:
            return parse(body.decode("utf-8"))
        except ValidationError as error:
            raise invalid(error) from None
        except UnicodeDecodeError:
            raise Invalid("A spec is UTF-8 text.") from None
        except ValueError as error:
            raise Invalid(str(error)) from None

    return parse_body


SPEC_BODY = _openapi("A study's spec; `luthier schema` prints its schema.")
SpecBody = Annotated[StudySpec, Depends(_parser(parse_spec))]
SCHEDULE_BODY = _openapi("A schedule; `luthier schedule schema` prints its schema.")
ScheduleBody = Annotated[ScheduleSpec, Depends(_parser(parse_schedule))]
