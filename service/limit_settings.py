"""The settings that keep one trial, one client or one full disk from harming the others; each describes itself.

`Settings` has them. docs/operations.md has a table of all limits, also of those that cannot be set.
"""

from typing import Annotated

from pydantic import BeforeValidator, Field
from pydantic_settings import BaseSettings

from luthier.studies.sizes import LEAST_TRIAL_DISK, LEAST_TRIAL_MEMORY, size_of

Size = Annotated[int, BeforeValidator(lambda value: size_of(value) if isinstance(value, str) else value)]


class LimitSettings(BaseSettings):
    """The limits of trials, of disks, and of clients."""

    trial_memory: Size | None = Field(
        None,
        ge=LEAST_TRIAL_MEMORY,
        description="Memory (bytes, or as 8GiB) of the process that trains, on each worker of this machine. "
        "Default: no limit.",
    )
    trial_disk: Size | None = Field(
        None,
        ge=LEAST_TRIAL_DISK,
        description="Bytes (or as 20GiB) that one trial's files may take at the same time. Default: no limit.",
    )
    disk_reserve: Size | None = Field(
        None,
        ge=0,
        description="With less free on the disk of the store or of SQLite, no work is handed out (bytes, or as 5GiB). "
        "Default: 2 % of the disk, between 1 and 10 GiB, but at most 5 % of it.",
    )
    max_studies: int = Field(20_000, ge=1, description="Studies that have not ended, of all projects.")
    max_studies_per_project: int = Field(10_000, ge=1, description="Studies of one project that have not ended.")
    max_datasets: int = Field(20_000, ge=1, description="Uploaded data sets, of all projects.")
    max_datasets_per_project: int = Field(10_000, ge=1, description="Uploaded data sets of one project.")
    max_datasets_bytes: Size | None = Field(
        None, ge=1, description="Bytes of all uploaded data sets in the store. Default: what the disk holds."
    )
    max_datasets_bytes_per_project: Size | None = Field(
        None, ge=1, description="Bytes of one project's uploaded data sets. Default: what the disk holds."
    )
    max_streams: int = Field(200, ge=1, description="Streams of events that may be open at the same time.")
    max_streams_per_client: int = Field(100, ge=1, description="Streams of events that one client may have open.")
    requests_per_second: float = Field(
        200,
        ge=1,
        le=1e6,
        description="Requests of one client (a token, else an address), over half a minute; workers: ten times as "
        "many.",
    )
