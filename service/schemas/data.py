"""The data of a study, as the REST interface answers it: sizes, labels, findings."""

from pydantic import BaseModel

from luthier.studies.findings import Finding


class DataView(BaseModel):
    """What an inspection found of a study's data.

    Attributes:
        rows: split -> number of examples.
        labels: label -> number of examples, over all splits.
        max_length: what `max_length: auto` stands for, in tokens or milliseconds; null where nothing asks for it.
        findings: what is remarkable about data and models.
    """

    rows: dict[str, int]
    labels: dict[str, int]
    max_length: int | None = None
    findings: list[Finding] = []
