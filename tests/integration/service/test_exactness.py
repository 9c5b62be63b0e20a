"""However many workers and services there are, and whatever is killed: the budget exactly, and nothing twice."""

import random
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

from luthier.service.lifecycle import study_rows
from luthier.studies.search.search import Search
from tests.support.harness import Running, ScriptedWorker, running
from tests.support.several_services import Together, check_exact, create, most_at_once, processes

pytestmark = pytest.mark.locks


@pytest.mark.full
def test_two_services_and_eight_workers(empty_url: str, tmp_path: Path) -> None:
    """They start on an empty database at the same moment."""
    with processes(tmp_path / "home", empty_url, 2) as services:
        urls = [service.url for service in services]
        create(urls[0], budget={"trials": 30}, parallel=3)
        study = Together(urls, threads=8).run_until_ended(urls[1], "s1", seconds=60)
        check_exact(urls[0], empty_url, study, 30)
        assert most_at_once(urls[0]) <= 3


@pytest.mark.both_databases
@pytest.mark.parametrize("seed", [11])
def test_a_service_that_is_killed_again_and_again(database_url: str, tmp_path: Path, seed: int) -> None:
    moments = random.Random(seed)
    with processes(tmp_path / "home", database_url, 1) as (service,):
        create(service.url, budget={"trials": 16}, parallel=4)
        ended, kills = threading.Event(), 0

        def murder() -> None:
            nonlocal kills
            while kills < 3 and not ended.wait(moments.uniform(0.05, 0.4)):
                service.kill()
                kills += 1
                service.start()
                httpx.get(f"{service.url}/healthz", timeout=60)  # it is up again

        murderer = threading.Thread(target=murder)
        murderer.start()
        try:
            study = Together([service.url], threads=4).run_until_ended(service.url, "s1", seconds=80)
        finally:
            ended.set()
            murderer.join()
        assert kills >= 2
        check_exact(service.url, database_url, study, 16)


def test_a_small_finite_space_is_run_once_each(house: Running, database_url: str) -> None:
    with running(house.settings.home, database_url) as other:
        urls = [house.url, other.url]
        space = {"learning_rate": [1e-5, 1e-4, 1e-3], "epochs": [1, 2], "batch_size": [8, 16]}
        create(urls[0], space=space, budget={"trials": 40}, parallel=4)
        study = Together(urls, threads=6).run_until_ended(urls[0], "s1", seconds=60)
        assert "exhausted" in study["message"]
        assert "12" in study["message"]
        check_exact(urls[0], database_url, study, 12)


def test_a_trial_that_optuna_has_and_we_lack_is_adopted(house: Running, worker: ScriptedWorker) -> None:
    """The service was killed after Optuna stored the trial and before our row of it."""
    house.started(worker, budget={"trials": 3})
    worker.train(worker.take())
    with house.core.database.reading() as session:
        study = study_rows.find(session, "s1")
    search = house.core.searches.get(study)
    asked = search.ask(1)
    house.core.searches.forget(study.id)
    a = worker.take()
    assert a.number == 1
    assert asked is not None
    assert a.params.items() >= asked.items()
    worker.train(a)
    worker.drain()
    assert [trial.state.name for trial in house.optuna()] == ["COMPLETE"] * 3
    assert house.study()["state"] == "completed"


def test_a_trial_that_is_drawn_while_its_study_is_cancelled_is_cancelled_too(
    house: Running, worker: ScriptedWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.started(worker, budget={"trials": 3})
    worker.train(worker.take())
    ask = Search.ask

    def ask_while_it_is_cancelled(search: Search, number: int) -> object:
        asked = ask(search, number)
        assert house.client.post("/v1/studies/s1/cancel").status_code == 200
        return asked

    monkeypatch.setattr(Search, "ask", ask_while_it_is_cancelled)
    assert worker.claim() is None
    assert [trial["state"] for trial in house.trials()] == ["complete", "cancelled"]
    house.reap()
    assert [trial.state.name for trial in house.optuna()] == ["COMPLETE", "FAIL"]


def test_a_turn_left_behind_runs_out(house: Running, worker: ScriptedWorker) -> None:
    """The service was killed while it asked Optuna."""
    house.started(worker)
    with house.core.database.engine.begin() as connection:
        now = house.core.database
        with now.reading() as session:
            until = now.time(session) + 60
        connection.exec_driver_sql(f"UPDATE luthier_study SET asker = 'dead', asker_until = {until}")
    assert worker.claim() is None
    house.move_clock(61)
    assert worker.take().number == 0


def test_an_end_that_optuna_was_not_told_is_told_later(house: Running, worker: ScriptedWorker) -> None:
    """The service was killed after our row of the end and before Optuna's."""
    house.started(worker)
    first, second = worker.take(), worker.take()
    for a in (first, second):
        worker.report(a, 1, 0.6)
    with house.core.database.engine.begin() as connection:
        for a, state in ((first, "complete"), (second, "pruned")):
            connection.exec_driver_sql(f"UPDATE luthier_assignment SET state = '{state}' WHERE id = {a.id}")
    house.reap()
    assert [trial.state.name for trial in house.optuna()] == ["COMPLETE", "PRUNED"]
    assert house.optuna()[0].value == 0.6


def test_a_service_that_finds_itself_alone_waits_for_no_search_inside_a_transaction(
    house: Running, worker: ScriptedWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever reads a study's trials holds its search, and waits for the database's writer."""
    house.started(worker)
    worker.take()
    searches, database = house.core.searches, house.core.database
    (search,) = searches._open.values()
    searches._alone = False
    waits, written, released = threading.Event(), threading.Event(), threading.Event()

    def refresh() -> None:
        waits.set()
        assert released.wait(10)

    def write() -> None:
        with database.transaction():
            written.set()

    monkeypatch.setattr(search, "refresh", refresh)
    threads = [threading.Thread(target=searches.heartbeat), threading.Thread(target=write)]
    threads[0].start()
    assert waits.wait(10)
    threads[1].start()
    assert written.wait(10)
    released.set()
    for thread in threads:
        thread.join()


def test_finish_and_cancel_at_the_same_moment(house: Running) -> None:
    """No two requests wait for each other's locks."""
    for i in range(4):
        name, worker = f"s{i}", house.worker()
        house.started(worker, name, parallel=4, budget={"trials": 9})
        held = [worker.take() for _ in range(4)]
        answers: list[int] = []

        def finish(a: Any, worker: ScriptedWorker = worker, answers: list[int] = answers) -> None:
            message = {"id": a.id, "token": a.token, "status": "failed", "reason": "error"}
            answers.append(worker.client.post("/v1/worker/finish", json=message).status_code)

        threads = [threading.Thread(target=finish, args=[a]) for a in held]
        for thread in threads:
            thread.start()
        assert house.client.post(f"/v1/studies/{name}/cancel").status_code == 200
        for thread in threads:
            thread.join()
        assert set(answers) <= {204, 409}
        assert house.study(name)["counts"]["running"] == 0
