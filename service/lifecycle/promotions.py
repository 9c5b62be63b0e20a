"""Pause and promote: which trials wait at a rung, which go on, and what becomes of them at the end.

`reports.py` asks at a rung whether a trial pauses, `transitions.settle` lets paused trials go on and ends them. The
caller always holds the study's row, so that decisions about one study are made one after another. The rules are
`studies/asha.py`'s; all that they depend on is in our rows, so a crash changes no decision. Nothing is told to Optuna.
"""

from collections.abc import Mapping, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from luthier.service.lifecycle.budget import TrialCounts
from luthier.service.storage.assignments import Assignments
from luthier.service.storage.believable import is_score
from luthier.service.storage.tables import AssignmentRow, ReportRow, StudyRow
from luthier.studies.asha import (
    TO_ITS_END,
    Ladder,
    factor_of,
    first_top,
    goes_on,
    ranking_noise,
    top_grows,
)
from luthier.studies.hyperparameters import complete
from luthier.studies.protocol import AssignmentKind, Reason, StudyState, TrialState
from luthier.studies.spec import trial_seed

Rung = dict[int, float]  # number of a trial -> its score there, the higher the better


def pauses(session: Session, study: StudyRow, row: AssignmentRow, step: int) -> bool:
    """Return whether a running trial pauses after an evaluation, which is recorded; else it is let past its rung.

    The same trials as those that are never pruned never pause: see `studies/search/pruning.py`. A trial without a score
    there, or that has passed the rung before, trains on.

    Args:
        session: the caller's transaction, which holds the study's row and the trial's.
        study: its row; the highest rung may become the next one.
        row: the trial.
        step: the evaluation, from 1.
    """
    rungs = study.spec.rungs
    if step not in rungs or row.passed_rung >= step or row.step > step:
        return False
    place = rungs.index(step)
    below, rung = _scores(session, study, (rungs[place - 1] if place else 0, step))
    if row.number not in rung:
        return False
    if place == _top(study) and top_grows(below, rung, _noise(session, study, rung, step)):
        study.top_rung = place + 1
    if _is_spared(study, row, step):
        return False
    if place >= _top(study) or not goes_on(rung, row.number, factor_of(study.spec.pruner)):
        return True
    row.passed_rung = step
    return False


def may_pause(study: StudyRow, row: AssignmentRow) -> bool:
    """Return whether a trial stands at a rung that it has not passed: only there it waits for a promotion."""
    return row.kind == AssignmentKind.TRAIN and row.step in study.spec.rungs and row.passed_rung < row.step


def go_on(
    session: Session, leases: Assignments, study: StudyRow, counts: TrialCounts, is_drawn_up: bool = False
) -> bool:
    """Queue the paused trials of a locked study that go on now, as many as may run; return whether there were any.

    Args:
        session: the caller's transaction.
        leases: the study's work.
        study: its row.
        counts: its trials.
        is_drawn_up: no configuration is drawn any more. Then, once nothing else is left to do, the best trials go on
            to their end, so that the winner is one of those that were trained whole.
    """
    room = study.parallel - counts.active
    if not counts[TrialState.PAUSED] or room <= 0:
        return False
    paused = {row.number: row for row in _paused(session, study)}
    ladder = _ladder(session, study, paused)
    chosen = {number: study.spec.rungs[ladder.paused[number]] for number in ladder.promotable()}
    if not chosen and is_drawn_up and not counts.active:
        chosen = dict.fromkeys(ladder.leaders(_places(study)), TO_ITS_END)
    for number, passed in list(chosen.items())[:room]:
        leases.promote(session, paused[number], passed)
    return bool(chosen)


def are_left(session: Session, leases: Assignments, study: StudyRow) -> bool:
    """Return whether trials of a locked study whose space is exhausted may still go on; those that do now are queued.

    While any runs, its scores may let others go on; and a paused study waits until it is resumed.
    """
    if study.ending is not None or not study.spec.rungs:
        return False
    counts = TrialCounts.of(session, study.id)
    if counts.active:
        return True
    if study.state != StudyState.RUNNING:
        return bool(counts[TrialState.PAUSED])
    return go_on(session, leases, study, counts, is_drawn_up=True)


