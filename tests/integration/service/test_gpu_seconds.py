"""GPU seconds: busy seconds times what each attempt reserved of a GPU."""

import pytest
import sqlalchemy
from sqlalchemy import select

from luthier.service.storage.database import Database
from luthier.service.storage.migrations import upgrade
from luthier.service.storage.tables import AssignmentRow
from luthier.studies.protocol import Decision
from tests.support.harness import Running, ScriptedWorker

pytestmark = pytest.mark.both_databases
GPU = {"id": "GPU-a", "total_bytes": 80 * 2**30}


def test_each_attempt_counts_with_its_own_share(house: Running) -> None:
    """A quarter of a GPU for 8 s, then a worker without one for 6 s."""
    first, second = house.worker("w1", GPU), house.worker("w2")
    house.started(first, resources={"gpus": 0.25}, parallel=1)
    a = first.take()
    assert first.report(a, 1, 0.6, seconds=8.0) is Decision.CONTINUE
    assert house.trials()[0]["gpu_seconds"] == pytest.approx(2.0)
    house.move_clock(31)
    house.reap()
    second.finish(second.take(), seconds=6.0)
    trial, study = house.trials()[0], house.study()
    assert trial["attempt"] == 2
    assert trial["seconds"] == pytest.approx(14.0)
    assert trial["gpu_seconds"] == pytest.approx(8.0)
    assert study["gpu_seconds"] == pytest.approx(8.0)
    metrics = house.client.get("/metrics").text
    assert "luthier_worker_busy_seconds_total 14.0" in metrics
    assert "luthier_gpu_seconds_total 8.0" in metrics


def test_a_reservation_that_shrinks_counts_from_then_on(house: Running) -> None:
    worker = house.worker("w1", GPU)
    worker.inspection = worker.inspection.model_copy(update={"estimates": None})
    house.started(worker, parallel=1)
    a = worker.take()
    worker.report(a, 1, 0.6, seconds=4.0, peak_memory_bytes=8 * 2**30)
    with house.core.database.reading() as session:
        share = session.scalars(select(AssignmentRow.gpu_share).where(AssignmentRow.id == a.id)).one()
    assert share is not None
    assert share < 0.2, "it had the whole GPU before"
    worker.report(a, 2, 0.6, seconds=7.0, peak_memory_bytes=4 * 2**30)
    worker.finish(a, seconds=12.0)
    with house.core.database.reading() as session:
        last = session.scalars(select(AssignmentRow.gpu_share).where(AssignmentRow.id == a.id)).one()
    assert last == pytest.approx(share / 2)
    assert house.trials()[0]["gpu_seconds"] == pytest.approx(4.0 + 3.0 * share + 5.0 * share / 2, abs=1e-3)


def test_a_budget_counts_the_shares(house: Running, worker: ScriptedWorker) -> None:
    worker.gpu = GPU
    house.started(worker, budget={"gpu_seconds": 5}, resources={"gpus": 0.5}, parallel=1)
    for _ in range(3):
        worker.finish(worker.take(), seconds=4.0, status="pruned")
    study = house.study()
    assert study["gpu_seconds"] == pytest.approx(6.0)
    assert study["message"].startswith("The 5 GPU seconds are used up.")
    assert study["counts"]["pruned"] == 3


def test_rows_of_older_versions_count_as_they_were_counted(empty_url: str) -> None:
    database = Database(empty_url)
    upgrade(database.engine, "0016")
    study = "name, state, spec, parallel, transient, created_at, hurry"
    columns = "study_id, kind, number, state, params, seed, created_at, attempt, losses, step, resume_step"
    with database.engine.begin() as connection:
        connection.exec_driver_sql(
            f"INSERT INTO luthier_study ({study}) VALUES ('s', 'running', '{{}}', 1, false, 1, false)"
        )
        for number, (before, seconds, share) in enumerate(((5.0, 8.0, 0.25), (0.0, 3.0, "NULL"), (-1.0, 2.0, 0.5))):
            connection.exec_driver_sql(
                f"INSERT INTO luthier_assignment ({columns}, seconds_before, seconds, gpu_share) VALUES"
                f" (1, 'train', {number}, 'running', '{{}}', 1, 1.0, 1, 0, 0, 0, {before}, {seconds}, {share})"
            )
    database.prepare()
    from luthier.service.storage.believable import gpu_seconds

    with database.transaction() as session:
        order = select(gpu_seconds()).order_by(AssignmentRow.number)
        assert session.scalars(order).all() == pytest.approx([13.0, 3.0, 2.0])
        session.execute(sqlalchemy.update(AssignmentRow).values(seconds=AssignmentRow.seconds + 4.0))
        assert session.scalars(order).all() == pytest.approx([14.0, 7.0, 4.0]), "what comes now counts by its share"
    database.dispose()
