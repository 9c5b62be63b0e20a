"""The tables of fair shares: what projects were charged with, and what deleted studies had used.

See `tables.py`.
"""

from sqlalchemy import Double, String
from sqlalchemy.orm import Mapped, mapped_column

from luthier.service.storage.table_base import Base

FLEET = ""  # no project has this name


class ShareRow(Base):
    """What a project was charged with; the row named `FLEET` holds what is owed to lower priorities."""

    __tablename__ = "luthier_share"

    project: Mapped[str] = mapped_column(String(64), primary_key=True)
    virtual_time: Mapped[float] = mapped_column(Double, default=0.0)  # GPU seconds over its weight, as of studies
    virtual_start: Mapped[float] = mapped_column(Double, default=0.0)  # that number before its latest trial
    owed: Mapped[float] = mapped_column(Double, default=0.0)
    """GPU seconds that lower priorities are owed, of those handed out while they waited; in the fleet's row only."""


class DeletedUsageRow(Base):
    """The GPU seconds of deleted studies, so that a deletion gives no quota back."""

    __tablename__ = "luthier_deleted_usage"

    project: Mapped[str] = mapped_column(String(64), primary_key=True)
    owner: Mapped[str] = mapped_column(String(64), primary_key=True)  # "" for none
    gpu_seconds: Mapped[float] = mapped_column(Double)
