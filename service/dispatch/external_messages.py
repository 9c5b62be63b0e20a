"""What trainers of external studies say of their trials, and the sentences that refuse it.

`external_trials.py` turns it into the workers' messages.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Literal

from luthier.service.errors import Conflict, Gone, Invalid
from luthier.service.schemas import Fault
from luthier.service.storage.tables import AssignmentRow, StudyRow
from luthier.studies.protocol import ENDED, Reason, StudyState

State = Literal["complete", "pruned", "failed", "released"]
Scores = Mapping[str, float | None]


@dataclass(frozen=True)
class Evaluation:
    """What a trainer says while it trains.

    Attributes:
        step: of the evaluation, in the user's own unit; None: it only renews its lease.
        metrics: name -> score; None where that is no finite number.
        checkpoint: where it could continue, in its own words; None leaves what it said before.
        log: new lines of its log.
    """

    step: int | None = None
    metrics: Scores = field(default_factory=dict)
    checkpoint: str | None = None
    log: str = ""


@dataclass(frozen=True)
class End:
    """What a trainer says at the end of a trial.

    Attributes:
        state: how it ended; released: it gives the trial back, for another to continue.
        metrics: final scores, the objective's among them where the trainer has one to tell.
        reason: of a failure.
        message: the same for people; None where the trainer gave none.
        log: new lines of its log.
    """

    state: State
    metrics: Scores = field(default_factory=dict)
    reason: Reason | None = None
    message: str | None = None
    log: str = ""


def check_not_ended(study: StudyRow) -> None:
    """Raise Gone where a study has ended."""
    if study.state in ENDED:
        why = study.error or study.message or ""
        raise Gone(f"{study.name} is {study.state}: it gives out no trials any more. {why}".strip())


def why_none(study: StudyRow, is_full: bool) -> str:
    """Return why a study gives out no trial now, as a sentence; `is_full`: it runs as many as it may."""
    if study.state == StudyState.PAUSED:
        return f"{study.name} is paused: ask again once it is resumed."
    if study.ending is not None:
        return f"{study.name} is ending: its last trials run, and are given out again should their trainers vanish."
    if not is_full:
        return f"{study.name} draws a trial for another, or reads those that it has: ask again in a moment."
    return (
        f"{study.name} runs as many trials as may run at the same time (parallel: {study.parallel}): ask again later."
    )


def ended_otherwise(study: StudyRow, row: AssignmentRow) -> Conflict:
    """Return the refusal of an end that differs from the one that a trial has."""
    score = "" if row.value is None else f" with {study.spec.objective.metric} {row.value:g}"
    return Conflict(
        f"Trial {row.number} of {study.name} is {row.state}{score} already, and what was told of its end stays. To "
        f"replace it, delete the trial (`luthier delete {study.name} {row.number}`) and add its configuration again."
    )


def check_has_objective(study: StudyRow, metrics: Scores) -> None:
    """Raise Invalid where the metrics lack the study's objective."""
    metric = study.spec.objective.metric
    if metric in metrics:
        return
    near = get_close_matches(metric, metrics, 1)
    given = f", not {near[0]}" if near else ""
    text = f"is missing: the objective of {study.name} is {metric}{given}; report it at every step"
    raise Invalid(f"metrics.{metric}: {text}", [Fault(path=f"metrics.{metric}", message=text)])
