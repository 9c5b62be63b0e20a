"""Pages of listings, as the REST interface answers them."""

from typing import Generic, TypeVar

from pydantic import BaseModel

T = TypeVar("T")


class Page(BaseModel, Generic[T]):
    """A page of a list.

    Attributes:
        items: at most as many as the request's `limit`.
        next_cursor: the `cursor` that asks for the next page; null on the last.
    """

    items: list[T]
    next_cursor: str | None = None
