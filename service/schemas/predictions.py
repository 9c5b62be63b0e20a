"""Predictions, as the REST interface answers them."""

from typing import Literal

from pydantic import AwareDatetime, BaseModel, FiniteFloat


class PredictionFile(BaseModel):
    """The file of a prediction, a csv: the columns of the table, and the answers beside them.

    Attributes:
        url: its path, relative to the service.
        sha256: its checksum, in hexadecimal digits.
        bytes: its size.
    """

    url: str
    sha256: str
    bytes: int


class PredictionView(BaseModel):
    """A table that the winner of a study answers.

    Attributes:
        id: unique for ever.
        study: the study's name.
        trial: the number of the winner's trial.
        state: queued, running, complete, failed; cancelled with its study.
        rows: of the table; null until it is complete.
        unreadable: rows that could not be used; their reasons are in the file.
        error: why it failed, or by what it was cancelled, with the cure.
        attempt: how many times a worker has begun it.
        worker: the name of the worker that has it or had it last.
        seconds: time that workers have spent on it.
        file: the answers; null until it is complete.
    """

    id: int
    study: str
    trial: int
    state: Literal["queued", "running", "complete", "failed", "cancelled"]
    rows: int | None = None
    unreadable: int | None = None
    error: str | None = None
    attempt: int = 0
    worker: str | None = None
    created_at: AwareDatetime
    started_at: AwareDatetime | None = None
    finished_at: AwareDatetime | None = None
    seconds: FiniteFloat = 0.0
    file: PredictionFile | None = None
