"""Extension: a study gets a larger budget, and goes on with its search's memory if it had ended.

The API calls `extend` with the study's row locked; all of it is one transaction. A winner's packed model stays until
the next end of the study brings another one. Trials, their scores and Optuna's memory of them stay as they are.
"""

import math
from contextlib import suppress
from typing import Any

from pydantic import ValidationError
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from luthier.service.errors import Conflict, Invalid, NotFound, invalid
from luthier.service.lifecycle import (
    datasets,
    failing_studies,
    going_on,
    packed_winner,
    patience,
    retraining,
    transitions,
    winner,
)
from luthier.service.lifecycle.budget import TrialCounts, reaches, wall_clock_seconds
from luthier.service.schemas import Fault
from luthier.service.storage.file_store import FileStore
from luthier.service.storage.leases import Leases
from luthier.service.storage.schedule_tables import RunRow
from luthier.service.storage.tables import AssignmentRow, StudyRow
from luthier.studies.budget import Budget
from luthier.studies.protocol import ENDED, AssignmentKind, StudyState, TrialState
from luthier.studies.results import Inspection
from luthier.studies.spec import StudySpec, is_better

GROWING = (
    "trials",
    "wall_clock_seconds",
    "gpu_seconds",
    "failures",
    "trial_seconds",
    "patience",
)  # a larger number is more


def extend(session: Session, leases: Leases, store: FileStore, study: StudyRow, totals: Budget) -> None:
    """Give a locked study a larger budget; one that has ended runs again, and its winner is chosen and measured anew.

    The same totals again change nothing while it runs.

    Args:
        session: the caller's transaction.
        leases: the study's work.
        store: where the winner's packed model lies.
        study: its row.
        totals: new totals; what was not given stays as it is, and null removes a limit.

    Raises:
        Conflict: the study belongs to a schedule's run, is just ending, never began, or has nothing left to try.
        Invalid: a total is smaller than the present one, or is used up already; or its uploaded data set is gone.
    """
    _check_state(session, study)
    spec = _extended(session, leases, study, totals)
    if spec.budget != study.spec.budget or study.state in ENDED:
        study.first_budget = study.first_budget or study.spec.budget
        study.spec = spec
    if study.state in ENDED:
        _check_space(session, study)
        datasets.hold(session, study.spec)
        _reopen(session, leases, store, study)
    transitions.settle(session, leases, study)


def _check_state(session: Session, study: StudyRow) -> None:
    """Raise Conflict where a study cannot be extended, whatever the budget."""
    name = study.name
    if session.scalar(select(RunRow.id).where(RunRow.study_id == study.id).limit(1)) is not None:
        raise Conflict(
            f"{name} belongs to a schedule, whose runs are compared at equal budgets: change the schedule's study with "
            f"`luthier schedule update`, or go on in a study of your own with from: {{study: {name}}}."
        )
    if study.state not in ENDED and study.ending is not None:
        raise Conflict(f"{name} is just ending: extend it once it has (`luthier wait {name}`).")
    if study.state in ENDED and not isinstance(study.inspection, Inspection):
        raise Conflict(f"{name} never came to its first trial, so that nothing goes on: create it again, put right.")
    if not study.is_readable:
        raise Conflict(f"{name} was written by another version of Luthier: extend it with that one.")


def _extended(session: Session, leases: Leases, study: StudyRow, totals: Budget) -> StudySpec:
    """Return the study's spec with its new budget. Raises Invalid for one that is smaller, or used up."""
    given = {name: getattr(totals, name) for name in totals.model_fields_set}
    present = study.spec.budget
    faults = [Fault(path=f"budget.{name}", message=text) for name, text in _smaller(study, given)]
    if not faults:
        budget = present.model_copy(update=given)
        faults = [Fault(path=f"budget.{name}", message=t) for name, t in _used_up(session, leases, study, budget)]
    if faults:
        raise Invalid("; ".join(map(str, faults)), faults)
    try:
        return StudySpec.model_validate_json(study.spec.model_copy(update={"budget": budget}).model_dump_json())
    except ValidationError as error:
        raise invalid(error) from None


