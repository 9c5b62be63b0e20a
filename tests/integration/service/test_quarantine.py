"""Workers that fail at one thing after another: others do their work at no cost, until a probe goes well."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from luthier import Client, ServiceError
from luthier.service.cli import app
from luthier.service.dispatch.reaper import Reaper
from luthier.service.lifecycle.quarantine import FIRST_PAUSE, LONGEST_PAUSE
from luthier.service.lifecycle.second_tries import PATIENCE_SECONDS
from luthier.studies.protocol import AssignmentKind
from tests.support.harness import Running, ScriptedWorker, problem, running
from tests.support.sick import BROKEN, fail, inspected, listed

ONE_SPEED = {"learning_rate": {"low": 1e-6, "high": 1e-3, "log": True}, "batch_size": 8, "epochs": 1}
SERIAL: dict[str, Any] = {"parallel": 1, "budget": {"trials": 3, "failures": 1}}


def check_whole(house: Running, *names: str) -> None:
    """Check that studies ended as one that nothing disturbed: same trials and scores, and Optuna's too; none failed."""
    plain = house.finished("plain", **SERIAL)
    for name in names:
        study = house.study(name)
        assert (study["state"], study["error"], study["counts"]) == ("completed", None, plain["counts"])
        told = [(trial["params"], trial["seed"], trial["value"], trial["values"]) for trial in house.trials(name)]
        assert told == [(t["params"], t["seed"], t["value"], t["values"]) for t in house.trials("plain")]
        ours, theirs = house.optuna(name), house.optuna("plain")
        assert [(t.number, t.state, t.value) for t in ours] == [(t.number, t.state, t.value) for t in theirs]


@pytest.mark.both_databases
def test_a_sick_worker_costs_its_studies_nothing(house: Running, worker: ScriptedWorker) -> None:
    names = ("a", "b", "c")
    inspected(house, worker, *names, **SERIAL)
    sick = house.worker("sick")
    held = [sick.take() for _ in names]
    assert worker.claim() is None, "it is there"
    for a in held:
        fail(sick, a)
    assert sick.claim() is None
    seen = listed(house, "sick")
    assert seen["state"] == "quarantined"
    for part in ("failed 3 times in a row", "3 studies (a, b, c)", "3 with: CUDA error"):
        assert part in seen["quarantine"]["reason"]
    assert listed(house)["quarantine"] is None
    for name in names:
        (trial,) = house.trials(name)
        assert (trial["state"], trial["seconds"], trial["attempt"]) == ("queued", 0, 1), "nothing is counted"
    log = house.client.get("/v1/studies/a/trials/0/logs").text
    assert f"sick failed at it ({BROKEN[:-1]}); another worker tries it" in log
    worker.drain()
    check_whole(house, *names)
    metrics = house.client.get("/metrics").text
    assert 'luthier_workers{state="quarantined"} 1.0' in metrics
    assert 'luthier_worker_quarantine_until_seconds{worker="sick"}' in metrics


def ill(house: Running, worker: ScriptedWorker, *names: str, **changes: Any) -> ScriptedWorker:
    """Put a second worker into quarantine by failures at three studies; the first one then has their trials to do."""
    inspected(house, worker, *names, **{"parallel": 1, "budget": {"trials": 9}, "space": ONE_SPEED} | changes)
    sick = house.worker("sick")
    held = [sick.take() for _ in range(3)]
    worker.claim_and_give_back()
    for a in held:
        fail(sick, a)
    assert listed(house, "sick")["state"] == "quarantined"
    return sick


