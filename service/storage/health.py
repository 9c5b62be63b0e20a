"""How workers did of late: what they failed at in a row, and what another worker is to try instead.

Columns of the rows of workers' health and of assignments; `lifecycle/quarantine.py` and `second_tries.py` write them.
Instants are seconds since the epoch, by the database's clock.
"""

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

MOST_FAILURES = 50  # that are remembered of one worker


class Failure(BaseModel):
    """Work that a worker failed at, and that may be its own fault.

    Attributes:
        assignment: The work's id.
        study: The id of its study.
        name: The name of its study.
        text: How it failed, as a sentence.
        at: The instant.
        is_weak: A spec's or a user's fault is as likely: it counts only once another worker did the same work well.
        is_certain: Another worker did the same work well.
    """

    model_config = ConfigDict(frozen=True)

    assignment: int
    study: int
    name: str
    text: str
    at: float
    is_weak: bool = False
    is_certain: bool = False


class Record(BaseModel):
    """What a worker failed at since it last did work well, the oldest first."""

    model_config = ConfigDict(frozen=True)

    failures: list[Failure] = []

    def with_failure(self, failure: Failure) -> "Record":
        """Return the record with one more; the same work counts once."""
        others = [other for other in self.failures if other.assignment != failure.assignment]
        return Record(failures=[*others, failure][-MOST_FAILURES:])

    def without(self, assignment_id: int) -> "Record":
        """Return the record without this work: others failed at it too."""
        return Record(failures=[failure for failure in self.failures if failure.assignment != assignment_id])

    def with_certain(self, assignment_id: int) -> "Record":
        """Return the record after another worker did this work well."""
        return Record(
            failures=[
                failure.model_copy(update={"is_certain": True}) if failure.assignment == assignment_id else failure
                for failure in self.failures
            ]
        )

    @property
    def counted(self) -> Sequence[Failure]:
        """The failures that count against the worker."""
        return [failure for failure in self.failures if failure.is_certain or not failure.is_weak]


class Doubt(BaseModel):
    """A worker that failed at an assignment, which another one tries before the failure counts.

    Attributes:
        worker: The worker.
        host: Its machine.
        since: The instant.
        text: How it failed, as a sentence.
        is_free: The failure cost the assignment nothing; the next one counts.
    """

    model_config = ConfigDict(frozen=True)

    worker: str
    host: str
    since: float
    text: str
    is_free: bool
