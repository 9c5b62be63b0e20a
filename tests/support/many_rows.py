"""Many studies, trials, schedules and workers, written straight into a service's database."""

from typing import Any

from luthier.service.storage.schedule_tables import ChampionRow, RunRow, ScheduleRow
from luthier.service.storage.service_tables import WorkerRow
from luthier.service.storage.tables import AssignmentRow, ReportRow, StudyRow
from luthier.studies.schedule import ScheduleSpec
from luthier.studies.spec import StudySpec, trial_seed
from luthier.studies.wire import FileRef
from tests.support.harness import INSPECTION, Running, spec
from tests.support.nightly import schedule

NOW = 1_700_000_000.0
FILE = FileRef(name="model.tar.gz", sha256="0" * 64, bytes=7)


def add_study(house: Running, name: str, trials: int, **changes: Any) -> None:
    """Add a study that has ended, with its trials and two evaluations of each; the last trial is the best.

    With `confirm` in its spec, its candidates have their repetitions.
    """
    document = StudySpec.model_validate(spec(name, **changes))
    confirm = document.confirm
    again = confirm.candidates * confirm.seeds if confirm is not None else 0
    with house.core.database.transaction() as session:
        study = StudyRow(name=name, state="completed", spec=document, parallel=1, created_at=NOW, started_at=NOW)
        study.inspection, study.winner = INSPECTION, trials - 1
        session.add(study)
        session.flush()
        kinds = [("train", number) for number in range(trials)] + [("confirm", number) for number in range(again)]
        rows = [_assignment(study.id, kind, number) for kind, number in kinds]
        for number, row in enumerate(rows[trials:]):
            assert confirm is not None
            rank, repetition = divmod(number, confirm.seeds)
            best = trials - 1 - rank if document.maximize else rank
            row.seed = trial_seed(document.seed, best, again=repetition + 1)
        session.add_all(rows)
        session.flush()
        for row in rows:
            for step in (1, 2):
                session.add(ReportRow(assignment_id=row.id, step=step, metrics={"accuracy": row.value}, at=NOW))


def _assignment(study_id: int, kind: str, number: int) -> AssignmentRow:
    params = {"learning_rate": 1e-4, "batch_size": 8, "epochs": 2, "freeze_depth": number % 3}
    row = AssignmentRow(study_id=study_id, kind=kind, number=number, state="complete", params=params, seed=number)
    row.created_at, row.started_at, row.finished_at, row.attempt = NOW, NOW, NOW + 60, 1
    row.seconds, row.step, row.value, row.best_step = 10.0, 2, 0.1 + number / 10_000, 2
    return row


def add_schedule(house: Running, name: str, runs: int) -> None:
    """Add a schedule with finished runs, each of which made a champion."""
    with house.core.database.transaction() as session:
        row = ScheduleRow(name=name, spec=ScheduleSpec.model_validate(schedule(name=name)), created_at=NOW)
        row.dealt_until, row.next_at = NOW, None
        session.add(row)
        session.flush()
        for number in range(runs):
            run = RunRow(schedule_id=row.id, due_at=NOW + number, state="finished", outcome="promoted", created_at=NOW)
            run.template = "t"
            session.add(run)
            session.flush()
            champion = ChampionRow(schedule_id=row.id, run_id=run.id, study=f"s{number}", trial=number, params={})
            champion.test, champion.model, champion.promoted_at = {"accuracy": number / 100}, FILE, NOW
            session.add(champion)
            session.flush()
            row.champion_id = champion.id


def add_worker(house: Running, name: str) -> None:
    """Add a worker that was seen just now."""
    with house.core.database.transaction() as session:
        seen_at = house.core.database.time(session)
        session.add(WorkerRow(name=name, device="cpu", version="1", seen_at=seen_at))