@pytest.mark.full
@pytest.mark.both_databases
def test_a_probe_ends_it_or_prolongs_it(house: Running, worker: ScriptedWorker) -> None:
    sick = ill(house, worker, "a", "b", "c")
    pause = FIRST_PAUSE
    for _ in range(8):
        house.move_clock(pause / 2)
        worker.drain_one()
        assert sick.claim() is None, f"the pause of {pause} s is not over"
        house.move_clock(pause / 2 + 1)
        worker.claim_and_give_back()
        probe = sick.take()
        assert listed(house, "sick")["quarantine"]["probing"]
        assert sick.claim() is None, "one at a time"
        worker.claim_and_give_back()
        fail(sick, probe)
        pause = min(2 * pause, LONGEST_PAUSE)
        name, number = probe.study, probe.number
        assert house.trials(name)[number or 0]["state"] == "queued", "it costs the study nothing"
    assert pause == LONGEST_PAUSE
    house.move_clock(pause + 1)
    worker.drain_one()
    sick.train(sick.take())
    assert listed(house, "sick")["state"] == "idle"
    assert listed(house, "sick")["quarantine"] is None
    sick.train(sick.take())
    assert all(trial["state"] != "failed" for name in "abc" for trial in house.trials(name))


@pytest.mark.full
def test_a_user_ends_it(house: Running, worker: ScriptedWorker) -> None:
    sick = ill(house, worker, "a", "b", "c")
    assert sick.claim() is None
    problem(house.client.post("/v1/workers/nobody/release"), 404)
    assert "no quarantine" in problem(house.client.post("/v1/workers/w1/release"), 409)["detail"]
    list_of_workers = CliRunner().invoke(app, ["fleet", "--server", house.url])
    assert list_of_workers.exit_code == 0, list_of_workers.output
    for part in ("quarantined", "next probe (UTC)", "It failed 3 times in a row"):
        assert part in list_of_workers.output
    done = CliRunner().invoke(app, ["fleet", "release", "sick", "--server", house.url])
    assert done.exit_code == 0, done.output
    assert "quarantine" not in done.output
    assert listed(house, "sick")["state"] == "idle"
    with Client(house.url) as client, pytest.raises(ServiceError, match="no quarantine"):
        client.release_worker("sick")


@pytest.mark.full
def test_what_fails_at_two_workers_is_the_configurations_fault(house: Running, worker: ScriptedWorker) -> None:
    names = ("a", "b", "c", "d")
    inspected(house, worker, *names, parallel=1, budget={"trials": 1})
    other = house.worker("other")
    for name in names:
        assert other.claim_and_give_back()
        a = worker.take()
        fail(worker, a)
        again = other.take()
        assert (again.id, again.seed, again.params) == (a.id, a.seed, a.params)
        fail(other, again)
        (trial,) = house.trials(name)
        assert (trial["state"], trial["reason"], trial["worker"]) == ("failed", "error", "other")
    assert [listed(house, name)["state"] for name in ("w1", "other")] == ["idle", "idle"]


def test_alone_a_worker_gets_no_second_opinion(house: Running, worker: ScriptedWorker) -> None:
    inspected(house, worker, "a", parallel=1, budget={"trials": 3})
    fail(worker, worker.take())
    assert house.trials("a")[0]["state"] == "failed"
    worker.drain()
    assert house.study("a")["counts"] | {"complete": 0} == dict.fromkeys(house.study("a")["counts"], 0) | {"failed": 1}


@pytest.mark.full
@pytest.mark.both_databases
def test_where_all_are_sick_users_are_told_and_probes_go_on(house: Running, worker: ScriptedWorker) -> None:
    inspected(house, worker, "a", "b", parallel=2, budget={"trials": 20}, space=ONE_SPEED)
    for a in [worker.take() for _ in range(3)]:
        fail(worker, a)
    assert worker.claim() is None
    for name in "ab":
        (warning,) = house.study(name)["warnings"]
        for part in ("The only worker is in quarantine", "comes in", "CUDA error", "`luthier fleet release w1`"):
            assert part in warning
    assert "in quarantine" in house.client.get("/v1/studies").json()["items"][0]["warnings"][0]
    failed = sum(house.study(name)["counts"]["failed"] for name in "ab")
    for probes in range(1, 3):
        house.move_clock(LONGEST_PAUSE + 1)
        fail(worker, worker.take())
        assert worker.claim() is None
        counts = [house.study(name)["counts"]["failed"] for name in "ab"]
        assert sum(counts) == failed + probes, "a configuration that fails, fails: no probe repeats it for ever"
    house.move_clock(LONGEST_PAUSE + 1)
    worker.train(worker.take())
    assert house.study("a")["warnings"] == []
    assert worker.claim() is not None


