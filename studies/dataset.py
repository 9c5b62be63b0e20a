"""The part of a spec that says where the examples come from and how they are split.

`spec_keys.py` puts it into a spec; the workers read files and splits by it.
"""

import re
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
    colours: dict[str, int] | None = Field(
        None,
        min_length=1,
        exclude_if=lambda colours: colours is None,
        description='Colour of a mask -> its class id, as {"#804080": 0} or {"128,64,128": 0}; 255 does not count.',
    )
    do_reduce_labels: bool = Field(
        False,
        exclude_if=lambda reduced: not reduced,
        description="Masks have 0 for what does not count: the other ids are lowered by 1, as for ADE20K.",
    )
    learn: Literal["last", "all"] = Field(
        "last",
        exclude_if=lambda learn: learn == "last",
        description="Which answers of a conversation are learned: the last one, or all of the assistant's.",
    )
    language: str | None = Field(
        None,
        min_length=2,
        max_length=50,
        exclude_if=lambda language: language is None,
        description="What is spoken, for a Whisper of several languages: its English name, or its code, as de.",
    )
    box_format: Literal["xywh", "xyxy"] | None = Field(
        None,
        exclude_if=lambda form: form is None,
        description="Boxes are [x, y, width, height], or corners [left, upper, right, lower]; left out: the first.",
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

    @field_validator("colours")
    @classmethod
    def _colours(cls, value: dict[str, int] | None) -> dict[str, int] | None:
        """Write each colour as #rrggbb."""
        written: dict[str, int] = {}
        for colour, number in (value or {}).items():
            parts = colour.split(",")
            if re.fullmatch(r"#[0-9a-fA-F]{6}", colour):
                name = colour.lower()
            elif len(parts) == 3 and all(re.fullmatch(r" *[0-9]{1,3} *", part) and int(part) <= 255 for part in parts):
                name = "#{:02x}{:02x}{:02x}".format(*map(int, parts))
            else:
                raise ValueError(f'{colour!r} is no colour; write "#804080", or red, green and blue as "128,64,128"')
            if name in written:
                raise ValueError(f"{colour!r} is named twice")
            if not 0 <= number <= 255:
                raise ValueError(f"{colour!r} has the class id {number}; ids go from 0 to 254, and 255 does not count")
            written[name] = number
        return written or None

    @model_validator(mode="after")
    def _splits(self) -> Self:
        if self.colours is not None and self.do_reduce_labels:
            text = "has no meaning beside colours, which say each class id; leave one of the two out"
            raise refuse("dataset", (("do_reduce_labels",), text))
        if isinstance(self.validation, float) and not 0 < self.validation < 1:
            raise refuse("dataset", (("validation",), "must be a fraction above 0 and below 1, or a split's name"))
        if isinstance(self.test, float) and not 0 <= self.test < 1:
            raise refuse("dataset", (("test",), "must be a fraction from 0 to below 1, or a split's name"))
        if isinstance(self.validation, float) and isinstance(self.test, float) and self.validation + self.test >= 1:
            raise refuse("dataset", (("test",), "validation and test together must leave rows to train on"))
        return self
