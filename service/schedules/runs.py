"""Runs of schedules: find each run that can advance, and execute its next step.

The scheduler calls `Runs.advance` in each round, in every service. The steps are those of `steps.py`:

    step                 precondition                                  effect
    begin                study inspected, run not started              warm the search, release the study; on unchanged
                                                                       data only note that the run is to be skipped
    skip_unchanged       noted so by begin                             delete the study; the run is skipped
    fail_without_winner  study failed, cancelled or deleted            the run fails, or is cancelled
    conclude             study ended with a winner, no comparison yet  queue the comparison with the champion
    conclude             comparison ended, or there is no champion     promote or keep; the run is finished

All that a step decides is in the run's row, and a step may be executed again: a run whose service is killed is left to
the next service that looks at it. A step works outside of transactions too (Optuna, files), so only the service that
holds the run's turn executes it, and its writes count only while the run is running and the turn is its own.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from luthier.service.caller import acting, service_in
from luthier.service.dispatch.core import Core
from luthier.service.errors import Problem, Unavailable
from luthier.service.schedules.comparisons import is_comparison_open
from luthier.service.schedules.run_rows import Turn, TurnLost
from luthier.service.schedules.steps import Steps
from luthier.service.storage.schedule_tables import RunRow, ScheduleRow
from luthier.service.storage.tables import StudyRow
from luthier.service.storage.turns import Turns
from luthier.studies.protocol import StudyState
from luthier.studies.schedule_runs import RunState, SkipReason
from luthier.studies.search.storage import STORAGE_ERRORS

log = logging.getLogger("luthier")
WITH_WINNER = (StudyState.COMPLETED, StudyState.STOPPED)
TRANSIENT = (Unavailable, OSError, SQLAlchemyError, *STORAGE_ERRORS)  # the next round may do better

Step = Callable[[Steps, Turn], None]


@dataclass(frozen=True)
class Runs:
    """The runs of all schedules, as one service advances them.

    Attributes:
        core: The service's database, searches and files.
        steps: The steps that a run may take.
    """

    core: Core
    steps: Steps

    def advance(self) -> None:
        """Execute the next step of every run whose next step is possible.

        An error fails its own run, or is logged and tried again in the next round; it never stops other runs.
        """
        with self.core.database.reading() as session:
            runs = select(RunRow.id, ScheduleRow.project).join(ScheduleRow).where(RunRow.state == RunState.RUNNING)
            next_steps = [(run_id, project, _next_step(session, run_id)) for run_id, project in session.execute(runs)]
        for run_id, project, step in next_steps:
            turn = None if step is None else self._take(run_id)
            if step is None or turn is None:
                continue
            try:
                with acting(service_in(project)):
                    self._execute(turn, step)
            except (TurnLost, Unavailable):
                pass
            except Exception:
                log.exception("run %d could not be moved on; the next round tries again", run_id)
            finally:
                self._give_back(turn)

    def _execute(self, turn: Turn, step: Step) -> None:
        """Execute one step. A Problem or an unknown error fails the run.

        Raises:
            TurnLost: The turn is no longer this service's; nothing was written.
            Exception: An error of TRANSIENT; the step is to be executed again in the next round.
        """
        try:
            step(self.steps, turn)
        except (TurnLost, *TRANSIENT):
            raise
        except Problem as problem:
            log.warning("run %d failed: %s", turn.run_id, problem.detail)
            self.steps.end(turn, RunState.FAILED, problem.detail)
        except Exception as error:
            log.exception("run %d failed", turn.run_id)
            text = f"The service met an error that it does not know ({type(error).__name__}); its log has the rest."
            self.steps.end(turn, RunState.FAILED, text)

    def _take(self, run_id: int) -> Turn | None:
        """Take a run's turn in a transaction of its own; None where another service has it, or the run has ended."""
        with self.core.database.transaction() as session:
            turns = Turns.to_advance(self.core.database)
            token = turns.take(session, run_id, RunRow.state == RunState.RUNNING)
        return None if token is None else Turn(run_id, token)

    def _give_back(self, turn: Turn) -> None:
        """Give a turn back in a transaction of its own; a turn that has passed to another service stays with it."""
        with self.core.database.transaction() as session:
            Turns.to_advance(self.core.database).give_back(session, turn.run_id, turn.token)


def _next_step(session: Session, run_id: int) -> Step | None:
    """Return the step that a run can take now; None while it waits for its study or its comparison."""
    run = session.get_one(RunRow, run_id)
    study = None if run.study_id is None else session.get(StudyRow, run.study_id)
    if run.reason == SkipReason.UNCHANGED:
        return Steps.skip_unchanged
    if study is None or study.state in (StudyState.CANCELLED, StudyState.FAILED):
        return Steps.fail_without_winner
    if study.state in WITH_WINNER:
        return None if is_comparison_open(session, run, study) else Steps.conclude
    return Steps.begin if study.inspection is not None and not run.started else None