@pytest.mark.full
def test_the_failure_of_a_worker_elsewhere_is_waited_for_a_while(house: Running, worker: ScriptedWorker) -> None:
    """The other worker is busy; the one that failed draws the next trial meanwhile, and has the work at last."""
    inspected(house, worker, "a", "b", parallel=2, budget={"trials": 9}, space=ONE_SPEED)
    busy = house.worker("busy")
    held = busy.take()
    a = worker.take()
    fail(worker, a)
    following = worker.take()
    assert following.id != a.id
    worker.train(following)
    for _ in range(int(PATIENCE_SECONDS / 20) + 1):
        house.move_clock(20)
        busy.renew(held)
    ids = []
    while a.id not in ids:
        took = worker.take()
        ids.append(took.id)
        worker.train(took)
    assert house.trials(a.study)[a.number or 0]["state"] == "complete"


@pytest.mark.full
@pytest.mark.parametrize("here", [True, False])
def test_another_machine_is_asked_before_a_neighbour(house: Running, worker: ScriptedWorker, here: bool) -> None:
    inspected(house, worker, "a", parallel=1)
    sick, neighbour = house.worker("sick"), house.worker("neighbour")
    sick.about, neighbour.about, worker.about = {"host": "box"}, {"host": "box"}, {"host": "box" if here else "other"}
    a = sick.take()
    for each in (neighbour, worker):
        assert each.claim() is None
    fail(sick, a)
    assert (neighbour.claim() is not None) == here
    assert (worker.claim() is not None) == (not here)


@pytest.mark.full
@pytest.mark.parametrize("status", ["diverged", "bad_data", "timeout"])
def test_what_is_no_workers_fault_counts_against_none(house: Running, worker: ScriptedWorker, status: str) -> None:
    inspected(house, worker, "a", "b", "c", "d", parallel=1, budget={"trials": 1})
    other = house.worker("other")
    first = other.take()  # it is there, and busy
    for _ in range(3):
        a = worker.take()
        if status == "diverged":
            worker.finish(a, "pruned", reason="diverged")
        else:
            fail(worker, a, status)
    other.train(first)
    assert listed(house)["state"] == "idle"


@pytest.mark.parametrize("is_done", [True, pytest.param(False, marks=pytest.mark.full)])
def test_too_slow_is_who_fails_where_others_were_in_time(house: Running, worker: ScriptedWorker, is_done: bool) -> None:
    """Limits that no trial keeps are their users', and put no worker aside."""
    inspected(house, worker, "a", "b", "c", parallel=2, budget={"trials": 4}, space=ONE_SPEED)
    if is_done:
        other = house.worker("other")
        for _ in range(3):
            other.train(other.take())
    for a in [worker.take() for _ in range(3)]:
        fail(worker, a, "timeout")
    assert listed(house)["state"] == ("quarantined" if is_done else "idle")


@pytest.mark.full
def test_a_success_in_between_counts(house: Running, worker: ScriptedWorker) -> None:
    inspected(house, worker, "a", "b", parallel=2, budget={"trials": 9}, space=ONE_SPEED)
    for _ in range(3):
        held = [worker.take() for _ in range(3)]
        ill = {a.study: a for a in held}  # one of each
        assert len(ill) == 2
        for a in ill.values():
            fail(worker, a)
        worker.train(next(a for a in held if a not in ill.values()))
    assert listed(house)["state"] == "idle"


@pytest.mark.full
def test_one_study_alone_is_no_proof_but_other_workers_are(house: Running, worker: ScriptedWorker) -> None:
    house.started(worker, "a", parallel=1, budget={"trials": 30})
    sick = house.worker("sick")
    for n in range(4):
        assert listed(house)["state"] == "idle"
        a = sick.claim()
        assert (a is None) == (n == 3), "after the third that another one did well it gets none"
        if a is not None:
            assert worker.claim() is None
            fail(sick, a)
            worker.train(worker.take())
    assert "which other workers did well" in listed(house, "sick")["quarantine"]["reason"]


