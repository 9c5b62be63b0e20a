"""Old trials in a new study, of `from` or `warm_start`: kept when it is created, taken over once it is inspected.

`api/studies.py` calls `keep_old_trials`, dispatch calls `take_over` where an inspection ends; each in the caller's
transaction, so that a study has all of it or nothing. What fits is decided in `studies/successor.py`. The rows of
trials that are taken over whole are written here; Optuna gets them as it gets whatever it lacks (`search_repair.py`).
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from luthier.service.errors import Invalid, NotFound
from luthier.service.lifecycle import study_rows, transitions
from luthier.service.schemas import Fault
from luthier.service.storage.column_types import Unreadable
from luthier.service.storage.file_store import FileStore
from luthier.service.storage.leases import Leases
from luthier.service.storage.tables import AssignmentRow, ReportRow, StudyRow, TakeoverRow
from luthier.studies.external_successor import ExternalSuccessor
from luthier.studies.first_trials import warm_trials
from luthier.studies.old_trials import OldScores, OldTrial, OldTrials, Predecessor, Taken, Takeover
from luthier.studies.protocol import ENDED, FINISHED, AssignmentKind, Reason, TrialState
from luthier.studies.results import Inspection
from luthier.studies.successor import Choice, Moved, Successor

MOST_TRIALS = 10_000  # that a study takes over: they are read and written in one transaction


def keep_old_trials(session: Session, study: StudyRow) -> None:
    """Keep the old trials that a new study's spec asks for, with it, until it is inspected.

    Args:
        session: the caller's transaction, which has inserted the study.
        study: its row.

    Raises:
        Invalid: they cannot be taken over; the path says which key of the spec is wrong.
    """
    origin, warm = study.spec.takes_over, study.spec.warm_start
    if origin is None:
        return
    source = None
    if warm is not None:
        old = warm_trials(study.spec)
    elif origin.study is not None:
        before = _ended_study(session, study, origin.study)
        source = _predecessor(before)
        old = _old_trials(session, before)
    else:
        old = [OldTrial(number=i, params=row.params, value=row.value) for i, row in enumerate(origin.trials or [])]
    session.add(TakeoverRow(study_id=study.id, source=source, trials=OldTrials(trials=old)))


def take_over(session: Session, leases: Leases, store: FileStore, study: StudyRow) -> None:
    """Take over what fits of the old trials that a locked study has kept. A repeated call changes nothing.

    Args:
        session: the caller's transaction, in which the inspection was stored.
        leases: where trials are inserted and queued.
        store: gets the weights of trials that are taken over, where they are still kept.
        study: its row.
    """
    kept = session.get(TakeoverRow, study.id)
    origin, warm = study.spec.takes_over, study.spec.warm_start
    if kept is None or kept.trials is None or study.inspection is None or origin is None:
        return
    named = origin.study if warm is None else warm.study
    if isinstance(kept.trials, Unreadable) or isinstance(kept.source, Unreadable):
        kept.record = Takeover(study=named, reason="They were stored by another version, which wrote them otherwise.")
        kept.trials = None
        return
    kind = ExternalSuccessor if study.external else Successor
    choice = kind(study.spec, study.inspection, origin, kept.source).choose(kept.trials.trials)
    taken = _write(session, leases, store, study, kept.source, choice)
    if kept.source is not None and kept.source.inspection.fingerprint == study.inspection.fingerprint:
        study.test_looks = kept.source.test_looks
    taken = sorted([*taken, *choice.dropped], key=lambda each: each.from_trial)
    kept.record = Takeover(study=named, reason=choice.reason, taken=taken)
    kept.trials = None


def _write(
    session: Session, leases: Leases, store: FileStore, study: StudyRow, source: Predecessor | None, choice: Choice
) -> list[Taken]:
    """Insert what a locked study takes, as its first trials, and return what became of each old trial among them."""
    now = leases.database.time(session)
    taken: list[Taken] = []
    number = 0
    if choice.baseline is not None:
        transitions.queue_trial(session, leases, study, number, choice.baseline, now)
        number += 1
    whole = []
    for moved in choice.whole:
        assert source is not None  # `Successor` takes nothing whole from elsewhere
        whole.append((moved.old, leases.add_ended(session, study, number, now, **_columns(source, moved))))
        taken.append(Taken(from_trial=moved.old.number, trial=number, whole=True))
        number += 1
    session.flush()
    for old, row in whole:
        assert source is not None
        _insert_scores_and_weights(session, store, source, old, row)
    for moved in choice.anew:
        transitions.queue_trial(session, leases, study, number, moved.params, now)
        taken.append(Taken(from_trial=moved.old.number, trial=number, why=moved.why))
        number += 1
    if choice.anew or choice.baseline is not None:
        study.started_at = study.started_at or now
    return taken


def record_of(session: Session, study_id: int) -> Takeover | None:
    """Return what a study took over; None where it asked for nothing, or is not inspected yet."""
    return session.scalar(select(TakeoverRow.record).where(TakeoverRow.study_id == study_id))


def _ended_study(session: Session, study: StudyRow, name: str) -> StudyRow:
    """Return the row of the study that another one goes on from. Raises Invalid."""
    try:
        before = study_rows.find(session, name)
    except NotFound as error:
        raise _refused("study", error.detail) from None
    if before.id == study.id:
        raise _refused("study", "is this study itself: name the one that it goes on from")
    if before.state not in ENDED:
        cure = f"wait until it has ended (`luthier wait {name}`), or end it with `luthier stop {name}`"
        raise _refused("study", f"{name} is {before.state}, and its trials still change: {cure}")
    if not before.is_readable or not isinstance(before.inspection, Inspection):
        raise _refused("study", f"{name} never came to its first trial: there is nothing to take over")
    if before.spec.task != study.spec.task:
        raise _refused("study", f"{name} does another task ({before.spec.task}): its scores say nothing about this one")
    return before


def _refused(key: str, text: str) -> Invalid:
    fault = Fault(path=f"from.{key}", message=text)
    return Invalid(str(fault), [fault])


def _predecessor(before: StudyRow) -> Predecessor:
    assert before.inspection is not None
    return Predecessor(
        study=before.name,
        id=before.id,
        spec=before.spec,
        inspection=before.inspection,
        test_looks=before.test_looks,
    )


def _old_trials(session: Session, before: StudyRow) -> list[OldTrial]:
    """Return the ended trials of a study, by number, with their evaluations. Raises Invalid where there are none."""
    statement = select(AssignmentRow).where(
        AssignmentRow.study_id == before.id,
        AssignmentRow.kind == AssignmentKind.TRAIN,
        AssignmentRow.state.in_(FINISHED),
        ~AssignmentRow.deleted,
    )
    rows = list(session.scalars(statement.order_by(AssignmentRow.number).limit(MOST_TRIALS)))
    if not rows:
        raise _refused("study", f"{before.name} has no ended trial: there is nothing to take over")
    scores: dict[int, list[OldScores]] = {row.id: [] for row in rows}
    reports = select(ReportRow).join(AssignmentRow).where(AssignmentRow.study_id == before.id)
    for report in session.scalars(reports.order_by(ReportRow.step)):
        if report.assignment_id in scores:
            evaluation = OldScores(step=report.step, metrics=report.metrics, at=report.at)
            scores[report.assignment_id].append(evaluation)
    return [_old_trial(row, scores[row.id]) for row in rows]


def _old_trial(row: AssignmentRow, scores: Sequence[OldScores]) -> OldTrial:
    state = TrialState(row.state)
    return OldTrial(
        number=row.number,
        params=row.params,
        state=TrialState.FAILED if state is TrialState.COMPLETE and row.value is None else state,
        value=row.value,
        reason=Reason(row.reason) if row.reason in set(Reason) else None,
        error=row.error,
        seed=row.seed,
        step=row.step,
        best_step=row.best_step,
        scores=list(scores),
        assignment=row.id,
        best=row.best,
    )


def _columns(source: Predecessor, moved: Moved) -> dict[str, Any]:
    """Return the columns of an old trial that is taken over whole."""
    old = moved.old
    return {
        "state": old.state,
        "params": moved.params,
        "seed": old.seed,
        "value": old.value,
        "step": old.step,
        "best_step": old.best_step,
        "reason": old.reason,
        "error": old.error,
        "taken_from": {"study": source.study, "trial": old.number},
    }


def _insert_scores_and_weights(
    session: Session, store: FileStore, source: Predecessor, old: OldTrial, row: AssignmentRow
) -> None:
    """Insert the evaluations of an old trial that is taken over as `row`, and link its weights, where they are kept."""
    for scores in old.scores:
        session.add(ReportRow(assignment_id=row.id, step=scores.step, metrics=scores.metrics, at=scores.at))
    if old.best is None or old.assignment is None:
        return
    name = old.best.name
    with suppress(NotFound, OSError):  # then it is trained again from its seed, if it wins
        store.link(store.place(source.id, old.assignment, name), store.place(row.study_id, row.id, name))
        row.best = old.best
