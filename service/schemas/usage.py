"""What the disk is used for, and what pruning frees, as the REST interface answers them."""

from enum import StrEnum

from pydantic import AwareDatetime, BaseModel


class StudyUsage(BaseModel):
    """What a study has on the disk, in bytes.

    Attributes:
        bytes: all of it.
        checkpoints: weights, and files to continue from.
        model: the packed winner, and earlier ones.
        logs: of its trials.
        predictions: tables that were predicted, and their answers.
        onnx: its ONNX file.
        other: comparisons, and what is being written.
    """

    name: str
    state: str
    finished_at: AwareDatetime | None
    bytes: int
    checkpoints: int
    model: int
    logs: int
    predictions: int
    onnx: int
    other: int


class DatasetUsage(BaseModel):
    """What an uploaded data set has on the disk.

    Attributes:
        bytes: of the file as it was uploaded, and of what it was unpacked to.
        users: how many studies and schedules name it.
    """

    id: str
    name: str
    bytes: int
    users: int


class ScheduleUsage(BaseModel):
    """What a schedule keeps on the disk: the packed models of its champions.

    Attributes:
        models: how many they are.
    """

    name: str
    bytes: int
    models: int


class CacheUsage(BaseModel):
    """The frozen prefixes that the workers of the service's machine share; they are removed as room is needed.

    Attributes:
        place: memory or disk.
    """

    place: str
    bytes: int


class UsageView(BaseModel):
    """What the disk of a service is used for. Names are those of the caller's project; sums are of all projects.

    Attributes:
        bytes: of the store and the database.
        store_bytes: of all checkpoints, models, logs and data sets.
        database_bytes: of the database, on SQLite with what is not yet in its file.
        free_bytes: that the store's disk has left.
        disk_bytes: of the store's disk.
        studies: the largest first.
        more_studies: how many are not listed here.
        more_bytes: of those studies, and of other projects' studies, data sets and schedules.
        unnamed_bytes: of files that no row names; the service removes them after a while.
        datasets: the largest first.
        schedules: the largest first.
        caches: of this machine; no part of the sums.
    """

    bytes: int
    store_bytes: int
    database_bytes: int
    free_bytes: int
    disk_bytes: int
    studies: list[StudyUsage]
    more_studies: int
    more_bytes: int
    unnamed_bytes: int
    datasets: list[DatasetUsage]
    schedules: list[ScheduleUsage]
    caches: list[CacheUsage]


class Prunable(StrEnum):
    """What `prune` can remove, of what has ended."""

    WEIGHTS = "weights"  # checkpoints of ended trials
    LOGS = "logs"  # of ended trials
    PREDICTIONS = "predictions"  # that have ended, with their answers
    ONNX = "onnx"  # files of winners, which a worker can make again
    DATASETS = "datasets"  # uploaded ones that no study and no schedule names
    STUDIES = "studies"  # whole: rows, search and files


USUAL = (Prunable.WEIGHTS, Prunable.LOGS, Prunable.PREDICTIONS, Prunable.ONNX, Prunable.DATASETS)
"""What goes where nothing is named: everything but whole studies."""


class PrunedView(BaseModel):
    """A part of what goes.

    Attributes:
        kind: what it is.
        study: whose; null for a data set.
        dataset: the id of a data set; else null.
        files: how many files go.
        bytes: that this frees; a file that something else keeps under another name frees nothing.
    """

    kind: Prunable
    study: str | None = None
    dataset: str | None = None
    files: int
    bytes: int


class KeptView(BaseModel):
    """A study of which something stays that was asked for, and why."""

    study: str
    reason: str


class PruneView(BaseModel):
    """What was removed, or, in a dry run, what would be.

    Attributes:
        dry_run: nothing was removed.
        bytes: that all of it frees.
        items: the parts, the largest first.
        kept: what stays although it was asked for.
    """

    dry_run: bool
    bytes: int
    items: list[PrunedView]
    kept: list[KeptView]
