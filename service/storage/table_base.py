"""What all tables of the service share: their base, the type of their ids, and whose project a row is."""

from sqlalchemy import BigInteger, ColumnElement, Integer, String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from luthier.service.caller import DEFAULT_PROJECT, current

Id = BigInteger().with_variant(Integer, "sqlite")


class Base(DeclarativeBase):
    """The base of all tables; its metadata is what the migrations must produce."""


class OfProject:
    """A row that belongs to a project: that of the caller who inserts it, where nothing else is said."""

    project: Mapped[str] = mapped_column(
        String(64), default=lambda: current().project, server_default=DEFAULT_PROJECT, sort_order=1
    )

    @classmethod
    def is_here(cls) -> ColumnElement[bool]:
        """Return the condition that a row is of the caller's project."""
        return cls.project == current().project
