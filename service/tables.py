"""Our tables. Optuna owns `studies`, `trials`, `alembic_version` and others in the same database.

Instants are seconds since the epoch, by the database's clock. Optuna holds what the sampler needs; these rows hold
execution, and are written first.
"""

from functools import lru_cache
from typing import Any

from pydantic import BaseModel
from sqlalchemy import (
    JSON,
    BigInteger,
    Double,
    ForeignKey,
    Index,
    Integer,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from studies.protocol import Inspection
from studies.spec import StudySpec

Id = BigInteger().with_variant(Integer, "sqlite")


@lru_cache(maxsize=512)
def _parse(model: type[BaseModel], text: str) -> BaseModel:
    return model.model_validate_json(text)


class Document(TypeDecorator[BaseModel]):
    """A frozen pydantic model as JSON text. Equal texts are parsed once: a study's spec is read on every request."""

    impl = Text
    cache_ok = True

    def __init__(self, model: type[BaseModel]) -> None:
        super().__init__()
        self.model = model

    def process_bind_param(self, value: BaseModel | None, dialect: Dialect) -> str | None:
        return None if value is None else value.model_dump_json()

    def process_result_value(self, value: str | None, dialect: Dialect) -> BaseModel | None:
        return None if value is None else _parse(self.model, value)


class Base(DeclarativeBase):
    pass


class StudyRow(Base):
    __tablename__ = "luthier_study"
    __table_args__ = ({"sqlite_autoincrement": True},)  # an id is never used again: folders and caches go by it

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    name: Mapped[str] = mapped_column(String(64), unique=True)
    state: Mapped[str] = mapped_column(String(16), index=True)
    spec: Mapped[StudySpec] = mapped_column(Document(StudySpec))
    parallel: Mapped[int]
    transient: Mapped[bool] = mapped_column(default=False)  # a plan's: never listed, removed after its answer
    inspection: Mapped[Inspection | None] = mapped_column(Document(Inspection))
    created_at: Mapped[float] = mapped_column(Double)
    started_at: Mapped[float | None] = mapped_column(Double)  # of the first trial
    finished_at: Mapped[float | None] = mapped_column(Double)
    ending: Mapped[str | None] = mapped_column(String(16))  # the state it will end in; set: no new trial starts
    hurry: Mapped[bool] = mapped_column(default=False)  # running trials end at their next evaluation
    message: Mapped[str | None] = mapped_column(Text)  # why it ended
    error: Mapped[str | None] = mapped_column(Text)
    asker: Mapped[str | None] = mapped_column(String(64))  # token of the request that asks Optuna now
    asker_until: Mapped[float | None] = mapped_column(Double)
    winner: Mapped[int | None]  # number of the trial whose model is kept
    test: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    model: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))  # FileRef
    micro_batch: Mapped[int | None]  # the most examples at once that fitted in memory, once more did not


class AssignmentRow(Base):
    """Work for one worker: a trial (kind train), the inspection or the evaluation of a study."""

    __tablename__ = "luthier_assignment"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("luthier_study.id", ondelete="CASCADE"))
    kind: Mapped[str] = mapped_column(String(16))
    number: Mapped[int]  # the trial's, which is Optuna's too; 0 for the other kinds
    state: Mapped[str] = mapped_column(String(16))
    params: Mapped[dict[str, Any]] = mapped_column(JSON)  # the space's dimensions
    seed: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[float] = mapped_column(Double)
    started_at: Mapped[float | None] = mapped_column(Double)  # of the first attempt
    finished_at: Mapped[float | None] = mapped_column(Double)
    attempt: Mapped[int] = mapped_column(default=0)
    losses: Mapped[int] = mapped_column(default=0)  # attempts whose worker vanished
    token: Mapped[str | None] = mapped_column(String(64))  # fences writes; kept at the end, so that finish can repeat
    worker: Mapped[str | None] = mapped_column(String(128))
    deadline: Mapped[float | None] = mapped_column(Double)
    gpu: Mapped[str | None] = mapped_column(String(200))  # of the latest attempt; None: a worker without one
    gpu_share: Mapped[float | None] = mapped_column(Double)  # of the GPU, reserved while a trial runs
    gpu_bytes: Mapped[int | None] = mapped_column(BigInteger)  # that share in bytes, where the GPU's size is known
    reason: Mapped[str | None] = mapped_column(String(16))
    error: Mapped[str | None] = mapped_column(Text)
    problem_path: Mapped[list[Any] | None] = mapped_column(JSON(none_as_null=True))
    seconds_before: Mapped[float] = mapped_column(Double, default=0.0)  # of earlier attempts
    seconds: Mapped[float] = mapped_column(Double, default=0.0)  # of this one
    peak_memory_bytes: Mapped[int | None] = mapped_column(BigInteger)
    examples_per_second: Mapped[float | None] = mapped_column(Double)
    step: Mapped[int] = mapped_column(default=0)  # last evaluation reported
    value: Mapped[float | None] = mapped_column(Double)  # best or last, as the objective says
    best_step: Mapped[int | None]
    resume: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))  # FileRef
    resume_step: Mapped[int] = mapped_column(default=0)  # the evaluation it goes on from
    best: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))  # FileRef

    __table_args__ = (
        UniqueConstraint("study_id", "kind", "number"),
        Index("ix_luthier_assignment_state", "state", "deadline"),
        {"sqlite_autoincrement": True},
    )


class ReportRow(Base):
    __tablename__ = "luthier_report"

    assignment_id: Mapped[int] = mapped_column(
        ForeignKey("luthier_assignment.id", ondelete="CASCADE"), primary_key=True
    )
    step: Mapped[int] = mapped_column(primary_key=True)
    metrics: Mapped[dict[str, Any]] = mapped_column(JSON)
    at: Mapped[float] = mapped_column(Double)


class WorkerRow(Base):
    __tablename__ = "luthier_worker"

    name: Mapped[str] = mapped_column(String(128), primary_key=True)
    device: Mapped[str] = mapped_column(String(200))
    version: Mapped[str] = mapped_column(String(50))
    gpu: Mapped[str | None] = mapped_column(String(200))
    gpu_bytes: Mapped[int | None] = mapped_column(BigInteger)  # its memory
    seen_at: Mapped[float] = mapped_column(Double)


class ServiceRow(Base):
    """A running service. One that is alone on a database need not read back what it wrote itself."""

    __tablename__ = "luthier_service"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    seen_at: Mapped[float] = mapped_column(Double)