def end_paused(session: Session, leases: Assignments, study: StudyRow) -> None:
    """End the trials of a locked study that are still paused once nothing of it runs: they count as pruned.

    Where its time was up, or a user stopped it, the best ones end as running ones do then: complete with their scores.
    """
    paused = {row.number: row for row in _paused(session, study)}
    is_stopped, best = study.ending == StudyState.STOPPED, set[int]()
    if paused and (is_stopped or (study.stop_at_next_evaluation and study.ending == StudyState.COMPLETED)):
        best = {*_ladder(session, study, paused).leaders(_places(study)), *_best(session, study)}
    reason = Reason.STOPPED if is_stopped else Reason.BUDGET
    for number, row in paused.items():
        if number in best:
            leases.end_paused(session, row, TrialState.COMPLETE, reason)
        else:
            leases.end_paused(session, row, TrialState.PRUNED, None)


def _ladder(session: Session, study: StudyRow, paused: Mapping[int, AssignmentRow]) -> Ladder:
    """Return the rungs of a study as its trials stand now."""
    rungs = study.spec.rungs
    places = {number: rungs.index(row.step) for number, row in paused.items() if row.step in rungs}
    return Ladder(factor_of(study.spec.pruner), _scores(session, study, rungs), places, _top(study))


def _places(study: StudyRow) -> int:
    """Return how many trials are a study's best: one wins, or some are trained again on fresh seeds."""
    return 1 if study.spec.confirm is None else study.spec.confirm.candidates


def _top(study: StudyRow) -> int:
    """Return the place of the first rung that no trial passes yet."""
    return first_top(study.spec.pruner, study.spec.rungs) if study.top_rung is None else study.top_rung


def _is_spared(study: StudyRow, row: AssignmentRow, step: int) -> bool:
    """Return whether a trial never pauses, or has ended anyway."""
    whole = complete(row.params, study.spec.task_info.baseline)
    is_last = step >= int(whole["epochs"]) * study.spec.evaluations_per_epoch
    return is_last or row.number == 0 or row.seed != trial_seed(study.spec.seed, row.number)


def _paused(session: Session, study: StudyRow) -> Sequence[AssignmentRow]:
    paused = (AssignmentRow.study_id == study.id, AssignmentRow.state == TrialState.PAUSED)
    return session.scalars(select(AssignmentRow).where(*paused).order_by(AssignmentRow.number)).all()


def _scores(session: Session, study: StudyRow, steps: Sequence[int]) -> list[Rung]:
    """Return the scores at some evaluations, of all trials that no user deleted and that have one there."""
    rungs: dict[int, Rung] = {step: {} for step in steps}
    for number, step, value in _evaluations(session, study, steps[-1] if steps else 0, steps):
        rungs[step][number] = value
    return [rungs[step] for step in steps]


def _noise(session: Session, study: StudyRow, rung: Rung, step: int) -> float:
    """Return how far apart trials of the highest rung are whose ranking goes to and fro."""
    curves: dict[int, Rung] = {number: {} for number in rung}
    for number, at, value in _evaluations(session, study, step):
        if number in curves:
            curves[number][at] = value
    return ranking_noise(curves, step)


def _evaluations(
    session: Session, study: StudyRow, last: int, steps: Sequence[int] | None = None
) -> list[tuple[int, int, float]]:
    """Return (trial, evaluation, score) of a study up to an evaluation, or at some; the higher the better."""
    objective, sign = study.spec.objective.metric, 1.0 if study.spec.maximize else -1.0
    reports = select(AssignmentRow.number, ReportRow.step, ReportRow.metrics).join(
        AssignmentRow, AssignmentRow.id == ReportRow.assignment_id
    )
    reports = reports.where(
        AssignmentRow.study_id == study.id,
        AssignmentRow.kind == AssignmentKind.TRAIN,
        ~AssignmentRow.deleted,
        ReportRow.step <= last if steps is None else ReportRow.step.in_(steps),
    )
    rows = session.execute(reports).all()
    scored = ((number, step, metrics.get(objective)) for number, step, metrics in rows)
    return [(number, step, sign * value) for number, step, value in scored if value is not None]


def _best(session: Session, study: StudyRow) -> list[int]:
    """Return the best complete and paused trials of a study, by the scores that winners are chosen by."""
    value = AssignmentRow.value.desc() if study.spec.maximize else AssignmentRow.value.asc()
    scored = select(AssignmentRow.number).where(
        AssignmentRow.study_id == study.id,
        AssignmentRow.kind == AssignmentKind.TRAIN,
        AssignmentRow.state.in_((TrialState.COMPLETE, TrialState.PAUSED)),
        is_score(AssignmentRow.value),
    )
    return list(session.scalars(scored.order_by(value, AssignmentRow.number).limit(_places(study))))
