"""The contract of leases on every database: a test class that a new database subclasses.

A subclass overrides the fixture `database_url`; the fixtures `house` and `worker` are those of the service's tests.
"""

from collections.abc import Callable

import pytest
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from luthier.service.dispatch.reaper import Reaper
from luthier.service.errors import Stale
from luthier.service.storage.reservation import Reservation
from luthier.service.storage.tables import AssignmentRow
from luthier.studies.protocol import Assignment, AssignmentKind, Decision
from tests.support.harness import Running, ScriptedWorker, held, problem, spec
from tests.support.stored_rows import everything
from tests.support.tiers import a_few

LEASE = 30.0  # seconds, the service's default in these tests


def refused(house: Running, worker: ScriptedWorker, a: Assignment) -> None:
    """Check that every message under this lease is answered with 409 and changes nothing."""
    before = everything(house)
    message = {**held(a), "metrics": {"accuracy": 0.99}, "step": 9}
    finish = {**held(a), "status": "complete"}
    for path, body in (("report", message), ("renew", held(a)), ("finish", finish)):
        assert problem(worker.client.post(f"/v1/worker/{path}", json=body), 409)["title"] == "Stale lease"
    url, lease = f"/v1/worker/files/{a.id}/best", {"X-Lease-Token": a.token, "X-Content-SHA256": "0" * 64}
    problem(worker.client.put(url, content=b"x", headers=lease), 409)
    problem(worker.client.get(url, headers=lease), 409)
    assert everything(house) == before


