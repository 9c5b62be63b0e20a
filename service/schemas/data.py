"""The data of a study, as the REST interface answers it: sizes, labels, findings."""

from pydantic import BaseModel

from luthier.studies.findings import Finding


class DataView(BaseModel):
    """What an inspection found of a study's data.

    Attributes:
        rows: split -> number of examples.
        labels: label -> number of examples, over all splits.
        findings: what is remarkable about data and models.
    """

    rows: dict[str, int]
    labels: dict[str, int]
    findings: list[Finding] = []
