"""The part of a spec that says where the examples come from and how they are split.

`spec.py` puts it into a study; the workers read files and splits by it.
"""

from typing import Any, Literal, Self

from pydantic import Field, FiniteFloat, field_validator, model_validator

from luthier.studies.documents import Document, refuse

LATER_FIELDS = ("unreadable", "strict", "label_separator")
"""Fields of a data set that the first version lacked; where they are the default, digests of specs leave them out."""


class SplitFiles(Document):
    """A file or a folder for each split, of data that is split already."""

    train: str = Field(min_length=1)
    validation: str | None = Field(None, min_length=1)
    test: str | None = Field(None, min_length=1)


class Dataset(Document):
    """The source of the examples, and how they are split.

    A fraction of the rows is drawn with the study's seed, stratified by label; a string names a split of the source.
    """

    source: str | SplitFiles
    subset: str | None = Field(None, description="A hub data set's configuration, as mrpc in glue.")
    columns: dict[str, str] = Field(default_factory=dict, description="Role (text, label, ...) -> column name.")
    validation: FiniteFloat | str = Field(0.15, description="Fraction of the training rows, or a split's name.")
    test: FiniteFloat | str = Field(0.15, description="Likewise; 0 for none.")
    limit: int | None = Field(None, ge=10, description="A seeded, stratified sample of so many rows.")
    draw: Literal["random", "stable"] = Field(
        "random",
        description="How splits are drawn. stable: by each row's content, so that it keeps its side as rows are added.",
    )

    unreadable: Literal["refuse", "skip"] = Field(
        "refuse", description="Images and sounds that cannot be read: refuse them, all at once, or leave them out."
    )
    label_separator: str | None = Field(
        None,
        min_length=1,
        max_length=10,
        description="What separates the labels of a row where they are one text, for tasks with several labels a row.",
    )
    learn: Literal["last", "all"] = Field(
        "last",
        exclude_if=lambda learn: learn == "last",
        description="Which answers of a conversation are learned: the last one, or all of the assistant's.",
    )
    strict: bool = Field(False, description="Refuse data about which the inspection has a warning.")

    @field_validator("source", mode="before")
    @classmethod
    def _source(cls, value: Any) -> Any:
        if isinstance(value, dict):
            return SplitFiles.model_validate(value)
        if not isinstance(value, str) or not value.strip() or "\0" in value:
            raise ValueError("must be a file, a folder, a hub id, or {train: ..., validation: ..., test: ...}")
        return value

    @model_validator(mode="after")
    def _splits(self) -> Self:
        if isinstance(self.validation, float) and not 0 < self.validation < 1:
            raise refuse("dataset", (("validation",), "must be a fraction above 0 and below 1, or a split's name"))
        if isinstance(self.test, float) and not 0 <= self.test < 1:
            raise refuse("dataset", (("test",), "must be a fraction from 0 to below 1, or a split's name"))
        if isinstance(self.validation, float) and isinstance(self.test, float) and self.validation + self.test >= 1:
            raise refuse("dataset", (("test",), "validation and test together must leave rows to train on"))
        return self
