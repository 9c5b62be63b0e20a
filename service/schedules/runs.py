"""A run, moved on: its study is inspected, the data looked at, the search warmed; its winner is compared and judged.

Everything a run has come to is in its row, and each step may be repeated: a service that is killed in one leaves the
run to whichever looks at it next. Steps that go outside of a transaction (Optuna, files) are one service's at a time,
which holds the run's turn; what they come to is written only while the run goes on and the turn is still theirs.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from pydantic import ValidationError
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from luthier.service.dispatch import deletion
from luthier.service.dispatch.claims import Claims
from luthier.service.dispatch.core import Core
from luthier.service.dispatch.search_pool import resolved_space
from luthier.service.errors import Conflict, Problem, Unavailable
from luthier.service.lifecycle import confirmation as confirm
from luthier.service.lifecycle import study_rows, winner
from luthier.service.lifecycle import transitions as lifecycle
from luthier.service.schedules import champions, retention, webhook
from luthier.service.schedules import due_times as ticks
from luthier.service.storage.tables import AssignmentRow, ChampionRow, RunRow, ScheduleRow, StudyRow
from luthier.service.storage.turns import Turns
from luthier.studies.promotion import ComparedModel, ComparisonContext, DataSeen, PromotionDecision, judge
from luthier.studies.protocol import AssignmentKind, StudyState, TrialState
from luthier.studies.schedule import Event, RunOutcome, RunState, SkipReason, adapt
from luthier.studies.search.storage import StorageError

log = logging.getLogger("luthier")
TOP = 50  # best configurations that a run remembers for the next one
DELETED = "Its study was deleted."
WITH_WINNER = (StudyState.COMPLETED, StudyState.STOPPED)
TRANSIENT = (Unavailable, OSError, SQLAlchemyError, StorageError)  # the next round may do better


class Turn(NamedTuple):
    """What a service holds that moves a run on: nobody else does meanwhile."""

    run_id: int
    token: str


Step = Callable[["Runs", Turn], None]


class TurnLost(Exception):
    """The run was ended meanwhile, or the turn took too long and has passed to another service."""


@dataclass(frozen=True)
class Runs:
    core: Core
    dispatch: Claims
    notifies: bool  # whether there is a webhook to tell

    def advance(self) -> None:
        """Move every run on that waits for nothing else. One that cannot be moved fails; the others go on."""
        with self.core.database.reading() as session:
            waiting = list(session.scalars(select(RunRow.id).where(RunRow.state == RunState.RUNNING)))
            steps = [(run_id, self._next(session, run_id)) for run_id in waiting]
        for run_id, step in steps:
            turn = None if step is None else self._take(run_id)
            if step is None or turn is None:
                continue
            try:
                self._move(turn, step)
            except (TurnLost, Unavailable):
                pass
            except Exception:
                log.exception("run %d could not be moved on; the next round tries again", run_id)
            finally:
                self._give_back(turn)

    def _move(self, turn: Turn, step: Step) -> None:
        """One step; what it refuses fails the run. Raises TurnLost, and what the next round may not meet again."""
        try:
            step(self, turn)
        except (TurnLost, *TRANSIENT):
            raise
        except Problem as problem:
            log.warning("run %d failed: %s", turn.run_id, problem.detail)
            self._end(turn, RunState.FAILED, problem.detail)
        except Exception as error:
            log.exception("run %d failed", turn.run_id)
            text = f"The service met an error that it does not know ({type(error).__name__}); its log has the rest."
            self._end(turn, RunState.FAILED, text)

    def _next(self, session: Session, run_id: int) -> Step | None:
        """The step that is possible now; None while the run waits for its study or its comparison."""
        run = session.get_one(RunRow, run_id)
        study = None if run.study_id is None else session.get(StudyRow, run.study_id)
        if run.reason == SkipReason.UNCHANGED:
            return Runs.drop
        if study is None or study.state in (StudyState.CANCELLED, StudyState.FAILED):
            return Runs.lose
        if study.state in WITH_WINNER:
            return Runs.conclude if _compared(session, run, study) else None
        return Runs.begin if study.inspection is not None and not run.started else None

    def _take(self, run_id: int) -> Turn | None:
        """Take a running run's turn; None when another service has it."""
        with self.core.database.transaction() as session:
            turns = Turns.to_advance(self.core.database)
            token = turns.take(session, run_id, RunRow.state == RunState.RUNNING)
        return None if token is None else Turn(run_id, token)

    def _give_back(self, turn: Turn) -> None:
        with self.core.database.transaction() as session:
            Turns.to_advance(self.core.database).give_back(session, turn.run_id, turn.token)

    def begin(self, turn: Turn) -> None:
        """The data is known: skip it as unchanged, or warm the search with the best of the last run and let it go."""
        with self.core.database.transaction() as session:
            run, schedule, study = _rows(session, turn)
            before = _last_finished(session, schedule)
            run.fingerprint = None if study.inspection is None else study.inspection.fingerprint
            same = before is not None and (before.fingerprint, before.template) == (run.fingerprint, run.template)
            if same and schedule.spec.skip_if_unchanged and not run.manual:
                run.reason = SkipReason.UNCHANGED
                return
            known = [] if before is None else (before.top or [])[: schedule.spec.warm_start.top]
        tried = [self._warm(study, entry) for entry in known]
        with self.core.database.transaction() as session:
            run, _, study = _rows(session, turn)
            run.started, run.warm_start, study.hold_after_inspection = True, tried, False
            if study.state == StudyState.PAUSED:
                lifecycle.resume(session, self.core.leases, study)

    def _warm(self, study: StudyRow, entry: dict[str, Any]) -> dict[str, Any]:
        """Have an old configuration tried first, on the new data; what became of it."""
        adapted = adapt(entry["params"], resolved_space(study))
        told = {"from_trial": entry["trial"], "params": adapted.params, "changes": list(adapted.changes)}
        if adapted.params is None:
            return told | {"trial": None}
        free = study.spec.space.free()
        wanted = {name: value for name, value in adapted.params.items() if name in free}
        try:
            known = self.core.searches.get(study).find(resolved_space(study).check(wanted))
            if known is not None:  # of the same configuration before it, or this was done before and cut off
                return told | {"trial": known}
            return told | {"trial": self.dispatch.enqueue(study.name, wanted)}
        except (Conflict, ValidationError) as refused:  # no room in the budget, or none in the space
            why = refused.detail if isinstance(refused, Conflict) else "it does not fit the space"
            return told | {"trial": None, "changes": [*adapted.changes, why]}

    def drop(self, turn: Turn) -> None:
        """Nothing has changed: the study goes, and the run counts as skipped."""
        with self.core.database.reading() as session:
            run = session.get_one(RunRow, turn.run_id)
            study = session.get(StudyRow, run.study_id)
        if study is not None:
            deletion.delete_study(self.core, study)
        with self.core.database.transaction() as session:
            run, schedule = _mine(session, turn)
            run.state, run.finished_at = RunState.SKIPPED, self.core.database.time(session)
            run.study = run.study_id = None
            schedule.fired -= 1
            ticks.plan_next(schedule)

    def lose(self, turn: Turn) -> None:
        """The study came to nothing: so does the run, and the champion stays."""
        with self.core.database.reading() as session:
            run = session.get_one(RunRow, turn.run_id)
            study = None if run.study_id is None else session.get(StudyRow, run.study_id)
        if study is None:
            self._end(turn, RunState.FAILED, run.message or DELETED)
        elif study.state == StudyState.CANCELLED:
            self._end(turn, RunState.CANCELLED, study.message)
        else:
            self._end(turn, RunState.FAILED, study.error)

    def conclude(self, turn: Turn) -> None:
        """The search is over: have the winner compared with the champion, or decide by what was found."""
        with self.core.database.transaction() as session:
            run, schedule, study = _rows(session, turn)
            if study.winner is None:
                raise Conflict(study.message or "Its study ended without a winner.")
            rival = champions.current(session, schedule)
            run.rival_id = None if rival is None else rival.id
            if rival is None:
                self._decide(session, run, schedule, study, RunOutcome.FIRST, None)
            elif (found := _comparison(session, run, study)) is None:
                made = lifecycle.queue_comparison(session, self.core.leases, study, rival.id)
                champions.place_comparison_files(session, self.core.store, study, made)
            else:
                champions.remove_comparison_files(self.core.store, study.id, found.id)
                if found.comparison is None:
                    why = found.error or "it was cancelled."
                    raise Conflict(f"Champion and challenger could not be compared: {why}")
                judgement = judge(found.comparison, study.spec.objective, schedule.spec.promote)
                judgement = judgement.model_copy(update={"contest": _contest(session, run, study, rival)})
                outcome = RunOutcome.PROMOTED if judgement.promoted else RunOutcome.KEPT
                self._decide(session, run, schedule, study, outcome, judgement)
        if run.state != RunState.RUNNING:
            retention.sweep(self.core, schedule.id)

    def _decide(
        self,
        session: Session,
        run: RunRow,
        schedule: ScheduleRow,
        study: StudyRow,
        outcome: RunOutcome,
        judgement: PromotionDecision | None,
    ) -> None:
        now = self.core.database.time(session)
        if outcome is not RunOutcome.KEPT:
            model = champions.keep_file(session, self.core.store, run, study)
            champions.promote(session, schedule, run, study, model, now)
        run.state, run.outcome, run.finished_at, run.judgement = RunState.FINISHED, outcome, now, judgement
        run.message = "The first champion." if judgement is None else judgement.reason
        best = sorted(confirm.best_trials(session, study, TOP), key=lambda trial: trial.number != study.winner)
        run.top = [{"trial": trial.number, "value": trial.value, "params": trial.params} for trial in best]
        self._tell(session, schedule, run, Event.FINISHED)
        if outcome is not RunOutcome.KEPT:
            self._tell(session, schedule, run, Event.PROMOTED)

    def _end(self, turn: Turn, state: RunState, message: str | None) -> None:
        with self.core.database.transaction() as session:
            run, schedule = _mine(session, turn)
            run.state, run.message = state, message or "No reason was given."
            run.finished_at = self.core.database.time(session)
            if state is RunState.FAILED:
                self._tell(session, schedule, run, Event.FAILED)
        retention.sweep(self.core, schedule.id)

    def _tell(self, session: Session, schedule: ScheduleRow, run: RunRow, event: Event) -> None:
        if self.notifies and event in schedule.spec.notify:
            webhook.queue(session, schedule, run, event, self.core.database.time(session))


