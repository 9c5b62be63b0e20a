"""Bodies that are YAML or JSON: a study's spec."""

from typing import Annotated, Any

from fastapi import Depends, Request
from pydantic import ValidationError

from service.errors import Invalid, TooLarge, invalid
from studies.spec import StudySpec, parse_spec

MAX_SPEC_BYTES = 2**20
SPEC_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            kind: {"schema": {"type": "object", "description": "A study's spec; `luthier schema` prints its schema."}}
            for kind in ("application/json", "application/yaml")
        },
    }
}


async def _spec(request: Request) -> StudySpec:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_SPEC_BYTES:
            raise TooLarge(f"A spec may have {MAX_SPEC_BYTES} bytes.")
    try:
        return parse_spec(body.decode("utf-8"))
    except ValidationError as error:
        raise invalid(error) from None
    except ValueError as error:
        raise Invalid(str(error) if not isinstance(error, UnicodeDecodeError) else "A spec is UTF-8 text.") from None


SpecBody = Annotated[StudySpec, Depends(_spec)]
