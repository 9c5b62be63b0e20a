"""Views of schedules, runs and champions, as the REST interface answers them.

`api/schedules.py`, the pages and the webhook call these. Functions here only read rows.
"""

import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from luthier.service.schedules import champions, definitions
from luthier.service.schemas import ChampionView, RunView, ScheduleView
from luthier.service.storage import damaged
from luthier.service.storage.schedule_tables import ChampionRow, RunRow, ScheduleRow
from luthier.service.times import instant
from luthier.studies.schedule_runs import RunOutcome, RunState, SkipReason
from luthier.studies.text import one_line

log = logging.getLogger("luthier")

NEXT = 5  # due times ahead
LAST = 10  # runs back


def schedule_view(session: Session, schedule: ScheduleRow) -> ScheduleView:
    """Return a schedule with its next due times, its champion and its last runs."""
    return schedule_views(session, [schedule])[0]


def schedule_views(session: Session, schedules: Sequence[ScheduleRow]) -> list[ScheduleView]:
    """Return the schedules, in the given order. The number of queries does not depend on how many they are."""
    in_use = champions.of_schedules(session, schedules)
    place = func.row_number().over(partition_by=RunRow.schedule_id, order_by=RunRow.due_at.desc())
    of_page = RunRow.schedule_id.in_([schedule.id for schedule in schedules])
    places = select(RunRow.id, place.label("place")).where(of_page).subquery()
    latest = select(RunRow).join(places, places.c.id == RunRow.id).where(places.c.place <= LAST)
    last: dict[int, list[RunRow]] = {schedule.id: [] for schedule in schedules}
    for run in session.scalars(latest.order_by(RunRow.due_at.desc())):
        last[run.schedule_id].append(run)
    promoted = champions.by_run(session, [run.id for runs in last.values() for run in runs])
    return [
        _shown(schedule, in_use.get(schedule.champion_id or 0), last[schedule.id], promoted) for schedule in schedules
    ]


def _shown(
    schedule: ScheduleRow, champion: ChampionRow | None, last: Sequence[RunRow], promoted: dict[int, ChampionRow]
) -> ScheduleView:
    """Return one schedule as `_schedule_view` does; of one whose row is damaged, its name and the reason."""
    try:
        return _schedule_view(schedule, champion, last, promoted)
    except damaged.UNREADABLE as error:
        log.warning("schedule %d cannot be shown whole: %s", schedule.id, one_line(error))
        return ScheduleView(
            name=schedule.name,
            project=schedule.project,
            state="ended",
            created_at=damaged.instant_or_epoch(schedule.created_at),
            spec=damaged.stored_object(schedule.spec),
            next=[],
            last_runs=[],
            error=damaged.sentence(error),
        )


def _schedule_view(
    schedule: ScheduleRow, champion: ChampionRow | None, last: Sequence[RunRow], promoted: dict[int, ChampionRow]
) -> ScheduleView:
    """Return one schedule.

    Args:
        schedule: Its row.
        champion: Its model in use.
        last: Its latest runs, newest first.
        promoted: Run id -> the champion that the run made, for runs that made one.
    """
    return ScheduleView(
        name=schedule.name,
        project=schedule.project,
        state="ended" if schedule.next_at is None else "paused" if schedule.spec.paused else "active",
        created_at=_at(schedule.created_at),
        spec=schedule.spec.shown(),
        next=[_at(due) for due in next_due(schedule)],
        champion=None if champion is None else champion_view(schedule, champion),
        note=None if champion is not None else _why_none(last),
        last_runs=[_run_view(schedule, run, promoted.get(run.id)) for run in last],
        etag=definitions.etag(schedule),
    )


def _why_none(last: Sequence[RunRow]) -> str:
    """Return why no model is in use, as the latest run that ended says; `last`: newest first."""
    ended = (run.message for run in last if run.state in (RunState.FINISHED, RunState.FAILED) and run.message)
    return next(ended, "No run has ended with a winner yet.")


def next_due(schedule: ScheduleRow) -> list[float]:
    """Return the next due times, in seconds since the epoch; none where the schedule has ended."""
    if schedule.next_at is None:
        return []
    limit = schedule.spec.max_runs
    count = NEXT if limit is None else min(NEXT, limit - schedule.fired)
    return list(islice(schedule.spec.due_times(schedule.dealt_until), count))


def champion_view(schedule: ScheduleRow, champion: ChampionRow) -> ChampionView:
    """Return a schedule's champion, present or former."""
    return ChampionView(
        run=champion.run_id,
        study=champion.study,
        trial=champion.trial,
        params=champion.params,
        test=champion.test,
        promoted_at=_at(champion.promoted_at),
        url=f"/v1/schedules/{schedule.name}/champion",
        sha256=champion.model.sha256,
        bytes=champion.model.bytes,
    )


def run_views(session: Session, schedule: ScheduleRow, runs: Sequence[RunRow]) -> list[RunView]:
    """Return runs of one schedule, in the order given."""
    promoted = champions.by_run(session, [run.id for run in runs])
    return [_run_view(schedule, run, promoted.get(run.id)) for run in runs]


def score(schedule: ScheduleRow, run: RunRow, promoted: ChampionRow | None) -> float | None:
    """Return the objective, on the run's test data, of the model that was in use after a run.

    Args:
        schedule: The schedule of the run.
        run: The run.
        promoted: The champion that the run made, if it made one.

    Returns:
        The value of the objective's metric; None where the run has no decision, or the metric no value.
    """
    metric = schedule.spec.study.objective.metric
    scores: dict[str, Any] = {}
    if run.judgement is not None:
        metric = run.judgement.metric
        scores = run.judgement.challenger if run.judgement.promoted else run.judgement.champion
    elif promoted is not None:
        scores = promoted.test
    value = scores.get(metric)
    return None if value is None else float(value)


def _run_view(schedule: ScheduleRow, run: RunRow, promoted: ChampionRow | None) -> RunView:
    """Return one run; of one whose row is damaged, its id and the reason."""
    try:
        return _whole_run(run, score(schedule, run, promoted))
    except damaged.UNREADABLE as error:
        log.warning("run %d cannot be shown whole: %s", run.id, one_line(error))
        return RunView(
            id=run.id,
            due_at=damaged.instant_or_epoch(run.due_at),
            trigger="manual" if run.manual else "schedule",
            state=RunState(run.state) if run.state in set(RunState) else RunState.FAILED,
            message=damaged.sentence(error),
            created_at=damaged.instant_or_epoch(run.created_at),
        )


def _whole_run(run: RunRow, score: float | None) -> RunView:
    return RunView(
        id=run.id,
        due_at=_at(run.due_at),
        trigger="manual" if run.manual else "schedule",
        state=RunState(run.state),
        reason=SkipReason(run.reason) if run.reason else None,
        outcome=RunOutcome(run.outcome) if run.outcome else None,
        message=run.message,
        study=run.study,
        fingerprint=run.fingerprint,
        warm_start=run.warm_start or [],
        decision=None if run.judgement is None else run.judgement.model_dump(mode="json"),
        score=score,
        created_at=_at(run.created_at),
        finished_at=instant(run.finished_at),
    )


def _at(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
