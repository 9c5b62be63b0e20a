"""Cursor paging of listings: a cursor is opaque, and stays right while rows are added.

The routes that list rows use it; a cursor that this service did not make is refused.
"""

import base64
import binascii
from collections.abc import Sequence
from typing import Annotated, Any, TypeVar

from fastapi import Query
from sqlalchemy import Select
from sqlalchemy.orm import InstrumentedAttribute, Session

from luthier.service.errors import Invalid
from luthier.service.schemas import Fault, Page

Limit = Annotated[int, Query(ge=1, le=500, description="Items in a page.")]
OPAQUE = {"format": "cursor"}  # in OpenAPI: a string that only the service makes
Cursor = Annotated[
    str | None, Query(max_length=64, description="`next_cursor` of the page before.", json_schema_extra=OPAQUE)
]
AnyLimit = Annotated[int | None, Query(ge=1, le=500, description="Items in a page; left out, all of them.")]
R = TypeVar("R")
Item = TypeVar("Item")


def encode(position: int) -> str:
    """Return the cursor of the page after `position`, a row's key (0 or more)."""
    return base64.urlsafe_b64encode(str(position).encode()).decode().rstrip("=")


def decode(cursor: str | None) -> int | None:
    """Return the key of the last row before the page; None for the first page. Raises Invalid."""
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


def part(items: Sequence[Item], position: int | None, limit: int | None) -> Page[Item]:
    """Return a page of a short list that is no table's, and the cursor of the page after it.

    Args:
        items: all of them, in order.
        position: the value that `decode` returned: how many items are on the pages before.
        limit: items in a page; None: all that are left.
    """
    first = position or 0
    end = len(items) if limit is None else first + limit
    return Page(items=list(items[first:end]), next_cursor=encode(end) if end < len(items) else None)


def fetch(
    session: Session,
    rows: Select[R],
    key: InstrumentedAttribute[int],
    position: int | None,
    limit: int,
    newest_first: bool = True,
) -> tuple[Sequence[R], str | None]:
    """Return a page of rows, and the cursor of the page after it (None on the last).

    Args:
        session: the transaction to read in.
        rows: all rows of the listing, without an order.
        key: the column that orders the rows, unique among them.
        position: the value that `decode` returned.
        limit: rows in a page.
        newest_first: from the greatest key downwards; else from the least upwards.
    """
    if position is not None:
        rows = rows.where(key < position if newest_first else key > position)
    ordered = rows.order_by(key.desc() if newest_first else key).limit(
        limit + 1
    )  # one more tells whether a page follows
    fetched = session.scalars(ordered).all()
    page = fetched[:limit]
    last: Any = page[-1] if page else None
    return page, encode(getattr(last, key.key)) if len(fetched) > limit else None
