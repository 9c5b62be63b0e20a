"""The tables of studies and their work, as SQLAlchemy classes; `*_tables.py` have the rest.

Every wing of the service that reads or writes rows uses them. Optuna owns `studies`, `trials`, `alembic_version` and
others in the same database. Optuna holds what the sampler needs; these rows hold execution, and are written first.
Instants are seconds since the epoch, by the database's clock. Where an attribute has another name than its column, the
column's name stands first in `mapped_column`; names of tables and columns change by a migration only.
"""

from typing import Any

from sqlalchemy import JSON, BigInteger, Double, ForeignKey, Index, String, Text, UniqueConstraint, false, true
from sqlalchemy.orm import Mapped, mapped_column, synonym

from luthier.service.caller import DEFAULT_PROJECT, current
from luthier.service.storage.away import Away
from luthier.service.storage.column_types import (
    PydanticJson,
    PydanticText,
    ScoreNumber,
    ScoresJson,
    SecondsNumber,
    StoredModel,
    Unreadable,
)
from luthier.service.storage.earlier import EarlierWinner
from luthier.service.storage.health import Doubt
from luthier.service.storage.table_base import Base, Id, OfProject
from luthier.studies.budget import Budget
from luthier.studies.noise import Noise
from luthier.studies.old_trials import OldTrials, Predecessor, Takeover
from luthier.studies.results import Comparison, Inspection, Prediction
from luthier.studies.spec import StudySpec
from luthier.studies.winner_tables import Results
from luthier.studies.wire import FileRef


def search_name(project: str, name: str) -> str:
    """Return the name of a study's search in Optuna, where names are unique in the whole database."""
    return name if project == DEFAULT_PROJECT else f"{project}/{name}"


def named_in_search(named: str) -> tuple[str, str]:
    """Return the project and the name of the study whose search in Optuna has a name."""
    project, _, name = named.rpartition("/")
    return project or DEFAULT_PROJECT, name


