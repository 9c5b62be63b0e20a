"""Studies whose trials fail one after another: they are paused, the commonest reason first, before a budget is spent.

`transitions.settle` calls it with the study's row locked, `resume` lets the count start anew. A study with
`budget.failures` ends by that instead, and one of the user's own trainer is left to its user.
"""

import logging
import re
from collections import Counter
from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from luthier.service.lifecycle.budget import Limit, TrialCounts
from luthier.service.storage.database import Database
from luthier.service.storage.health import Doubt
from luthier.service.storage.schedule_tables import RunRow
from luthier.service.storage.service_tables import HealthRow, WorkerRow
from luthier.service.storage.tables import AssignmentRow, StudyRow
from luthier.studies.protocol import FINISHED, AssignmentKind, Reason, StudyState, TrialState
from luthier.studies.schedule_runs import RunState
from luthier.studies.text import one_line

log = logging.getLogger("luthier")
IN_A_ROW = 5  # failed trials in a row after which a study pauses
UNFIT_IN_A_ROW = 20  # trials in a row that failed, diverged or did not fit, in a study where none has done better
AT_ONE_WORKER = 10  # failed trials in a row that suffice although only one of several workers had them
PRESENT_SECONDS = 90.0  # a worker that was heard of so lately might have had one of them
TEXT_CHARACTERS = 300  # of an error
KINDS = 3  # of errors that are told
UNFIT = frozenset({Reason.OOM, Reason.DIVERGED})  # the configuration's: it was trained, and did not do
WORDS: dict[Reason | None, str] = {
    Reason.OOM: "did not fit in memory",
    Reason.DIVERGED: "diverged, their loss became NaN or infinite",
    Reason.TIMEOUT: "took longer than budget.trial_seconds",
    Reason.LOST_WORKER: "lost their workers too often",
}


def find_limit(session: Session, database: Database, study: StudyRow, counts: TrialCounts) -> Limit | None:
    """Pause a locked study whose latest trials have all failed; return how it ends, where nobody would resume it.

    Args:
        session: the caller's transaction.
        database: its clock.
        study: the study's row; it is running, and no limit of its budget is reached.
        counts: its trials.
    """
    bad = counts[TrialState.FAILED] + counts[TrialState.PRUNED]
    is_watched = study.state == StudyState.RUNNING and not study.external and study.spec.budget.failures is None
    if not is_watched or (counts[TrialState.FAILED] < IN_A_ROW and bad < UNFIT_IN_A_ROW):
        return None
    latest = _latest(session, study)
    row = _row(latest, counts)
    if not row or not _is_everywhere(session, database, row):
        return None
    told = _told(row)
    if _is_scheduled(session, study):
        return Limit(StudyState.FAILED, told, stop_at_next_evaluation=False, error=told)
    study.state = StudyState.PAUSED
    study.failing = told
    log.warning("study %s is paused: %s", study.name, told)
    return None


def forget(session: Session, database: Database, study: StudyRow) -> None:
    """Let the count of a locked study's failures start anew."""
    study.failing = None
    study.failing_since = database.time(session)


def sentence(study: StudyRow) -> str | None:
    """Return for its user why a study is paused, and what to do; None where it is not paused for its failures."""
    if study.failing is None or study.state != StudyState.PAUSED:
        return None
    return f"{study.failing} Mend it, then `luthier resume {study.name}`; no trial starts meanwhile."


def _latest(session: Session, study: StudyRow) -> Sequence[AssignmentRow]:
    """Return the trials that ended last, the latest first, without those that never ran here."""
    ended = select(AssignmentRow).where(
        AssignmentRow.study_id == study.id,
        AssignmentRow.kind == AssignmentKind.TRAIN,
        AssignmentRow.state.in_(FINISHED - {TrialState.CANCELLED}),
        AssignmentRow.attempt > 0,
        AssignmentRow.taken_from.is_(None),
        ~AssignmentRow.deleted,
    )
    if study.failing_since is not None:
        ended = ended.where(AssignmentRow.finished_at > study.failing_since)
    ended = ended.order_by(AssignmentRow.finished_at.desc(), AssignmentRow.id.desc()).limit(UNFIT_IN_A_ROW)
    return session.scalars(ended).all()


def _row(latest: Sequence[AssignmentRow], counts: TrialCounts) -> Sequence[AssignmentRow]:
    """Return the trials in a row for which a study is paused; nothing where there are too few of them."""
    failed = 0
    while failed < len(latest) and latest[failed].state == TrialState.FAILED and latest[failed].reason not in UNFIT:
        failed += 1
    if failed >= IN_A_ROW:
        return latest[:failed]
    is_hopeless = len(latest) >= UNFIT_IN_A_ROW and not counts[TrialState.COMPLETE]
    return latest if is_hopeless and all(map(_is_unfit, latest)) else ()


def _is_unfit(row: AssignmentRow) -> bool:
    return row.state == TrialState.FAILED or (row.state == TrialState.PRUNED and row.reason == Reason.DIVERGED)


def _is_everywhere(session: Session, database: Database, row: Sequence[AssignmentRow]) -> bool:
    """Return whether trials failed at two workers, or at the only one; or so often that one suffices."""
    names = {trial.worker for trial in row} | {t.doubt.worker for t in row if isinstance(t.doubt, Doubt)}
    if len(names) > 1 or len(row) >= AT_ONE_WORKER:
        return True
    sick = select(HealthRow.worker).where(HealthRow.quarantined_at.is_not(None))
    now = database.now()
    busy = select(AssignmentRow.worker).where(AssignmentRow.state == TrialState.RUNNING, AssignmentRow.deadline > now)
    others = select(WorkerRow.name).where(
        WorkerRow.name.not_in({name for name in names if name is not None}),
        WorkerRow.name.not_in(sick),
        (WorkerRow.seen_at > now - PRESENT_SECONDS) | WorkerRow.name.in_(busy),
    )
    return session.scalar(others.limit(1)) is None


def _told(row: Sequence[AssignmentRow]) -> str:
    """Return what happened, the commonest error first; errors that differ in numbers alone are one."""
    kinds: Counter[str] = Counter()
    texts: dict[str, tuple[str, int]] = {}
    for trial in reversed(row):
        reason = Reason(trial.reason) if trial.reason in set(Reason) else None
        text = one_line(trial.error or WORDS.get(reason, "no reason"), TEXT_CHARACTERS).rstrip(".")
        kind = f"{reason} {re.sub('[0-9]+', '#', text)}"
        kinds[kind] += 1
        texts.setdefault(kind, (text, trial.number))
    told = [
        f"{'all' if count == len(row) else f'{count} of them'} with: {texts[kind][0]} (trial {texts[kind][1]})"
        for kind, count in kinds.most_common(KINDS)
    ]
    return f"{len(row)} trials in a row failed, {'; '.join(told)}."


def _is_scheduled(session: Session, study: StudyRow) -> bool:
    """Return whether a schedule's run waits for the study, so that nobody would resume it."""
    run = select(RunRow.id).where(RunRow.study_id == study.id, RunRow.state == RunState.RUNNING)
    return session.scalar(run.limit(1)) is not None
