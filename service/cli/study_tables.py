"""Studies as a person reads them: the facts of one with its winner, and the table of several.

The commands about studies print them.
"""

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from luthier.service.cli.findings import findings_tables
from luthier.service.cli.majority import majority_facts, verdict
from luthier.service.cli.model_facts import model_facts
from luthier.service.cli.noise import noise_facts, with_error
from luthier.service.cli.output import cell, configuration, facts, looks, score, scores, table

if TYPE_CHECKING:
    from rich.table import Table

    from luthier.service.schemas import StudyView


def study_tables(study: "StudyView") -> Iterator["Table"]:
    """Yield a study as a person reads it: its facts, then what was found of its data and models."""
    yield study_facts(study)
    yield from findings_tables(study.data.findings if study.data else [])


def study_facts(study: "StudyView", only_best: bool = False) -> "Table":
    """Return a study as a person reads it, or only its winner."""
    from luthier.service.cli.follow import progress

    findings = study.data.findings if study.data else []
    told = {verdict(study), *(finding.text for finding in findings)}  # in rows of their own
    head: dict[str, Any] = {
        "study": study.name,
        "state": study.state.value,
        "created": study.created_at,
        "finished": study.finished_at,
        "trials": progress(study),
        "GPU time": f"{study.gpu_seconds:.0f} s",
        "expected gain of going on": None if study.expected_gain is None else f"{study.expected_gain:.2g}",
        "waiting": study.waiting and study.waiting.sentence,
        "error": study.error,
        "message": study.message,
        "taken over": study.taken_over and str(study.taken_over),
        "tags": ", ".join(study.tags) or None,
        "notes": study.notes or None,
        "parallel": study.parallel if study.parallel != study.spec.get("parallel") else None,
        "weight": f"{study.weight:g}" if study.weight != 1 else None,
        "priority": study.priority or None,
        "warnings": " ".join(warning for warning in study.warnings if warning not in told) or None,
    }
    best = study.best
    baseline = study.baseline
    metric = study.spec["objective"]["metric"]
    winner: dict[str, Any] = {
        "best": best and f"{metric} {with_error(best)} (trial {best.trial})",
        "configuration": best and configuration(best.params),
        "baseline": baseline and f"{metric} {score(baseline.value)} (trial {baseline.trial})",
        "test": best and best.test and scores(best.test) + looks(best.test_looks),
        **noise_facts(study),
        **majority_facts(study),
        **model_facts(study),
    }
    return facts(winner if only_best else head | winner)


def studies_table(studies: Iterable["StudyView"]) -> "Table":
    """Return studies as a table, a row for each."""
    from luthier.service.cli.follow import progress

    rows = (
        (s.name, s.state.value, progress(s), score(s.best.value if s.best else None), s.created_at, _fault(s))
        for s in studies
    )
    return table(("study", "state", "trials", ">best", "created", "error"), rows)


def _fault(study: "StudyView") -> str:
    """Return what is wrong with a study, in a table's cell: why it failed or waits, else the heads of its warnings."""
    if study.error is None and study.waiting is not None:
        return cell(f"waits: {study.waiting.message}")
    if study.error is None and study.state == "paused" and study.message is not None:
        return cell(study.message)
    return cell(study.error or "; ".join(re.split(r"[:.] ", warning)[0] for warning in study.warnings))
