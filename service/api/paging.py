"""Cursor paging: a cursor is opaque, stays right while rows are added, and says so when it is not ours."""

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Annotated, TypeVar

from fastapi import Query

from luthier.service.errors import Invalid
from luthier.service.schemas import Fault

Limit = Annotated[int, Query(ge=1, le=500, description="Items in a page.")]
Cursor = Annotated[str | None, Query(max_length=64, description="`next_cursor` of the page before.")]
R = TypeVar("R")


def encode(position: int) -> str:
    return base64.urlsafe_b64encode(str(position).encode()).decode().rstrip("=")


def decode(cursor: str | None) -> int | None:
    """The position after which the page starts. Raises Invalid."""
    if cursor is None:
        return None
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii")
        if text.isdigit() and len(text) < 19:
            return int(text)
    except (binascii.Error, ValueError):
        pass
    message = "must be the next_cursor of an earlier page"
    raise Invalid(f"cursor: {message}", [Fault(path="cursor", message=message)])


def cut(rows: Sequence[R], limit: int, position: Callable[[R], int]) -> tuple[Sequence[R], str | None]:
    """A page of rows fetched with limit + 1, and the cursor of the next."""
    page = rows[:limit]
    return page, encode(position(page[-1])) if len(rows) > limit else None