def _smaller(study: StudyRow, given: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the totals that are less than the study's present ones, each with the cure."""
    problems = []
    for name, value in given.items():
        before = getattr(study.spec.budget, name)
        if before is None or value is None:
            continue
        if name in GROWING and value < before:
            text = f"must be at least the present total ({before:g}): an extension never takes away"
            problems.append((name, f"{text}; `luthier stop {study.name}` ends a study earlier"))
        elif name == "expected_gain" and value > before:
            problems.append((name, f"must be at most the present one ({before:g}), or null: more would end it earlier"))
        elif name == "target" and is_better(before, value, study.spec.maximize):
            problems.append((name, f"must be at least as good as the present target ({before:g}), or null for none"))
    return problems


def _used_up(session: Session, leases: Leases, study: StudyRow, budget: Budget) -> list[tuple[str, str]]:
    """Return the limits of a budget that the study has reached, each with the cure."""
    counts = TrialCounts.of(session, study.id)
    ended = study.state in ENDED
    until = study.finished_at if ended and study.finished_at is not None else leases.database.time(session)
    used: dict[str, float] = {
        "trials": counts.spent if ended else counts.spent - counts.active - counts[TrialState.PAUSED],
        "wall_clock_seconds": wall_clock_seconds(study, until),
        "gpu_seconds": counts.gpu_seconds,
        "failures": counts[TrialState.FAILED],
    }
    problems = []
    for name, amount in used.items():
        limit = getattr(budget, name)
        if limit is not None and amount >= limit:
            shown = f"{math.ceil(amount * 10) / 10:g}"
            what = f"{shown} are used already" if amount > limit else f"all {shown} are used already"
            problems.append((name, f"must be more than {shown}: {what}"))
    best = winner.best_trial(session, study)
    if budget.target is not None and best is not None and reaches(best, budget.target, study.spec.maximize):
        text = f"must be better than {best.value:g}, which trial {best.number} has reached; or null for none"
        problems.append(("target", text))
    return problems + _enough(session, study, budget)


def _enough(session: Session, study: StudyRow, budget: Budget) -> list[tuple[str, str]]:
    """Return the limits of a budget on going on in vain that the study has reached, each with the cure."""
    problems = []
    row = patience.row_of(session, study)
    if budget.patience is not None and row is not None and row.length >= budget.patience:
        text = f"must be more than {row.length}, as so many trials in a row were no better than trial {row.best}"
        problems.append(("patience", f"{text}; or null for none"))
    gain = going_on.gain_within(session, study, budget)
    if budget.expected_gain is not None and gain is not None and gain < budget.expected_gain:
        text = (
            f"must be less than {gain:.3g}, which is all that the larger budget is expected to gain; or null for none"
        )
        problems.append(("expected_gain", text))
    return problems


def _check_space(session: Session, study: StudyRow) -> None:
    """Raise Conflict where all configurations of a finite space were run."""
    assert study.inspection is not None
    space = study.spec.resolved_space(study.inspection)
    size = space.size()
    if size is None:
        return
    params = select(AssignmentRow.params).where(
        AssignmentRow.study_id == study.id, AssignmentRow.kind == AssignmentKind.TRAIN, ~AssignmentRow.deleted
    )
    if len({space.key(configuration) for configuration in session.scalars(params)}) >= size:
        raise Conflict(
            f"All {size} configurations of {study.name}'s space were run: there is nothing left to try. A study with a "
            f"wider space takes them over with from: {{study: {study.name}}}."
        )


def _reopen(session: Session, leases: Leases, store: FileStore, study: StudyRow) -> None:
    """Let a locked study that has ended run again, without a winner until its next end."""
    now = leases.database.time(session)
    is_failed = AssignmentRow.state != TrialState.COMPLETE
    of_study = AssignmentRow.study_id == study.id
    leases.remove_ended(session, of_study, AssignmentRow.kind == AssignmentKind.EVALUATE, is_failed)
    retraining.forget_failed(session, leases, study)
    study.message = _keep_model(session, store, study)
    study.winner = study.winner_confirmation = study.test = None
    study.ending = study.error = study.away = study.search_error = None
    failing_studies.forget(session, leases.database, study)
    study.stop_at_next_evaluation = False
    study.idle_seconds += max(0.0, now - (study.finished_at or now))
    study.finished_at = None
    study.state = StudyState.RUNNING


def _keep_model(session: Session, store: FileStore, study: StudyRow) -> str:
    """Set a study's evaluation and its packed model aside, where those of its next end do not replace them.

    Returns:
        The sentence that says which model can be downloaded until then.
    """
    before = session.scalar(winner.present_evaluation(study.id))
    packed = packed_winner.packed_winner(study)
    if packed is None:
        return "Extended."
    if before is None or study.winner is None:
        of_trial = "" if packed.trial is None else f", of trial {packed.trial}"
        return f"Extended: until it ends anew, its model is that of an earlier end{of_trial}."
    packed_winner.set_aside(study)
    lowest = select(func.min(AssignmentRow.number)).where(
        AssignmentRow.study_id == study.id, AssignmentRow.kind == AssignmentKind.EVALUATE
    )
    before.number = (session.scalar(lowest) or 0) - 1
    name = packed.model.name
    with suppress(NotFound):  # it is gone from the store; a download says so, as before
        store.link(store.place(study.id, packed.model.assignment, name), store.place(study.id, before.id, name))
        study.model = packed.model.model_copy(update={"assignment": before.id})
    return f"Extended: until it ends anew, its model is that of trial {study.winner}."
