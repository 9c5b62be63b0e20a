"""The steps of a run: begin, skip, fail without a winner, conclude. `runs.py` says when each is possible.

`Runs.advance` executes them, one service at a time for each run. A step may be executed again at any time, also after
it was cut off. It holds no transaction while it asks Optuna or removes files, and locks the schedule before the study.
"""

from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from sqlalchemy.orm import Session

from luthier.service.dispatch import deletion, own_trials
from luthier.service.dispatch.core import Core
from luthier.service.dispatch.requests import Request
from luthier.service.dispatch.search_pool import resolved_space
from luthier.service.errors import Conflict
from luthier.service.lifecycle import actions, confirmation, transitions, winner
from luthier.service.schedules import champions, due_times, retention, webhook
from luthier.service.schedules.comparisons import comparison_context, find_comparison
from luthier.service.schedules.run_rows import DELETED, Turn, last_finished, lock_run, lock_run_and_study
from luthier.service.storage.schedule_tables import ChampionRow, RunRow, ScheduleRow
from luthier.service.storage.tables import AssignmentRow, StudyRow
from luthier.studies import first_champion
from luthier.studies.noise import Noise
from luthier.studies.promotion import PromotionDecision, judge
from luthier.studies.protocol import Reason, StudyState
from luthier.studies.schedule import Event
from luthier.studies.schedule_runs import RunOutcome, RunState, SkipReason
from luthier.studies.warm_start import adapt

TOP = 50  # best configurations that a run remembers for the next one


