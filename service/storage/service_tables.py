"""The tables of what a service has beside studies and schedules: who is there, changes, data sets.

The wings that are named after these things write them. See `tables.py`.
"""

from typing import Any

from sqlalchemy import JSON, BigInteger, Double, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from luthier.service.storage.column_types import PydanticText
from luthier.service.storage.health import Record
from luthier.service.storage.table_base import Base, Id, OfProject


class ChangeRow(Base):
    """A change that streams of events tell of: what changed, not what it is now. The oldest rows are removed.

    It has no foreign key: a check of one locks the study's row, which the writer of a report must not.
    """

    __tablename__ = "luthier_change"
    __table_args__ = (Index("ix_luthier_change_study", "study_id", "id"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    study_id: Mapped[int] = mapped_column(BigInteger)
    kind: Mapped[str] = mapped_column(String(8))  # a `Changed`
    assignment_id: Mapped[int | None] = mapped_column(BigInteger)  # of a trial or a report
    number: Mapped[int | None]  # the trial's
    step: Mapped[int | None]  # of a report
    name: Mapped[str | None] = mapped_column(String(64))  # of a study that is gone
    project: Mapped[str | None] = mapped_column(String(64))  # of a study that is gone; None: `default`


class WorkerRow(Base):
    """A worker, as its latest claim described it."""

    __tablename__ = "luthier_worker"

    name: Mapped[str] = mapped_column(String(128), primary_key=True)
    device: Mapped[str] = mapped_column(String(200))
    version: Mapped[str] = mapped_column(String(50))
    gpu: Mapped[str | None] = mapped_column(String(200))
    gpu_bytes: Mapped[int | None] = mapped_column(BigInteger)  # its memory
    host: Mapped[str | None] = mapped_column(String(200))  # its machine, where it says so
    libraries: Mapped[dict[str, Any] | None] = mapped_column(JSON)  # name -> version
    seen_at: Mapped[float] = mapped_column(Double)  # some seconds ahead while its claim waits (`Presence`)


class HealthRow(Base):
    """The health of a worker that failed at work of late, or is or was in quarantine; all others have no row.

    It is a table of its own, as a claim locks its worker's row before any study's, and the end of work after it.
    """

    __tablename__ = "luthier_health"

    worker: Mapped[str] = mapped_column(String(128), primary_key=True)
    record: Mapped[Record | None] = mapped_column(PydanticText(Record))
    quarantined_at: Mapped[float | None] = mapped_column(Double)  # None: it is not in quarantine
    is_slow: Mapped[bool] = mapped_column(default=False)  # it is there for its speed
    reason: Mapped[str | None] = mapped_column(Text)  # why it is, or was last
    until: Mapped[float | None] = mapped_column(Double)  # then it gets a probe
    pause_seconds: Mapped[float] = mapped_column(Double, default=0.0)  # the latest pause before a probe
    probe: Mapped[int | None] = mapped_column(BigInteger)  # the id of the latest assignment that is or was one
    changed_at: Mapped[float] = mapped_column(Double)


class ServiceRow(Base):
    """A running service. A service that is alone on a database need not read its own changes again."""

    __tablename__ = "luthier_service"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    seen_at: Mapped[float] = mapped_column(Double)


class DatasetRow(OfProject, Base):
    """An uploaded data set. Its files lie in a folder of the store, `studies.uploads.store_folder(digest)`.

    The data sets with the same content, of several projects, share that folder.
    """

    __tablename__ = "luthier_dataset"
    __table_args__ = (UniqueConstraint("project", "digest"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    digest: Mapped[str] = mapped_column(String(16), index=True)  # the id that users know, of kind and content
    name: Mapped[str] = mapped_column(String(200))
    kind: Mapped[str] = mapped_column(String(20))
    sha256: Mapped[str] = mapped_column(String(64))  # of the file as it was uploaded
    bytes: Mapped[int] = mapped_column(BigInteger)  # of that file
    unpacked_bytes: Mapped[int] = mapped_column(BigInteger)  # of all files that workers read
    file_count: Mapped[int]
    files: Mapped[list[Any]] = mapped_column(JSON)  # {path, bytes} of the first of them
    created_at: Mapped[float] = mapped_column(Double)