class StudyRow(OfProject, Base):
    """A study: its spec, its state, and its present or future end."""

    __tablename__ = "luthier_study"
    __table_args__ = (
        UniqueConstraint("project", "name"),
        Index("ix_luthier_study_project", "project", "id"),
        Index("ix_luthier_study_share", "project", "priority", "virtual_start"),
        {"sqlite_autoincrement": True},  # an id is never used again: folders and caches go by it
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    name: Mapped[str] = mapped_column(String(64))
    state: Mapped[str] = mapped_column(String(16), index=True)
    spec: Mapped[StudySpec] = mapped_column(PydanticText(StudySpec))
    parallel: Mapped[int]
    transient: Mapped[bool] = mapped_column(default=False)  # a plan's: never listed, removed after its answer
    inspection: Mapped[Inspection | None] = mapped_column(PydanticText(Inspection))
    created_at: Mapped[float] = mapped_column(Double)
    started_at: Mapped[float | None] = mapped_column(Double)  # of the first trial
    finished_at: Mapped[float | None] = mapped_column(Double)
    ending: Mapped[str | None] = mapped_column(String(16))  # the state it will end in; set: no new trial starts
    stop_at_next_evaluation: Mapped[bool] = mapped_column("hurry", default=False)  # running trials end there
    message: Mapped[str | None] = mapped_column(Text)  # why it ended
    error: Mapped[str | None] = mapped_column(Text)
    search_error: Mapped[str | None] = mapped_column(Text)  # why no trial can be drawn now; None once one could
    away: Mapped[Away | None] = mapped_column(PydanticText(Away))  # what workers lack of its data and models
    note: Mapped[str | None] = mapped_column(Text)  # what its user should know of its winner, and stays true
    ask_token: Mapped[str | None] = mapped_column("asker", String(64))  # turn of the request that asks Optuna now
    ask_expires_at: Mapped[float | None] = mapped_column("asker_until", Double)
    winner: Mapped[int | None]  # number of the trial whose model is kept
    test: Mapped[dict[str, Any] | None] = mapped_column(ScoresJson)
    model: Mapped[StoredModel | None] = mapped_column(PydanticJson(StoredModel))  # the winner's, packed
    winner_confirmation: Mapped[int | None] = mapped_column("winner_again")
    """Number of the winner's repetition (kind confirm) whose weights are kept; None: the weights of the trial."""
    hold_after_inspection: Mapped[bool | None] = mapped_column("hold")
    """Once inspected it waits, paused, for the schedule's run that created it."""
    micro_batch: Mapped[int | None]  # the most examples that fitted in memory together, after more did not
    test_looks: Mapped[int] = mapped_column(default=0, server_default="0")
    """How often winners were scored on the test split: its own, and those of studies on the same data before it."""
    idle_seconds: Mapped[float] = mapped_column(SecondsNumber, default=0.0, server_default="0")
    """Between its ends and its extensions: they are no part of the budget's wall-clock time."""
    first_budget: Mapped[Budget | None] = mapped_column(PydanticText(Budget))  # as it was created; None: not extended
    tags: Mapped[str | None] = mapped_column(Text)  # its user's, as `lifecycle/labels.py` joins them
    notes: Mapped[str | None] = mapped_column(Text)  # its user's own text
    earlier: Mapped[EarlierWinner | None] = mapped_column(PydanticText(EarlierWinner))
    """Whose `model` is, while the study has gone on and no winner was measured since; None: the present winner's."""
    noise: Mapped[Noise | None] = mapped_column(PydanticText(Noise))
    """How exact the winner's scores are; None: not measured, or by a version that did not ask."""
    external: Mapped[bool] = mapped_column(default=False, server_default=false())
    """Its trials are for trainers of its user's own, which ask for them; no worker of ours gets one."""
    failing: Mapped[str | None] = mapped_column(Text)  # why it was paused, where its trials failed in a row
    failing_since: Mapped[float | None] = mapped_column(Double)  # trials that ended before do not count for that
    owner: Mapped[str | None] = mapped_column(
        String(64), default=lambda: current().name
    )  # the name of the caller who created it
    weight: Mapped[float] = mapped_column(Double, default=1.0, server_default="1")  # its share, beside its priority's
    priority: Mapped[int] = mapped_column(default=0, server_default="0")  # a higher one goes first
    virtual_time: Mapped[float] = mapped_column(Double, default=0.0, server_default="0")
    """GPU seconds that it was charged with over its weight, on the clock of its project and priority (`shares.py`)."""
    virtual_start: Mapped[float] = mapped_column(Double, default=0.0, server_default="0")
    """That number just before its latest trial was handed out; the latest of all is the time of that clock."""
    served_at: Mapped[float | None] = mapped_column(Double)  # when its latest trial was handed out
    top_rung: Mapped[int | None]  # place of the first rung that no trial passes; None: as at the start (`asha.py`)

    @property
    def search_name(self) -> str:
        """The name of its search in Optuna."""
        return search_name(self.project, self.name)

    @property
    def is_readable(self) -> bool:
        """Whether this version can read the spec and the inspection; without them a study can only be ended."""
        return not isinstance(self.spec, Unreadable) and not isinstance(self.inspection, Unreadable)


class AssignmentRow(Base):
    """Work for one worker: a trial (kind train), or something else about a study (the other kinds)."""

    __tablename__ = "luthier_assignment"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("luthier_study.id", ondelete="CASCADE"))
    kind: Mapped[str] = mapped_column(String(16))
    number: Mapped[int]
    """Unique for a study and a kind. train: the trial's number, which is Optuna's too. confirm: counts the repetitions,
    in the order in which they were queued. compare: the champion's id (`champion_id`). predict: counts the predictions,
    from 1. onnx: the winner's trial. inspect: 0. evaluate: 0, or below 0, of an end before the study was extended."""
    champion_id: Mapped[int] = synonym("number")  # of a comparison, and of no other kind
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
    granted_at: Mapped[float | None] = mapped_column(Double)  # start of the latest attempt
    lease_seconds: Mapped[float | None] = mapped_column(Double)  # of a client that chose it; None: the service's
    received: Mapped[bool] = mapped_column(default=False, server_default=true())
    """Whether a message has come under the latest lease: without one its worker may never have got the answer."""
    gpu: Mapped[str | None] = mapped_column(String(200))  # of the latest attempt; None: a worker without one
    gpu_share: Mapped[float | None] = mapped_column(Double)  # of the GPU, reserved while a trial runs
    gpu_bytes: Mapped[int | None] = mapped_column(BigInteger)  # that share in bytes, where the GPU's size is known
    reason: Mapped[str | None] = mapped_column(String(16))
    error: Mapped[str | None] = mapped_column(Text)
    problem_path: Mapped[list[Any] | None] = mapped_column(JSON(none_as_null=True))
    seconds_before: Mapped[float] = mapped_column(SecondsNumber, default=0.0)  # of earlier attempts
    seconds: Mapped[float] = mapped_column(SecondsNumber, default=0.0)  # of this one
    gpu_seconds_before: Mapped[float] = mapped_column(SecondsNumber, default=0.0, server_default="0")
    """Of earlier attempts, and what this one used beyond its present share: see `believable.gpu_seconds`."""
    gpu_seconds_charged: Mapped[float | None] = mapped_column(Double)
    """GPU seconds of all attempts that its study was charged with (`shares.py`): while it runs those expected at its
    end, then those that it used."""
    seconds_expected: Mapped[float | None] = mapped_column(Double)  # of this attempt; limits count them while it runs
    timed_seconds: Mapped[float] = mapped_column(SecondsNumber, default=0.0, server_default="0")
    """Of all attempts, as budget.trial_seconds counts them: without the start of a process, and waits for a disk."""
    peak_memory_bytes: Mapped[int | None] = mapped_column(BigInteger)
    examples_per_second: Mapped[float | None] = mapped_column(ScoreNumber)
    micro_batch: Mapped[int | None]  # the most examples that went through its model together; None: whole batches
    step: Mapped[int] = mapped_column(default=0)  # last evaluation reported
    value: Mapped[float | None] = mapped_column(ScoreNumber)  # best or last, as the objective says
    best_step: Mapped[int | None]
    resume: Mapped[FileRef | None] = mapped_column(PydanticJson(FileRef))  # the file to continue from
    resume_step: Mapped[int] = mapped_column(default=0)  # the evaluation that `resume` was written at
    best: Mapped[FileRef | None] = mapped_column(PydanticJson(FileRef))  # the weights of the best evaluation
    packed: Mapped[FileRef | None] = synonym("resume")  # onnx: the packed winner that it was made of
    onnx: Mapped[FileRef | None] = synonym("best")  # onnx: the archive
    onnx_rows: Mapped[int] = synonym("step")  # onnx: rows that torch and the file were both given
    onnx_difference: Mapped[float | None] = synonym("value")  # onnx: the largest between their outputs
    comparison: Mapped[Comparison | None] = mapped_column(PydanticText(Comparison))
    taken_from: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    """The study and the number of the trial that was taken over whole as this one; None: it ran in this study."""
    stop_requested: Mapped[bool] = mapped_column(default=False, server_default=false())  # it ends at its next report
    deleted: Mapped[bool] = mapped_column(default=False, server_default=false())
    """A user deleted the trial. Its row stays, since numbers are dense: cancelled, without scores, in no list."""
    retry_of: Mapped[int | None]  # number of the trial whose configuration and seed it has again
    request_key: Mapped[str | None] = mapped_column(String(255))  # the Idempotency-Key that it was asked for with
    request_digest: Mapped[str | None] = mapped_column(String(64))  # of that request's body
    doubt: Mapped[Doubt | None] = mapped_column(PydanticText(Doubt))  # who failed at it, so that another one tries it
    own_checkpoint: Mapped[str | None] = mapped_column(Text)  # where a user's own trainer says that it can continue
    passed_rung: Mapped[int] = mapped_column(default=0, server_default="0")
    """The last rung, an evaluation, that it was let past for good: it pauses at none up to there."""

    __table_args__ = (
        UniqueConstraint("study_id", "kind", "number"),
        Index("ix_luthier_assignment_request", "study_id", "request_key", unique=True),
        Index("ix_luthier_assignment_state", "state", "deadline"),
        {"sqlite_autoincrement": True},
    )


