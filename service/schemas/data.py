"""The data of a study, as the REST interface answers it: sizes, labels, findings."""

from pydantic import BaseModel, Field

from luthier.studies.depth_scores import DepthProbe
from luthier.studies.findings import Finding


class DataView(BaseModel):
    """What an inspection found of a study's data.

    Attributes:
        rows: split -> number of examples.
        labels: label -> number of examples, over all splits.
        max_length: what `max_length: auto` stands for, in tokens or milliseconds; null where nothing asks for it.
        findings: what is remarkable about data and models.
        probes: for each model, in the spec's order, what a linear model makes of the features at each freeze depth;
            null where that was not measured. Left out where it was for none.
    """

    rows: dict[str, int]
    labels: dict[str, int]
    max_length: int | None = None
    findings: list[Finding] = []
    probes: list[DepthProbe | None] = Field([], exclude_if=lambda probes: not probes)
