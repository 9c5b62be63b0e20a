"""Uploaded data sets, as the REST interface answers them."""

from typing import Literal

from pydantic import AwareDatetime, BaseModel, FiniteFloat

from luthier.service.caller import DEFAULT_PROJECT


class DatasetFile(BaseModel):
    """A file of a data set, as workers read it.

    Attributes:
        path: from the data set's own folder; `dataset:ID/path` names it in a spec.
    """

    path: str
    bytes: int


class DatasetView(BaseModel):
    """An uploaded data set.

    Attributes:
        id: of its content; the same content is the same data set of a project.
        project: that it belongs to.
        source: how a spec names it, as dataset.source.
        kind: the kind of file that was uploaded: csv, csv.gz, zip, tar.gz ...
        bytes: of the file as it was uploaded.
        sha256: of the file as it was uploaded.
        unpacked_bytes: of all files that workers read.
        file_count: how many they are.
        files: the first thousand of them, by path; empty in a listing.
        studies: names of the studies that use it, at most a hundred, the newest first.
        schedules: names of the schedules that use it.
    """

    id: str
    project: str = DEFAULT_PROJECT
    source: str
    name: str
    kind: str
    bytes: int
    sha256: str
    unpacked_bytes: int
    file_count: int
    created_at: AwareDatetime
    files: list[DatasetFile] = []
    studies: list[str] = []
    schedules: list[str] = []


class Lengths(BaseModel):
    """How long values are: characters of texts, items of lists, sides of images in pixels."""

    unit: Literal["characters", "items", "pixels wide", "pixels high", "bytes"]
    least: int
    median: FiniteFloat
    p90: FiniteFloat
    p99: FiniteFloat
    most: int


class ValueCount(BaseModel):
    """A value of a column, and how many rows have it."""

    value: str
    rows: int


class ColumnPreview(BaseModel):
    """A column of a table, or the images, sounds or labels of a folder.

    Attributes:
        kind: what its values are; `empty` where all are missing, `mixed` where they are of several kinds.
        missing: rows without a value.
        distinct: different values; null where there are too many to count.
        values: the most frequent values, for a column with few of them: the balance of classes.
        lengths: of texts, lists or images.
        least: the least number, for a column of numbers.
        most: the greatest number.
    """

    name: str
    kind: Literal[
        "text", "integer", "number", "boolean", "list", "object", "binary", "image", "audio", "label", "mixed", "empty"
    ]
    missing: int
    distinct: int | None = None
    values: list[ValueCount] = []
    lengths: list[Lengths] = []
    least: FiniteFloat | None = None
    most: FiniteFloat | None = None


class SplitPreview(BaseModel):
    """A table of a data set, or a folder of images or sounds: one split, or the whole.

    Attributes:
        split: its name: train where there are no splits.
        files: the files that it is made of, the first ten.
        rows: that were looked at.
        complete: whether these are all rows.
        columns: each column.
        first: the first rows, column -> value as text, long ones cut.
        repeats: rows that are equal to an earlier row of the same split.
    """

    split: str
    files: list[str]
    rows: int
    complete: bool
    columns: list[ColumnPreview]
    first: list[dict[str, str | None]]
    repeats: int


class Overlap(BaseModel):
    """Rows of one split that are in another one too."""

    split: str
    other: str
    rows: int


class PreviewView(BaseModel):
    """What is in a data set, as far as it can be told without a task.

    Attributes:
        splits: the tables or folders, train first.
        overlaps: rows that are in two splits; tests on them tell nothing.
        problem: why there is no preview, or none of all, with the cure; null where there is nothing to say.
    """

    splits: list[SplitPreview]
    overlaps: list[Overlap]
    problem: str | None = None
