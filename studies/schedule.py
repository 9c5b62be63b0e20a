"""A schedule: a study that is repeated at the times of a cron expression, on the data of that day.

It also says by how much a run's winner must be better to replace the model in use. The service keeps schedules as
documents; `schedule_runs.py` decides which due times start a run.
"""

import hashlib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, FiniteFloat, WithJsonSchema, field_validator, model_validator

from luthier.studies.budget import Confirm
from luthier.studies.cron import due_times, zone
from luthier.studies.dataset import LATER_FIELDS, Dataset
from luthier.studies.documents import Document, mapping_of, refuse
from luthier.studies.external import EXTERNAL
from luthier.studies.promotion import Promote
from luthier.studies.semantics import NEWEST_SEMANTICS
from luthier.studies.spec import TEMPLATE_NAME, StudySpec
from luthier.studies.spec_keys import LATER_KEYS

SCHEDULE_PATTERN = r"^[a-z0-9][a-z0-9-]{0,45}$"  # leaves room for a run's time in its study's name


class Event(StrEnum):
    """Events of a schedule that its service's webhook is told about."""

    FINISHED = "finished"
    PROMOTED = "promoted"
    FAILED = "failed"


def _template(raw: Any) -> Any:
    """Return a study's spec with TEMPLATE_NAME for a name.

    Its splits keep their rows while the data grows, unless the spec draws them in another way. Raises ValidationError.
    """
    if isinstance(raw, StudySpec):
        return raw
    if not isinstance(raw, Mapping):
        raise ValueError("must be a study's spec, without a name")
    if raw.get("name", TEMPLATE_NAME) != TEMPLATE_NAME:
        raise refuse("study", (("name",), "is made of the schedule's name and the time; leave it out"))
    if raw.get("confirm") is not None:
        raise refuse("study", (("confirm",), "is said by promote.candidates and promote.seeds; leave it out"))
    if raw.get("task") == EXTERNAL:
        text = "a schedule retunes models that Luthier trains itself; create an external study whenever you retune"
        raise refuse("study", (("task",), text))
    dataset = raw.get("dataset")
    if isinstance(dataset, Mapping):
        dataset = {"draw": "stable", **dataset}
    return {**raw, "name": TEMPLATE_NAME, "dataset": dataset}


TEMPLATE_SCHEMA = {
    "type": "object",
    "description": "A study's spec, without a name; see `luthier schema`.",
}


class WarmStart(Document):
    """Configurations of the last run that are tried first, and scored again on the new data."""

    top: int = Field(5, ge=0, le=50, description="The best so many.")


class ScheduleSpec(Document):
    """A schedule: its due times, the study to repeat, and the rules by which a new model replaces the one in use."""

    name: str = Field(pattern=SCHEDULE_PATTERN)
    cron: str = Field(description="Minute, hour, day of month, month, day of week; or @hourly, @daily, @weekly, ...")
    timezone: str = Field("UTC", description="An IANA time zone, as Europe/Berlin.")
    study: Annotated[StudySpec, BeforeValidator(_template), WithJsonSchema(TEMPLATE_SCHEMA)]
    concurrency: Literal["forbid", "replace", "allow"] = Field(
        "forbid", description="While a run is active, the next due time is skipped, replaces it, or runs beside it."
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
    def _warmed_by_runs(self) -> Self:
        if self.study.origin is not None:
            text = "has no meaning in a schedule: each run begins with the best of the run before (warm_start)"
            raise refuse("schedule", (("study", "from"), text))
        return self

    @model_validator(mode="after")
    def _tested(self) -> Self:
        if self.study.dataset.test == 0:
            text = "must be a share or a split: champion and challenger are compared on it"
            raise refuse("schedule", (("study", "dataset", "test"), text))
        metric, minimum = self.study.objective.metric, self.promote.minimum
        if minimum is not None and self.study.task_info.is_binary(metric) and not 0 <= minimum <= 1:
            text = f"must be from 0 to 1, as {metric} is a share: 0.8 for 80 %"
            raise refuse("schedule", (("promote", "minimum"), text))
        return self

    def due_times(self, after: float) -> Iterator[float]:
        """Yield due times later than `after`, in seconds since the epoch, ascending and without end."""
        return due_times(self.cron, self.timezone, after)

    def run_spec(self, due: float) -> StudySpec:
        """Return the spec of the run's study that is due at `due`, in seconds since the epoch."""
        at = datetime.fromtimestamp(due, UTC)
        promote = self.promote
        confirm = Confirm(candidates=promote.candidates, seeds=promote.seeds) if promote.seeds else None
        return self.study.model_copy(update={"name": f"{self.name}-{at:%Y%m%dt%H%M%Sz}", "confirm": confirm})

    @property
    def template_digest(self) -> str:
        """SHA-256 of the study's spec, in hexadecimal digits; it changes with the template.

        A field that older versions lacked counts only where it is not the default: else every run would seem changed.
        """
        dataset = self.study.dataset
        later = {name for name in LATER_FIELDS if getattr(dataset, name) == Dataset.model_fields[name].default}
        exclude: dict[str, Any] = {"dataset": later}
        exclude |= {name: True for name in LATER_KEYS if getattr(self.study, name) is None}
        return hashlib.sha256(self.study.model_dump_json(exclude=exclude).encode()).hexdigest()

    def shown(self) -> dict[str, Any]:
        """Return the schedule as a document that a person would write, with every default filled in."""
        document = self.model_dump(mode="json")
        hidden = ("name", "confirm", "semantics")
        document["study"] = {k: v for k, v in document["study"].items() if k not in hidden}
        return document

    def says_the_same(self, other: "ScheduleSpec") -> bool:
        """Return whether another schedule says the same in all that users write."""
        return self.study.says_the_same(other.study) and self == other.model_copy(update={"study": self.study})

    def with_semantics(self, semantics: int) -> "ScheduleSpec":
        """Return the schedule with a template of other semantics."""
        return self.model_copy(update={"study": self.study.with_semantics(semantics)})


def parse_schedule(text: str) -> ScheduleSpec:
    """Return a user's schedule from YAML or JSON text, validated; its studies have the newest semantics.

    Raises:
        ValueError: The schedule is not valid; pydantic's ValidationError is one.
    """
    document = mapping_of(text, "a schedule is a mapping of keys: name, cron, timezone, study, promote, ...")
    return ScheduleSpec.model_validate(_of_semantics(document, NEWEST_SEMANTICS))


def changed(spec: ScheduleSpec, changes: Mapping[str, Any]) -> ScheduleSpec:
    """Return the schedule with some of its keys replaced; None puts a key back to its default.

    It keeps the semantics that it began with, also where its template is replaced.

    Raises:
        ValidationError: For a wrong value, another name, or another task.
    """
    if changes.get("name", spec.name) != spec.name:
        raise refuse("schedule", (("name",), "cannot be changed: make another schedule"))
    document = {key: value for key, value in {**spec.shown(), **changes}.items() if value is not None}
    replaced = ScheduleSpec.model_validate(_of_semantics(document, spec.study.semantics))
    if replaced.study.task != spec.study.task:
        text = "cannot be changed: the champion does another task; make another schedule"
        raise refuse("schedule", (("study", "task"), text))
    return replaced


def _of_semantics(document: dict[str, Any], semantics: int) -> dict[str, Any]:
    """Return a schedule's document whose study has these semantics, whatever it says of them."""
    study = document.get("study")
    return {**document, "study": {**study, "semantics": semantics}} if isinstance(study, dict) else document
