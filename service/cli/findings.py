"""The findings about a study's data and models as a table, for `luthier plan` and `luthier get`."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from luthier.service.cli.output import table

if TYPE_CHECKING:
    from rich.table import Table

    from luthier.studies.findings import Finding


def findings_tables(findings: Sequence["Finding"]) -> Iterator["Table"]:
    """Yield a table with a row for each finding, warnings first; nothing where nothing was found."""
    ordered = sorted(findings, key=lambda finding: finding.severity.value, reverse=True)
    rows = [
        (finding.severity.value, finding.code, finding.count or None, finding.text, ", ".join(finding.examples) or None)
        for finding in ordered
    ]
    if rows:
        yield table(("severity", "code", ">count", "finding", "examples"), rows, title="Findings")