@dataclass(frozen=True)
class Steps:
    """The steps that runs take in one service. Each raises TurnLost where the turn is no longer this service's.

    Attributes:
        core: The service's database, leases, searches and files.
        notifies: True where the service has a webhook.
    """

    core: Core
    notifies: bool

    def begin(self, turn: Turn) -> None:
        """Warm the search with the best configurations of the last finished run, and release the study.

        If neither the data nor the template has changed since that run, and the schedule skips such runs, only note in
        the run that it is to be skipped. A run that a user triggered is never skipped.

        Raises:
            Conflict: The study was deleted.
        """
        with self.core.database.transaction() as session:
            run, schedule, study = lock_run_and_study(session, turn)
            previous = last_finished(session, schedule)
            run.fingerprint = None if study.inspection is None else study.inspection.fingerprint
            is_same = (
                previous is not None
                and previous.outcome != RunOutcome.REFUSED  # nothing is in use: it is tried again
                and (previous.fingerprint, previous.template) == (run.fingerprint, run.template)
            )
            if is_same and schedule.spec.skip_if_unchanged and not run.manual:
                run.reason = SkipReason.UNCHANGED
                return
            best = [] if previous is None else (previous.top or [])[: schedule.spec.warm_start.top]
        warm_start = [self._warm(study, entry) for entry in best]
        with self.core.database.transaction() as session:
            run, _, study = lock_run_and_study(session, turn)
            run.started = True
            run.warm_start = warm_start
            study.hold_after_inspection = False
            if study.state == StudyState.PAUSED:
                actions.resume(session, self.core.leases, study)

    def _warm(self, study: StudyRow, entry: dict[str, Any]) -> dict[str, Any]:
        """Queue a configuration of an earlier run as one of the study's first trials.

        Args:
            study: The study of the new run.
            entry: An entry of the earlier run's `top`: `trial`, `value`, `params`.

        Returns:
            An entry of the new run's `warm_start`: the earlier trial (`from_trial`), the configuration as it was
            adapted to the new space (`params`, None where it does not fit), the `changes` to it as sentences,
            and the number of the new trial (`trial`), None where it is not tried.
        """
        space = resolved_space(study)  # of several models, it alone has the model as a dimension
        adapted = adapt(entry["params"], space)
        record = {"from_trial": entry["trial"], "params": adapted.params, "changes": list(adapted.changes)}
        if adapted.params is None:
            return record | {"trial": None}
        free_names = space.free()
        free_params = {name: value for name, value in adapted.params.items() if name in free_names}
        try:
            number = self.core.searches.get(study).find(space.check(free_params))
            if number is None:  # else an earlier entry was the same, or this step was cut off after it had queued it
                number = own_trials.enqueue(self.core, study.name, Request(free_params)).number
            return record | {"trial": number}
        except (Conflict, ValidationError) as refused:  # no room in the budget, or none in the space
            why = refused.detail if isinstance(refused, Conflict) else "it does not fit the space"
            return record | {"trial": None, "changes": [*adapted.changes, why]}

    def skip_unchanged(self, turn: Turn) -> None:
        """Delete the study, and record the run as skipped: it does not count towards the schedule's `max_runs`."""
        with self.core.database.reading() as session:
            run = session.get_one(RunRow, turn.run_id)
            study = session.get(StudyRow, run.study_id)
        if study is not None:
            deletion.delete_study(self.core, study)
        with self.core.database.transaction() as session:
            run, schedule = lock_run(session, turn)
            run.state = RunState.SKIPPED
            run.finished_at = self.core.database.time(session)
            run.study = run.study_id = None
            schedule.fired -= 1
            due_times.plan_next(schedule)

    def fail_without_winner(self, turn: Turn) -> None:
        """End the run as its study ended: failed, or cancelled. The champion stays."""
        with self.core.database.reading() as session:
            run = session.get_one(RunRow, turn.run_id)
            study = None if run.study_id is None else session.get(StudyRow, run.study_id)
        if study is None:
            self.end(turn, RunState.FAILED, run.message or DELETED)
        elif study.state == StudyState.CANCELLED:
            self.end(turn, RunState.CANCELLED, study.message)
        else:
            self.end(turn, RunState.FAILED, study.error or study.message)

    def conclude(self, turn: Turn) -> None:
        """Have the study's winner compared with the champion, and promote or keep once that is done.

        Without a champion the winner becomes the first one, if it is good enough. The champion is read under the
        schedule's lock: after a rollback the winner is compared again, with the model that is in use then.

        Raises:
            Conflict: The study was deleted or has no winner, or the comparison failed.
        """
        with self.core.database.transaction() as session:
            run, schedule, study = lock_run_and_study(session, turn)
            if study.winner is None:
                raise Conflict(study.message or "Its study ended without a winner.")
            rival = champions.current(session, schedule)
            run.rival_id = None if rival is None else rival.id
            if rival is None:
                self._decide_first(session, run, schedule, study)
            elif (comparison := find_comparison(session, run, study)) is None:
                comparison = transitions.queue_comparison(session, self.core.leases, study, rival.id)
                champions.place_comparison_files(session, self.core.store, study, comparison)
            else:
                decision = self._judge(session, run, schedule, study, rival, comparison)
                outcome = RunOutcome.PROMOTED if decision.promoted else RunOutcome.KEPT
                run.judgement = decision
                self._decide(session, run, schedule, study, outcome, decision.reason)
        if run.state != RunState.RUNNING:
            retention.sweep(self.core, schedule.id)

    def _judge(
        self,
        session: Session,
        run: RunRow,
        schedule: ScheduleRow,
        study: StudyRow,
        rival: ChampionRow,
        comparison: AssignmentRow,
    ) -> PromotionDecision:
        """Remove the files of an ended comparison and return the decision on its result.

        Raises:
            Conflict: The comparison has no result.
        """
        champions.remove_comparison_files(self.core.store, study.id, comparison.id)
        if comparison.comparison is None:
            why = comparison.error or "it was cancelled."
            if comparison.reason == Reason.DAMAGED:
                why += " The champion stays. Put its file back from a backup, or roll back to the champion before it."
            raise Conflict(f"Champion and challenger could not be compared: {why}")
        spec = study.spec
        binary = spec.task_info.is_binary(spec.objective.metric)
        decision = judge(comparison.comparison, spec.objective, schedule.spec.promote, binary)
        return decision.model_copy(update={"contest": comparison_context(session, run, study, rival)})

    def _decide_first(self, session: Session, run: RunRow, schedule: ScheduleRow, study: StudyRow) -> None:
        """Finish the first run that has a winner: that becomes the champion, or nothing is in use."""
        majority = None if study.inspection is None else study.inspection.majority
        refused = first_champion.refusal(study.spec, schedule.spec.promote, majority, study.test)
        if refused is not None:
            self._decide(session, run, schedule, study, RunOutcome.REFUSED, refused)
            return
        noise = study.noise if isinstance(study.noise, Noise) else None
        caveat = first_champion.caveat(study.spec, majority, study.test, noise)
        message = "The first champion." + (f" {caveat}" if caveat else "")
        self._decide(session, run, schedule, study, RunOutcome.FIRST, message)

    def _decide(
        self,
        session: Session,
        run: RunRow,
        schedule: ScheduleRow,
        study: StudyRow,
        outcome: RunOutcome,
        message: str,
    ) -> None:
        """Finish the run within the caller's transaction, which has the schedule and the study locked.

        Args:
            session: The caller's transaction.
            run: The run.
            schedule: Its schedule, whose champion changes if the winner becomes it.
            study: Its study, which has a winner.
            outcome: The outcome of the run: the winner becomes the champion, or what is in use stays.
            message: Why, as a sentence.
        """
        now = self.core.database.time(session)
        changes = outcome in (RunOutcome.FIRST, RunOutcome.PROMOTED)
        if changes:
            model = champions.keep_file(session, self.core.store, run, study)
            champions.promote(session, schedule, run, study, model, now)
        run.state = RunState.FINISHED
        run.outcome = outcome
        run.finished_at = now
        best = sorted(confirmation.best_trials(session, study, TOP), key=lambda trial: trial.number != study.winner)
        verdict = None if outcome is RunOutcome.REFUSED else winner.verdict(study, best[0] if best else None)
        run.message = message if verdict is None else f"{message} {verdict}"
        run.top = [{"trial": trial.number, "value": trial.value, "params": trial.params} for trial in best]
        self._notify(session, schedule, run, Event.FINISHED)
        if changes:
            self._notify(session, schedule, run, Event.PROMOTED)

    def end(self, turn: Turn, state: RunState, message: str | None) -> None:
        """End a run without a decision, in a transaction of its own; then remove the studies and models of old runs.

        Args:
            turn: The turn of the run.
            state: FAILED or CANCELLED.
            message: The reason, as a sentence.
        """
        with self.core.database.transaction() as session:
            run, schedule = lock_run(session, turn)
            run.state = state
            run.message = message or "No reason was given."
            run.finished_at = self.core.database.time(session)
            if state is RunState.FAILED:
                self._notify(session, schedule, run, Event.FAILED)
        retention.sweep(self.core, schedule.id)

    def _notify(self, session: Session, schedule: ScheduleRow, run: RunRow, event: Event) -> None:
        """Queue a notification in the caller's transaction, where there is a webhook and the schedule wants it."""
        if self.notifies and event in schedule.spec.notify:
            webhook.queue(session, schedule, run, event, self.core.database.time(session))
