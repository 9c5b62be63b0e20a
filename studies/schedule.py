"""A schedule: a study made anew at the times a cron expression names, on the data of that day, and what its result
must be to take the place of the model in use.

Which due time fires and which is skipped is decided here (`decide`); the clock is an argument.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError
from pydantic import BeforeValidator, Field, FiniteFloat, WithJsonSchema, field_validator, model_validator

from luthier.studies.documents import Document, load_document
from luthier.studies.hyperparameters import Params
from luthier.studies.promotion import Promote
from luthier.studies.space import Space, refuse
from luthier.studies.spec import Confirm, StudySpec

SCHEDULE_PATTERN = r"^[a-z0-9][a-z0-9-]{0,45}$"  # leaves room for a run's time in its study's name
PLACEHOLDER = "scheduled"  # a template's name, until a run gives it one
PUNCTUAL_SECONDS = 60.0  # a due time is missed, where catch_up is none, once it is so long ago
NICKNAMES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}


class SkipReason(StrEnum):
    """Why a due time did not run."""

    STILL_RUNNING = "still_running"  # the run before had not ended, and concurrency is forbid
    TOO_LATE = "too_late"  # nobody was there at the time, or the starting deadline had passed
    UNCHANGED = "unchanged"  # the data and the template are those of the last run that ended
    PAUSED = "paused"  # the schedule was paused


class RunState(StrEnum):
    """States of a run. Every due time is a run, also one that was skipped."""

    RUNNING = "running"  # its study searches, or its winner is being compared with the champion
    FINISHED = "finished"  # decided; `outcome` says how
    SKIPPED = "skipped"  # did not run; `reason` says why
    FAILED = "failed"  # came to no winner; `message` says why, and the champion stayed
    CANCELLED = "cancelled"  # ended by a user, or replaced by the next run


class RunOutcome(StrEnum):
    """What a finished run came to."""

    FIRST = "first"  # there was no champion: its winner became it
    PROMOTED = "promoted"  # its winner took the champion's place
    KEPT = "kept"  # the champion stayed


class Event(StrEnum):
    """What a schedule tells of."""

    FINISHED = "finished"
    PROMOTED = "promoted"
    FAILED = "failed"


def _template(raw: Any) -> Any:
    """A study's spec without a name; splits keep their rows as the data grows unless it says otherwise."""
    if isinstance(raw, StudySpec):
        return raw
    if not isinstance(raw, Mapping):
        raise ValueError("must be a study's spec, without a name")
    if raw.get("name", PLACEHOLDER) != PLACEHOLDER:
        raise refuse("study", (("name",), "is made of the schedule's name and the time; leave it out"))
    if raw.get("confirm") is not None:
        raise refuse("study", (("confirm",), "is said by promote.candidates and promote.seeds; leave it out"))
    dataset = raw.get("dataset")
    if isinstance(dataset, Mapping):
        dataset = {"draw": "stable", **dataset}
    return {**raw, "name": PLACEHOLDER, "dataset": dataset}


TEMPLATE_SCHEMA = {
    "type": "object",
    "description": "A study's spec, without a name; see `luthier schema`.",
}


class WarmStart(Document):
    """Configurations of the last run that are tried first, scored anew on the new data."""

    top: int = Field(5, ge=0, le=50, description="The best so many.")


class ScheduleSpec(Document):
    """When to tune again, what, and what a new model must show to replace the one in use."""

    name: str = Field(pattern=SCHEDULE_PATTERN)
    cron: str = Field(description="Minute, hour, day of month, month, day of week; or @hourly, @daily, @weekly, ...")
    timezone: str = Field("UTC", description="An IANA time zone, as Europe/Berlin.")
    study: Annotated[StudySpec, BeforeValidator(_template), WithJsonSchema(TEMPLATE_SCHEMA)]
    concurrency: Literal["forbid", "replace", "allow"] = Field(
        "forbid", description="While a run goes on, the next due time is skipped, replaces it, or runs beside it."
    )
    starting_deadline_seconds: FiniteFloat | None = Field(
        None, gt=0, description="A due time that could not start for so long is skipped; with catch_up none: 60."
    )
    catch_up: Literal["one", "none"] = Field(
        "one", description="After an absence the latest missed due time runs (one), or none does."
    )
    skip_if_unchanged: bool = Field(True, description="Skip where data and template are those of the last run.")
    warm_start: WarmStart = WarmStart()
    promote: Promote = Promote()
    keep_runs: int = Field(20, ge=1, le=10_000, description="Runs whose studies and files are kept.")
    max_runs: int | None = Field(
        None, ge=1, description="Runs after which it ends; skipped ones and those of `trigger` don't count."
    )
    paused: bool = Field(False, description="Due times are skipped until it is false again.")
    notify: tuple[Annotated[Event, Field(strict=False)], ...] = Field(
        tuple(Event), description="Events that go to the service's webhook, if it has one.", strict=False
    )

    @field_validator("cron")
    @classmethod
    def _cron(cls, value: str) -> str:
        if next(due_times(value, "UTC", after=0.0), None) is None:
            raise ValueError("never comes due: no month has that day")
        return value

    @field_validator("timezone")
    @classmethod
    def _timezone(cls, value: str) -> str:
        zone(value)
        return value

    @model_validator(mode="after")
    def _tested(self) -> Self:
        if self.study.dataset.test == 0:
            text = "must be a share or a split: champion and challenger are compared on it"
            raise refuse("schedule", (("study", "dataset", "test"), text))
        return self

    def due_times(self, after: float) -> Iterator[float]:
        """Due times later than `after`, in seconds since the epoch, ascending and without end."""
        return due_times(self.cron, self.timezone, after)

    def run_spec(self, due: float) -> StudySpec:
        """The spec of the study that is due then, in seconds since the epoch."""
        at = datetime.fromtimestamp(due, UTC)
        promote = self.promote
        confirm = Confirm(candidates=promote.candidates, seeds=promote.seeds) if promote.seeds else None
        return self.study.model_copy(update={"name": f"{self.name}-{at:%Y%m%dt%H%M%Sz}", "confirm": confirm})

    @property
    def template_digest(self) -> str:
        """SHA-256 of what is searched, and on which data."""
        return hashlib.sha256(self.study.model_dump_json().encode()).hexdigest()

    def shown(self) -> dict[str, Any]:
        """As a person would write it, every default filled in."""
        document = self.model_dump(mode="json")
        document["study"] = {k: v for k, v in document["study"].items() if k not in ("name", "confirm")}
        return document