def _mine(session: Session, turn: Turn) -> tuple[RunRow, ScheduleRow]:
    """The run, as it is once its schedule is locked, and the schedule. Raises TurnLost."""
    run = session.get_one(RunRow, turn.run_id)
    schedule = session.scalars(select(ScheduleRow).where(ScheduleRow.id == run.schedule_id).with_for_update()).one()
    session.refresh(run)
    if run.state != RunState.RUNNING or run.turn != turn.token:
        raise TurnLost
    return run, schedule


def _rows(session: Session, turn: Turn) -> tuple[RunRow, ScheduleRow, StudyRow]:
    """The run, its schedule and its study, both locked. Raises TurnLost, Conflict when the study is gone."""
    run, schedule = _mine(session, turn)
    study = None if run.study_id is None else study_rows.lock_by_id(session, run.study_id)
    if study is None:
        raise Conflict(DELETED)
    return run, schedule, study


def _contest(session: Session, run: RunRow, study: StudyRow, rival: ChampionRow) -> ComparisonContext:
    """Who was compared with whom, on which data."""
    made = session.get_one(RunRow, rival.run_id)
    study_then = None if made.study_id is None else session.get(StudyRow, made.study_id)
    source = winner.winning_assignment(session, study)
    return ComparisonContext.of(
        ComparedModel(run=rival.run_id, study=rival.study, trial=rival.trial, params=rival.params),
        ComparedModel(run=run.id, study=study.name, trial=study.winner or 0, params=source.params),
        _data_seen(run, study),
        _data_seen(made, study_then),
    )