class PredictionRow(Base):
    """What an assignment of the kind `predict` reads, and what came of it."""

    __tablename__ = "luthier_prediction"

    assignment_id: Mapped[int] = mapped_column(
        ForeignKey("luthier_assignment.id", ondelete="CASCADE"), primary_key=True
    )
    trial: Mapped[int]  # the number of the winner's trial
    source: Mapped[FileRef] = mapped_column(PydanticJson(FileRef))  # the table, in the assignment's folder
    packed: Mapped[FileRef] = mapped_column(PydanticJson(FileRef))  # the winner, in the same folder
    result: Mapped[Prediction | None] = mapped_column(PydanticText(Prediction))


class ResultsRow(Base):
    """The tables of a study's winner, apart from its study because listings never show them."""

    __tablename__ = "luthier_results"

    study_id: Mapped[int] = mapped_column(ForeignKey("luthier_study.id", ondelete="CASCADE"), primary_key=True)
    results: Mapped[Results | None] = mapped_column(PydanticText(Results))


class WaitingRow(Base):
    """A user's configuration for a study that is not inspected yet; it becomes a trial right after the baseline."""

    __tablename__ = "luthier_waiting"
    __table_args__ = (UniqueConstraint("study_id", "request_key"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("luthier_study.id", ondelete="CASCADE"), index=True)
    params: Mapped[dict[str, Any]] = mapped_column(JSON)  # as the user gave them
    seed: Mapped[int | None] = mapped_column(BigInteger)
    request_key: Mapped[str | None] = mapped_column(String(255))
    request_digest: Mapped[str | None] = mapped_column(String(64))
    created_at: Mapped[float] = mapped_column(Double)
    ended: Mapped[str | None] = mapped_column(String(16))
    """`cancelled` or `deleted`, where its user ended it before the inspection; it keeps its number. None: it waits."""


class ReportRow(Base):
    """An evaluation of a trial or a repetition."""

    __tablename__ = "luthier_report"

    assignment_id: Mapped[int] = mapped_column(
        ForeignKey("luthier_assignment.id", ondelete="CASCADE"), primary_key=True
    )
    step: Mapped[int] = mapped_column(primary_key=True)
    metrics: Mapped[dict[str, Any]] = mapped_column(ScoresJson)
    at: Mapped[float] = mapped_column(Double)


class TakeoverRow(Base):
    """What a study takes over from old trials once it is inspected, and then what became of them."""

    __tablename__ = "luthier_takeover"

    study_id: Mapped[int] = mapped_column(ForeignKey("luthier_study.id", ondelete="CASCADE"), primary_key=True)
    source: Mapped[Predecessor | None] = mapped_column(PydanticText(Predecessor))  # None: trials of no study here
    trials: Mapped[OldTrials | None] = mapped_column(PydanticText(OldTrials))  # None: they were looked at
    record: Mapped[Takeover | None] = mapped_column(PydanticText(Takeover))  # None: they were not looked at yet


class StudyDeliveryRow(Base):
    """A notification that a study has ended, which the service's webhook has not taken yet, or did not take."""

    __tablename__ = "luthier_study_delivery"
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("luthier_study.id", ondelete="CASCADE"), index=True)
    event: Mapped[str] = mapped_column(String(16))  # the state in which it ended
    body: Mapped[str | None] = mapped_column(Text)  # JSON, as it is sent and signed; written with the first attempt
    attempts: Mapped[int] = mapped_column(default=0)
    next_at: Mapped[float | None] = mapped_column(Double, index=True)  # None: delivered, or given up
    delivered_at: Mapped[float | None] = mapped_column(Double)
    error: Mapped[str | None] = mapped_column(Text)  # of the last attempt
    created_at: Mapped[float] = mapped_column(Double)