def parse_schedule(text: str) -> ScheduleSpec:
    """A validated schedule from YAML or JSON text. Raises ValueError (pydantic's ValidationError is one)."""
    document = load_document(text)
    if not isinstance(document, dict):
        raise ValueError("a schedule is a mapping of keys: name, cron, timezone, study, promote, ...")
    return ScheduleSpec.model_validate(document)


def changed(spec: ScheduleSpec, changes: Mapping[str, Any]) -> ScheduleSpec:
    """The schedule with some of its keys replaced; null puts a key back to its default. Raises ValidationError."""
    if changes.get("name", spec.name) != spec.name:
        raise refuse("schedule", (("name",), "cannot be changed: make another schedule"))
    document = {key: value for key, value in {**spec.shown(), **changes}.items() if value is not None}
    made = ScheduleSpec.model_validate(document)
    if made.study.task != spec.study.task:
        text = "cannot be changed: the champion does another task; make another schedule"
        raise refuse("schedule", (("study", "task"), text))
    return made


def zone(name: str) -> ZoneInfo:
    """The time zone of an IANA name. Raises ValueError."""
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, LookupError):  # no such file, a path that leads out, a directory
        raise ValueError("must be an IANA time zone, as UTC or Europe/Berlin") from None


def due_times(cron: str, timezone: str, after: float) -> Iterator[float]:
    """The times a cron expression names in a time zone, later than `after`; seconds since the epoch, ascending.

    Where clocks go forward, a time that does not exist comes due at the first one that does; where they go back, a
    time that exists twice comes due the first time only, unless minute or hour are given by `*` (as Debian's cron).
    Raises ValueError for what is no cron expression of five fields.
    """
    text = NICKNAMES.get(cron.strip().lower(), cron)
    if len(text.split()) != 5:
        raise ValueError("must have five fields: minute, hour, day of month, month, day of week; or be as @daily")
    place = zone(timezone)
    try:
        found = CronSim(text, datetime.fromtimestamp(after, place))
    except (CronSimError, IndexError) as error:
        raise ValueError(f"is no cron expression: {error}") from None
    return _ascending(found, after)


def _ascending(found: Iterator[datetime], after: float) -> Iterator[float]:
    """Without repetitions, which clocks that change bring."""
    last = after
    for at in found:
        if at.timestamp() > last:
            last = at.timestamp()
            yield last


@dataclass(frozen=True)
class Due:
    """What becomes of a due time: it fires, or is skipped for a reason."""

    at: float  # seconds since the epoch
    skip: SkipReason | None


def decide(
    spec: ScheduleSpec, due: Sequence[float], now: float, is_last_batch: bool, has_active_run: bool
) -> list[Due]:
    """What becomes of each of some due times that have come, ascending. `latest`: the last of them is the last that has
    come. `running`: a run goes on."""
    deadline = spec.starting_deadline_seconds
    if spec.catch_up == "none" and deadline is None:
        deadline = PUNCTUAL_SECONDS
    decided = []
    for i, at in enumerate(due):
        skip = None
        late, missed = now - at, not is_last_batch or i < len(due) - 1
        if spec.paused:
            skip = SkipReason.PAUSED
        elif missed or (deadline is not None and late > deadline):
            skip = SkipReason.TOO_LATE
        elif has_active_run and spec.concurrency == "forbid":
            skip = SkipReason.STILL_RUNNING
        decided.append(Due(at, skip))
    return decided


@dataclass(frozen=True)
class Adapted:
    """A configuration of an earlier run, moved into today's space; `params` None: it does not fit."""

    params: Params | None
    changes: tuple[str, ...]  # a sentence each


def adapt(params: Mapping[str, Any], space: Space) -> Adapted:
    """Clamp what lies outside the (resolved) space; drop the configuration where a choice it made is not offered any
    more. What the space does not search takes the space's value."""
    clipped, changes = space.clip(dict(params)), []
    for name, value in clipped.items():
        if name not in params:
            changes.append(f"{name} is new: {value}")
        elif value != params[name]:
            if isinstance(value, str) or isinstance(params[name], str):
                return Adapted(None, (f"{name} {params[name]} is not offered any more",))
            changes.append(f"{name} {params[name]:g} became {value:g}")
    changes += [f"{name} is not searched any more" for name in params if name not in clipped]
    return Adapted(clipped, tuple(changes))