class LeaseContract:
    """The tests of leases: their holders, their deadlines, and the refusal of workers that lost them."""

    def test_nobody_loses_a_lease_to_a_service_or_a_database_that_was_away(
        self, house: Running, worker: ScriptedWorker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        house.started(worker)
        a, core, now = worker.take(), house.core, 0.0
        look = Reaper(core).guarded_tick(lambda: now)

        def later(seconds: float, looks: Callable[[], None] = look) -> str:
            nonlocal now
            now += seconds
            house.move_clock(seconds)
            looks()
            return str(house.trials()[0]["state"])

        def away() -> None:
            with monkeypatch.context() as patch:
                patch.setattr(core.database, "transaction", gone)
                with pytest.raises(OperationalError):
                    look()

        def gone() -> None:
            raise OperationalError("select 1", None, Exception("connection refused"))

        assert later(LEASE + 5) == "running"  # the first look of a service that has just started
        worker.renew(a)
        assert [later(1) for _ in range(10)] == ["running"] * 10
        assert [later(10, away) for _ in range(4)] == ["running"] * 4
        assert later(1) == "running"
        worker.renew(a)
        assert [later(10) for _ in range(2)] == ["running"] * 2
        assert later(12) == "queued"  # nobody was away, and nobody renewed

    def test_at_the_deadline_it_is_owned_and_a_second_later_free(self, house: Running, worker: ScriptedWorker) -> None:
        house.started(worker)
        a = worker.take()
        house.move_clock(LEASE - 2)  # two seconds for the test itself
        house.reap()
        assert worker.renew(a) is Decision.CONTINUE, "at the deadline it is still owned"
        house.move_clock(LEASE + 1)
        house.reap()
        assert house.trials()[0]["state"] == "queued"
        refused(house, worker, a)

    def test_a_grant_or_a_requeue_of_another_state_changes_nothing(self, house: Running) -> None:
        house.create()
        leases = house.core.leases
        reservation = Reservation(gpu="GPU-a", share=0.5, bytes=100)
        with house.core.database.transaction() as session:
            row = session.scalars(select(AssignmentRow)).one()
            assert not leases.requeue(session, row)
            granted = leases.grant(session, row, "w1", reservation)
            assert granted is row
            assert (row.state, row.worker, row.attempt) == ("running", "w1", 1)
            assert (row.gpu, row.gpu_share, row.gpu_bytes) == ("GPU-a", 0.5, 100)
        before = everything(house)
        with house.core.database.transaction() as session:
            row = session.scalars(select(AssignmentRow)).one()
            assert leases.grant(session, row, "w2", reservation) is None
            assert not leases.requeue(session, row)
            with pytest.raises(Stale):
                leases.extend(session, row.id, "of another lease")
        assert everything(house) == before

    def test_a_renewed_lease_survives(self, house: Running, worker: ScriptedWorker) -> None:
        house.started(worker)
        a = worker.take()
        for _ in range(4):
            house.move_clock(LEASE * 0.7)
            worker.renew(a)
            house.reap()
        worker.report(a, 1, 0.5)
        house.move_clock(LEASE * 0.7)
        house.reap()  # a report renews as well
        worker.finish(a)
        assert house.trials()[0]["state"] == "complete"
        assert house.trials()[0]["attempt"] == 1

    def test_a_lost_trial_goes_on_from_its_checkpoint(self, house: Running, worker: ScriptedWorker) -> None:
        house.started(worker)
        a = worker.take()
        worker.train(a, steps=2)
        house.move_clock(LEASE + 1)
        house.reap()
        other = house.worker("w2")
        again = other.take()
        assert (again.id, again.number, again.attempt, again.seed) == (a.id, a.number, 2, a.seed)
        assert again.params == a.params
        assert again.token != a.token
        assert again.store == a.store
        assert again.checkpoint.step == 2
        assert again.checkpoint.resume is not None
        assert again.checkpoint.resume.name == "resume-2"
        assert again.checkpoint.best is not None
        assert again.checkpoint.best.name == "best-2"
        assert again.checkpoint.best_step == 2
        assert again.checkpoint.best_value == house.trials()[0]["value"]
        refused(house, worker, a)
        other.train(again)
        trial = house.trials()[0]
        assert [value["step"] for value in trial["values"]] == [1, 2, 3]
        assert trial["state"] == "complete"
        assert trial["attempt"] == 2
        assert trial["worker"] == "w2"
        assert trial["seconds"] == pytest.approx(2.0 + 3.0), "of both attempts"

    def test_a_trial_lost_too_often_fails(self, house: Running, worker: ScriptedWorker) -> None:
        house.started(worker, budget={"trials": 2})
        for attempt in (1, 2, 3):
            a = worker.take()
            assert a.attempt == attempt
            assert a.number == 0
            house.move_clock(LEASE + 1)
            house.reap()
        trial = house.trials()[0]
        assert trial["state"] == "failed"
        assert trial["reason"] == "lost_worker"
        assert "3 times" in trial["error"]
        refused(house, worker, a)
        worker.drain()
        study = house.study()
        assert study["state"] == "completed"
        assert study["counts"]["failed"] == 1
        assert study["counts"]["complete"] == 1
        assert [trial.state.name for trial in house.optuna()] == ["FAIL", "COMPLETE"]

    def test_work_given_back_is_not_lost(self, house: Running, worker: ScriptedWorker) -> None:
        house.started(worker)
        for attempt in range(1, 6):
            a = worker.take()
            assert a.attempt == attempt
            worker.finish(a, "released")
            refused(house, worker, a)
        worker.work(worker.take())
        assert house.trials()[0]["state"] == "complete"

    def test_a_dead_child_counts_as_a_loss(self, house: Running, worker: ScriptedWorker) -> None:
        house.started(worker)
        for _ in range(3):
            a = worker.take()
            worker.finish(a, "lost", problem={"message": "The child was killed by signal 9."})
        trial = house.trials()[0]
        assert trial["reason"] == "lost_worker"
        assert "signal 9" in trial["error"]
        worker.finish(a, "lost")  # the answer got lost: told again, it changes nothing
        assert house.trials()[0] == trial

    def test_finish_is_repeated_and_counted_once(self, house: Running, worker: ScriptedWorker) -> None:
        house.started(worker)
        a = worker.take()
        worker.report(a, 1, 0.6)
        worker.finish(a, seconds=2.0)
        before, told = everything(house), house.optuna()[0]
        worker.finish(a, seconds=99.0)
        worker.finish(a, "failed", reason="error")
        assert everything(house) == before
        assert house.optuna()[0] == told
        assert told.value == 0.6

    def test_a_report_is_repeated_and_counted_once(self, house: Running, worker: ScriptedWorker) -> None:
        longer = spec()["space"] | {"epochs": 3}
        house.started(
            worker, space=longer, pruner={"name": "median", "startup_trials": 1}, parallel=1, budget={"trials": 5}
        )
        for _ in range(3):
            first = worker.take()
            for step in (1, 2, 3):
                worker.report(first, step, 0.9)
            worker.finish(first)
        a = worker.take()
        assert worker.report(a, 1, 0.2) is Decision.PRUNE
        assert worker.report(a, 1, 0.2) is Decision.PRUNE, "the same answer again"
        assert worker.report(a, 1, 0.95) is Decision.PRUNE, "what was said first stays"
        assert house.trials()[3]["values"] == [{"step": 1, "metrics": {"accuracy": 0.2, "loss": 0.1}}]
        worker.finish(a, "pruned")
        assert house.optuna()[3].intermediate_values == {1: 0.2}
        assert house.trials()[3]["state"] == "pruned"
        assert house.study()["best"]["trial"] == 0

    def test_after_cancel_the_next_message_is_refused(self, house: Running, worker: ScriptedWorker) -> None:
        house.started(worker)
        a = worker.take()
        house.client.post("/v1/studies/s1/cancel")
        refused(house, worker, a)

    def test_stop_lets_lost_trials_finish(self, house: Running, worker: ScriptedWorker) -> None:
        house.started(worker)
        worker.train(worker.take(), steps=1)
        house.client.post("/v1/studies/s1/stop")
        house.move_clock(LEASE + 1)
        house.reap()
        worker.drain()
        study = house.study()
        assert study["state"] == "stopped"
        assert study["counts"]["complete"] == 1
        assert study["model"]

    def test_queued_retries_respect_parallel(self, house: Running, worker: ScriptedWorker) -> None:
        house.started(worker, parallel=2)
        first, second = worker.take(), worker.take()
        assert worker.claim() is None
        house.move_clock(LEASE + 1)
        house.reap()
        again = [worker.take(), worker.take()]
        assert {a.number for a in again} == {first.number, second.number}, "retries come before new trials"
        assert worker.claim() is None
        assert house.study()["counts"]["running"] == 2

    @pytest.mark.parametrize("kind", [AssignmentKind.INSPECT, AssignmentKind.EVALUATE])
    @pytest.mark.parametrize("how", a_few(1, ["expired", "reported"]))
    def test_a_study_fails_when_nobody_survives_its_side_work(
        self, house: Running, worker: ScriptedWorker, kind: AssignmentKind, how: str
    ) -> None:
        house.create(budget={"trials": 1})
        while (a := worker.claim()) is not None and a.kind is not kind:
            worker.work(a)
        for _ in range(3):
            assert a is not None
            assert a.kind is kind
            if how == "expired":
                worker.renew(a)
                house.move_clock(LEASE + 1)
                house.reap()
            else:
                worker.finish(a, "lost", problem={"message": "The child was killed by signal 9."})
            a = worker.claim()
        assert a is None
        study = house.study()
        assert study["state"] == "failed"
        assert study["finished_at"]
        assert "vanished 3 times" in study["error"]

    def test_the_log_of_a_repeated_report_is_kept_once(self, house: Running, worker: ScriptedWorker) -> None:
        house.started(worker)
        a = worker.take()
        for _ in range(2):
            worker.report(a, 1, 0.6, log="a line\n")
        worker.renew(a)
        assert house.client.get("/v1/studies/s1/trials/0/logs").text == "a line\n"
