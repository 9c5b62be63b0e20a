"""The tables of schedules: their specs, runs, models in use and notifications.

`service/schedules` writes them, and what must not remove a model in use reads them. See `tables.py`.
"""

from typing import Any

from sqlalchemy import JSON, BigInteger, Double, ForeignKey, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from luthier.service.caller import current
from luthier.service.storage.column_types import (
    PydanticJson,
    PydanticText,
    ScoresJson,
)
from luthier.service.storage.table_base import Base, Id, OfProject
from luthier.studies.promotion import PromotionDecision
from luthier.studies.schedule import ScheduleSpec
from luthier.studies.wire import FileRef


class ScheduleRow(OfProject, Base):
    """A schedule: its spec, its next due time, and the model in use."""

    __tablename__ = "luthier_schedule"
    __table_args__ = (UniqueConstraint("project", "name"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    name: Mapped[str] = mapped_column(String(64))
    spec: Mapped[ScheduleSpec] = mapped_column(PydanticText(ScheduleSpec))
    created_at: Mapped[float] = mapped_column(Double)
    dealt_until: Mapped[float] = mapped_column(Double)  # every due time up to here is a run's row
    next_at: Mapped[float | None] = mapped_column(Double, index=True)  # the next due time; None: max_runs is reached
    fired: Mapped[int] = mapped_column(default=0)  # runs so far, without the skipped ones
    champion_id: Mapped[int | None] = mapped_column(BigInteger)  # the model in use
    owner: Mapped[str | None] = mapped_column(String(64), default=lambda: current().name)
    """The name of the caller who created it, and whose limits hold for its runs; None: of an older version."""


class RunRow(Base):
    """A due time of a schedule: a run, or why there was none. The pair is unique: a due time is processed once."""

    __tablename__ = "luthier_run"
    __table_args__ = (UniqueConstraint("schedule_id", "due_at"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    schedule_id: Mapped[int] = mapped_column(ForeignKey("luthier_schedule.id", ondelete="CASCADE"))
    due_at: Mapped[float] = mapped_column(Double)
    manual: Mapped[bool] = mapped_column(default=False)  # triggered by a user
    state: Mapped[str] = mapped_column(String(16), index=True)
    reason: Mapped[str | None] = mapped_column(String(16))  # of a skipped one
    outcome: Mapped[str | None] = mapped_column(String(16))  # of a finished one
    message: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[float] = mapped_column(Double)
    finished_at: Mapped[float | None] = mapped_column(Double)
    study: Mapped[str | None] = mapped_column(String(64))  # its name; it may be gone
    study_id: Mapped[int | None] = mapped_column(BigInteger)
    template: Mapped[str] = mapped_column(String(64))  # digest of the study to repeat
    fingerprint: Mapped[str | None] = mapped_column(String(64))  # of the data
    started: Mapped[bool] = mapped_column(default=False)  # the data was looked at, the search is warm
    warm_start: Mapped[list[Any] | None] = mapped_column(JSON(none_as_null=True))  # old configurations and their use
    top: Mapped[list[Any] | None] = mapped_column(JSON(none_as_null=True))  # its best configurations, for the next run
    judgement: Mapped[PromotionDecision | None] = mapped_column(PydanticText(PromotionDecision))
    rival_id: Mapped[int | None] = mapped_column(BigInteger)  # the champion it was compared with
    turn: Mapped[str | None] = mapped_column(String(64))  # token of the service that advances it now
    turn_until: Mapped[float | None] = mapped_column(Double)


class ChampionRow(Base):
    """A model that was, or is, in use. Its file lies apart from the files of its study, which may be deleted."""

    __tablename__ = "luthier_champion"
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    schedule_id: Mapped[int] = mapped_column(ForeignKey("luthier_schedule.id", ondelete="CASCADE"), index=True)
    run_id: Mapped[int] = mapped_column(BigInteger, unique=True)
    study: Mapped[str] = mapped_column(String(64))
    trial: Mapped[int]
    params: Mapped[dict[str, Any]] = mapped_column(JSON)
    test: Mapped[dict[str, Any]] = mapped_column(ScoresJson)  # its scores on the day it was promoted
    model: Mapped[FileRef] = mapped_column(PydanticJson(FileRef))  # in the schedule's own folder of the store
    previous_id: Mapped[int | None] = mapped_column(BigInteger)  # the champion before it
    promoted_at: Mapped[float] = mapped_column(Double)
    withdrawn_at: Mapped[float | None] = mapped_column(Double)  # rolled back


class DeliveryRow(Base):
    """A notification that the service's webhook has not taken yet, or did not take."""

    __tablename__ = "luthier_delivery"
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    schedule_id: Mapped[int] = mapped_column(ForeignKey("luthier_schedule.id", ondelete="CASCADE"), index=True)
    event: Mapped[str] = mapped_column(String(16))
    body: Mapped[str] = mapped_column(Text)  # JSON, as it is sent and signed
    attempts: Mapped[int] = mapped_column(default=0)
    next_at: Mapped[float | None] = mapped_column(Double, index=True)  # None: delivered, or given up
    delivered_at: Mapped[float | None] = mapped_column(Double)
    error: Mapped[str | None] = mapped_column(Text)  # of the last attempt
    created_at: Mapped[float] = mapped_column(Double)