def _data_seen(run: RunRow, study: StudyRow | None) -> DataSeen:
    found = None if study is None else study.inspection
    counts = ({}, {}) if found is None else (found.rows, found.labels)
    return DataSeen(fingerprint=run.fingerprint, rows=counts[0], labels=counts[1])


def _last_finished(session: Session, schedule: ScheduleRow) -> RunRow | None:
    finished = select(RunRow).where(RunRow.schedule_id == schedule.id, RunRow.state == RunState.FINISHED)
    return session.scalar(finished.order_by(RunRow.due_at.desc()).limit(1))


def _comparison(session: Session, run: RunRow, study: StudyRow) -> AssignmentRow | None:
    """The comparison of a study's winner with the run's rival."""
    wanted = (
        AssignmentRow.study_id == study.id,
        AssignmentRow.kind == AssignmentKind.COMPARE,
        AssignmentRow.champion_id == run.rival_id,
    )
    return session.scalar(select(AssignmentRow).where(*wanted))


def _compared(session: Session, run: RunRow, study: StudyRow) -> bool:
    """Whether no comparison is under way."""
    schedule = session.get_one(ScheduleRow, run.schedule_id)
    if run.rival_id is None or run.rival_id != schedule.champion_id:
        return True  # not begun, or another model is in use meanwhile
    found = _comparison(session, run, study)
    return found is None or found.state not in (TrialState.QUEUED, TrialState.RUNNING)
