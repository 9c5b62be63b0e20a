"""The tables of those who share a service: tokens, projects, and the log of who did what. See `tables.py`."""

from typing import Any

from sqlalchemy import JSON, Double, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from luthier.service.storage.table_base import Base, Id


class TokenRow(Base):
    """A token of a person or a program. The secret itself is stored nowhere."""

    __tablename__ = "luthier_token"
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    name: Mapped[str] = mapped_column(String(64), index=True)
    digest: Mapped[str] = mapped_column(String(64), unique=True)  # SHA-256 of the secret, in hexadecimal digits
    scopes: Mapped[list[Any]] = mapped_column(JSON)  # of `Scope`
    project: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[float] = mapped_column(Double)
    created_by: Mapped[str] = mapped_column(String(64))  # the name of the caller
    expires_at: Mapped[float | None] = mapped_column(Double)
    last_used_at: Mapped[float | None] = mapped_column(Double)
    revoked_at: Mapped[float | None] = mapped_column(Double)
    max_parallel: Mapped[int | None]  # trials that may run at once, in all studies that its name created
    max_gpu_seconds: Mapped[float | None] = mapped_column(Double)  # that these studies may use together


class ProjectRow(Base):
    """A project: its share of the fleet, and its limits. One that has no row has the defaults."""

    __tablename__ = "luthier_project"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    created_at: Mapped[float] = mapped_column(Double)
    weight: Mapped[float] = mapped_column(
        Double, default=1.0
    )  # its share of GPU seconds, beside others of its priority
    priority: Mapped[int] = mapped_column(default=0)  # a higher one goes first
    max_parallel: Mapped[int | None]  # trials that may run at once; None: no limit
    max_gpu_seconds: Mapped[float | None] = mapped_column(Double)  # that its studies may use together; None: no limit


class AuditRow(Base):
    """What a caller did: one request that changed something, or that was refused."""

    __tablename__ = "luthier_audit"
    __table_args__ = (Index("ix_luthier_audit_project", "project", "id"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    at: Mapped[float] = mapped_column(Double)
    caller: Mapped[str] = mapped_column(String(64))
    token_id: Mapped[int | None] = mapped_column(Id)
    project: Mapped[str] = mapped_column(String(64))
    action: Mapped[str] = mapped_column(String(128))  # method and route
    subject: Mapped[str | None] = mapped_column(Text)  # the path's parts, for people
    status: Mapped[int]  # of the answer
    address: Mapped[str | None] = mapped_column(String(64))  # of the client