@pytest.mark.full
@pytest.mark.parametrize("kind", [AssignmentKind.INSPECT, AssignmentKind.EVALUATE])
def test_work_other_than_trials_is_tried_elsewhere_too(
    house: Running, worker: ScriptedWorker, kind: AssignmentKind
) -> None:
    sick = house.worker("sick")
    assert worker.claim() is None
    house.create("a", budget={"trials": 1})
    if kind is AssignmentKind.EVALUATE:
        worker.inspect(worker.take(AssignmentKind.INSPECT))
        worker.train(worker.take())
    fail(sick, sick.take(kind))
    assert house.study("a")["state"] != "failed"
    assert sick.claim() is None
    worker.drain()
    assert house.study("a")["state"] == "completed"


@pytest.mark.full
def test_a_process_that_dies_at_several_studies_is_no_loss(house: Running, worker: ScriptedWorker) -> None:
    inspected(house, worker, "a", "b", "c", parallel=1, budget={"trials": 1})
    sick = house.worker("sick")
    held = [sick.take() for _ in range(3)]
    assert worker.claim() is None
    for a in held:
        fail(sick, a, None)
    with house.core.database.engine.connect() as connection:
        losses = connection.exec_driver_sql("SELECT sum(losses) FROM luthier_assignment").scalar()
    assert losses == 1, "of the first, when nothing was known of the worker"
    assert listed(house, "sick")["state"] == "quarantined"
    worker.drain()
    assert {house.study(name)["state"] for name in "abc"} == {"completed"}


@pytest.mark.full
@pytest.mark.both_databases
def test_so_is_a_worker_that_vanishes_again_and_again(house: Running, worker: ScriptedWorker) -> None:
    inspected(house, worker, "a", "b", "c", parallel=1, budget={"trials": 1})
    sick = house.worker("sick")
    for _ in range(3):
        sick.take()
    house.move_clock(house.settings.lease_seconds + 1)
    assert worker.claim() is None
    house.reap()
    assert listed(house, "sick")["state"] == "quarantined"
    assert sick.claim() is None
    worker.drain()
    assert {house.study(name)["state"] for name in "abc"} == {"completed"}


