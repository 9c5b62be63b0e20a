"""Requests of users for trials: what is asked for, what was drawn for it, and whether it was answered before.

`own_trials.py` and `waiting_trials.py` call it. What is kept of a request stands in the trial's row, and in Optuna's
trial too, for whoever adopts that after a crash.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from luthier.service.errors import Conflict, Invalid
from luthier.service.schemas import Fault
from luthier.service.storage.tables import AssignmentRow, StudyRow, WaitingRow
from luthier.studies.hyperparameters import Params
from luthier.studies.protocol import AssignmentKind, TrialState

HEADER = "Idempotency-Key"
USED = "was sent before with another body; take a new key for a new configuration"
RERUNS = (TrialState.QUEUED, TrialState.RUNNING, TrialState.COMPLETE)  # states in which a retry need not be repeated


@dataclass(frozen=True)
class Request:
    """A user's request for a trial.

    Attributes:
        params: hyperparameter -> value; the sampler draws the others.
        seed: of everything random in the trial; None: that of its number.
        key: the Idempotency-Key that came with it.
        retry_of: the number of the trial that is to run again.
    """

    params: Mapping[str, Any]
    seed: int | None = None
    key: str | None = None
    retry_of: int | None = None

    @property
    def digest(self) -> str:
        """SHA-256 of what it asks for, in hexadecimal digits."""
        text = json.dumps([dict(self.params), self.seed], sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def notes(self) -> dict[str, Any]:
        """The columns of the trial's row that are kept of it, without those that are null."""
        keyed = {} if self.key is None else {"request_key": self.key, "request_digest": self.digest}
        return keyed | ({} if self.retry_of is None else {"retry_of": self.retry_of})


@dataclass(frozen=True)
class Drawn:
    """A configuration that Optuna has, as its row is to hold it.

    Attributes:
        params: the whole configuration.
        seed: a user's own; None: that of its number.
        notes: as `Request.notes`; empty for one that no user asked for.
        error: why it cannot run, as a sentence; None where it can.
    """

    params: Params
    seed: int | None = None
    notes: Mapping[str, Any] = field(default_factory=dict)
    error: str | None = None


def answered(session: Session, study: StudyRow, request: Request) -> int | None:
    """Return the number of the trial that a request has already; None where it is new.

    Raises:
        Invalid: its key came with another body before.
        Conflict: that trial was deleted.
    """
    if request.key is not None:
        row = _first(session, study, AssignmentRow.request_key == request.key)
        if row is not None:
            _check_same(row, request)
            if row.deleted:
                raise deleted_with_key(study, row.number)
            return row.number
    if request.retry_of is not None:
        again = AssignmentRow.retry_of == request.retry_of
        row = _first(session, study, again, AssignmentRow.state.in_(RERUNS), ~AssignmentRow.deleted)
        return None if row is None else row.number
    return None


def deleted_with_key(study: StudyRow, number: int) -> Conflict:
    """Return the error for a request whose trial was deleted."""
    return Conflict(f"The trial {number} of {study.name}, which this {HEADER} made, was deleted; take a new key.")


def waiting_before(session: Session, study: StudyRow, request: Request) -> WaitingRow | None:
    """Return the row of a request that waits for the inspection already, by its key. Raises Invalid."""
    if request.key is None:
        return None
    row = session.scalar(
        select(WaitingRow).where(WaitingRow.study_id == study.id, WaitingRow.request_key == request.key)
    )
    if row is not None:
        _check_same(row, request)
    return row


def _check_same(row: AssignmentRow | WaitingRow, request: Request) -> None:
    if row.request_digest != request.digest:
        raise Invalid(f"{HEADER}: {USED}.", [Fault(path=HEADER, message=USED)])


def _first(session: Session, study: StudyRow, *conditions: ColumnElement[bool]) -> AssignmentRow | None:
    of_study = (AssignmentRow.study_id == study.id, AssignmentRow.kind == AssignmentKind.TRAIN)
    rows = select(AssignmentRow).where(*of_study, *conditions).order_by(AssignmentRow.number).limit(1)
    return session.scalar(rows)