@pytest.mark.full
def test_a_waiting_worker_gets_its_probe_and_keeps_no_other_waiting(
    house: Running, worker: ScriptedWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("luthier.service.lifecycle.quarantine.FIRST_PAUSE", 0.4)
    sick = ill(house, worker, "a", "b", "c", parallel=2)
    assert sick.claim(wait_seconds=20) is not None


@pytest.mark.full
def test_two_services_agree(house: Running, worker: ScriptedWorker, database_url: str) -> None:
    with running(house.settings.home, database_url) as other:
        ill(house, worker, "a", "b", "c", parallel=2)
        elsewhere = other.worker("sick")
        assert elsewhere.claim() is None
        house.client.post("/v1/workers/sick/release").raise_for_status()
        assert elsewhere.claim() is not None


@pytest.mark.full
def test_a_sick_worker_keeps_no_gpu_from_others(house: Running, worker: ScriptedWorker) -> None:
    """Which would leave trials to a worker on an idle GPU."""
    inspected(house, worker, "a", "b", parallel=3, resources={"gpus": 0.25}, budget={"trials": 9})
    sick = house.worker("sick", {"id": "GPU-2", "total_bytes": 2**34})
    held = [sick.take() for _ in range(4)]
    first, second = (house.worker(name, {"id": "GPU-1", "total_bytes": 2**34}) for name in ("one", "two"))
    worker.claim_and_give_back()
    for a in held:
        fail(sick, a)
    assert sick.claim() is None
    assert listed(house, "sick")["state"] == "quarantined"
    assert first.claim() is not None
    assert second.claim() is not None, "the first one's GPU is shared while the other is of no use"


@pytest.mark.full
@pytest.mark.both_databases
def test_a_worker_that_is_far_slower_goes_there_while_its_peers_work(house: Running, worker: ScriptedWorker) -> None:
    inspected(house, worker, "a", parallel=4, budget={"trials": 40}, space=ONE_SPEED)
    fleet = {name: house.worker(name) for name in ("slow", "b", "c")}
    for each in fleet.values():
        each.about = {"device": "NVIDIA H100"}

    def work(*names: str) -> None:
        for name in names:
            a = fleet[name].take()
            fleet[name].report(a, 1, 0.5, examples_per_second=20.0 if name == "slow" else 100.0)
            fleet[name].finish(a, examples_per_second=20.0 if name == "slow" else 100.0)
        Reaper(house.core).look_at_workers()

    for _ in range(4):
        work("slow", "b", "c")
        assert listed(house, "slow")["quarantine"] is None, "it takes five trials"
    work("slow")
    assert "20 examples per second where theirs had 100" in listed(house, "slow")["quarantine"]["reason"]
    assert fleet["slow"].claim() is None
    work("b", "c")
    house.move_clock(FIRST_PAUSE + 1)
    work("b", "c")
    work("slow")
    assert listed(house, "slow")["quarantine"] is not None, "its probe was as slow"
    house.move_clock(house.core.presence.away_seconds + 2 * FIRST_PAUSE)
    assert fleet["slow"].claim() is not None, "a slow worker is better than none"


def test_a_page_shows_it_and_has_a_button(house: Running, worker: ScriptedWorker) -> None:
    ill(house, worker, "a", "b", "c")
    page = house.client.get("/workers").text
    for part in ("quarantined", "It failed 3 times in a row", 'action="/workers/sick/release"'):
        assert part in page
    assert house.client.post("/workers/sick/release").status_code == 303
    assert "quarantined" not in house.client.get("/workers").text.replace("0 quarantined", "")
    assert house.client.post("/workers/sick/release").status_code == 409
    assert house.client.post("/workers/sick/explode").status_code == 404


@pytest.mark.full
@pytest.mark.both_databases
def test_a_machine_of_sick_workers_costs_nothing_beside_another_one(house: Running, worker: ScriptedWorker) -> None:
    """All at the same time: each trial is told once, numbers are dense, and no failure counts."""
    names = ("a", "b", "c")
    inspected(house, worker, *names, parallel=3, budget={"trials": 6, "failures": 1}, space=ONE_SPEED)
    sick, well = [house.worker(f"sick-{n}") for n in range(3)], [house.worker(f"well-{n}") for n in range(2)]
    for each in (*sick, *well):
        each.about = {"host": each.name.partition("-")[0]}
        each.claim_and_give_back()

    def work(each: ScriptedWorker) -> int:
        failures = 0
        while any(house.study(name)["state"] == "running" for name in names):
            a = each.claim(wait_seconds=0.2)
            if a is not None and each in sick:
                fail(each, a)
                failures += 1
            elif a is not None:
                each.work(a)
        return failures

    with ThreadPoolExecutor(5) as threads:
        failures = sum(threads.map(work, (*sick, *well)))
    assert failures, "they had work, and failed at it"
    for name in names:
        study = house.study(name)
        assert (study["state"], study["counts"]["complete"], study["counts"]["failed"]) == ("completed", 6, 0)
        assert [(trial.number, trial.state.name) for trial in house.optuna(name)] == [(n, "COMPLETE") for n in range(6)]
    assert {listed(house, each.name)["state"] for each in well} == {"idle"}


@pytest.mark.full
def test_it_can_be_switched_off(tmp_path: Path) -> None:
    with running(tmp_path / "home", None, quarantine=False) as house:
        worker, other = house.worker(), house.worker("other")
        inspected(house, worker, "a", "b", "c", parallel=1, budget={"trials": 1})
        for _ in range(3):
            a = worker.take()
            other.claim_and_give_back()
            fail(worker, a)
            assert house.trials(a.study)[0]["state"] == "failed"
        assert listed(house)["state"] == "idle"
