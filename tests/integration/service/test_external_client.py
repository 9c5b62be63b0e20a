"""A trainer of one's own in Python: trials as context managers, and what becomes of them when something dies."""

import asyncio
import random
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select

from luthier import AsyncClient, Client, ExternalTrial, ServiceError, Unreachable
from luthier.service.storage.tables import AssignmentRow
from luthier.studies.protocol import Decision
from tests.support import external
from tests.support.harness import Running, optuna_trials, running
from tests.support.several_services import FORKS, processes
from tests.support.waiting import until

pytestmark = pytest.mark.both_databases
NAME = "tuning"


@pytest.fixture
def client(house: Running) -> Any:
    with Client(house.url) as client:
        yield client


def create(client: Client, **changes: Any) -> None:
    client.create(external.document(**changes))


def asked(client: Client, **options: Any) -> ExternalTrial:
    trial = client.ask(NAME, **options)
    assert trial is not None
    return trial


def train(client: Client, steps: int = 3) -> list[int]:
    """Train whatever there is until the study has ended; return the numbers of the trials."""
    numbers = []
    for trial in client.external_trials(NAME):
        with trial:
            for step in range(1, steps + 1):
                trial.report(step, score=external.score(trial.params, step))
                if trial.should_stop:
                    break
            numbers.append(trial.number)
    return numbers


def test_a_loop_over_trials_ends_with_the_study(client: Client) -> None:
    create(client, steps=3)
    assert train(client) == [0, 1, 2]
    study = client.wait(NAME, timeout_seconds=0)
    assert study.best is not None
    assert study.best_params == client.trial(NAME, study.best.trial).params
    with pytest.raises(ServiceError) as ended:
        client.ask(NAME)
    assert ended.value.status == 410
    with pytest.raises(ServiceError, match="keeps its models itself"):
        client.download_model(NAME, "nowhere")
    assert [row["state"] for row in client.trials_dataframe(NAME).to_dict("records")] == ["complete"] * 3


def test_how_a_block_is_left_is_the_trials_end(client: Client) -> None:
    create(client, budget={"trials": 9}, parallel=1)
    with asked(client, catch=(RuntimeError,)) as trial:
        raise RuntimeError("shapes do not fit")
    assert (trial.ended.state, trial.ended.error) == ("failed", "RuntimeError: shapes do not fit")
    with pytest.raises(MemoryError), asked(client) as trial:
        raise MemoryError
    assert trial.ended.reason == "oom"
    with pytest.raises(KeyboardInterrupt), asked(client) as trial:
        trial.report(1, {"score": np.float32(0.5)}, checkpoint="runs/2", log="one line\n")
        raise KeyboardInterrupt
    assert client.trial(NAME, 2).state == "queued"
    with asked(client) as trial:
        assert (trial.number, trial.attempt, trial.resume.step, trial.resume.checkpoint) == (2, 2, 1, "runs/2")
        trial.complete(0.75)
        assert trial.complete(0.75) == trial.ended
        with pytest.raises(ServiceError, match=r"is complete with score 0\.75 already"):
            trial.complete(0.8)
        trial.number = -1  # what comes after the end is not told
    assert trial.ended.value == 0.75
    assert client.logs(NAME, 2) == "one line\n"
    with asked(client) as trial:
        assert trial.report(1, score=float("nan")) is Decision.PRUNE
        assert trial.should_stop
    assert (trial.ended.state, trial.ended.reason) == ("pruned", "diverged")
    with pytest.raises(ServiceError, match="no report gave score"), asked(client) as trial:
        pass
    assert trial.ended.state == "failed"
    with pytest.raises(TypeError, match="score is 'high', and must be a number"), asked(client) as trial:
        trial.report(1, score="high")  # type: ignore[arg-type]
    assert trial.ended.state == "failed"


@pytest.mark.full
def test_the_lease_is_renewed_while_the_block_runs_and_a_lost_one_is_noticed(house: Running, client: Client) -> None:
    create(client)
    with asked(client, lease_seconds=1) as trial:
        until(lambda: client.trial(NAME, 0).state == "running" and _deadline_moved(house))
        assert not trial.should_stop
        client.cancel(NAME)
        until(lambda: trial.should_stop)
        assert trial.decision is Decision.CANCEL
        assert trial.report(1, score=0.5) is Decision.CANCEL
        assert trial.complete(0.5) is None
    assert trial.ended is None


def _deadline_moved(house: Running) -> bool:
    with house.core.database.reading() as session:
        row = session.scalars(select(AssignmentRow)).one()
        return bool(row.deadline and row.granted_at and row.deadline - row.granted_at > 1.2)


@pytest.mark.full
def test_a_service_that_is_away_is_waited_for(tmp_path: Path, empty_url: str) -> None:
    """It is killed between the question and the end, and started again."""
    with processes(tmp_path / "home", empty_url, 1) as (service,), Client(service.url) as client:
        create(client, budget={"trials": 2}, parallel=1)
        with asked(client) as trial:
            service.kill()
            service.start()
            assert trial.report(1, score=0.5) is Decision.CONTINUE
            service.kill()
            threading.Timer(0.2, service.start).start()
        assert trial.ended is not None
        assert (trial.ended.state, trial.ended.value, trial.ended.attempt) == ("complete", 0.5, 1)
        assert train(client) == [1]
        assert client.get(NAME).state == "completed"
    with pytest.raises(Unreachable), Client(service.url) as client:
        next(client.external_trials(NAME, away_seconds=0))


def ask_and_wait(url: str) -> None:
    """Ask for a trial, report once, and hold it until this process is killed."""
    with Client(url) as client, asked(client) as trial:
        trial.report(1, score=0.5)
        time.sleep(60)


@pytest.mark.full
def test_a_trainer_that_is_killed_loses_its_trial_to_the_next(house: Running, client: Client) -> None:
    create(client, budget={"trials": 1})
    process = FORKS.Process(target=ask_and_wait, args=[house.url], daemon=True)
    process.start()
    until(lambda: (trials := house.trials(NAME)) and trials[0]["values"], seconds=30)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    house.move_clock(31)
    house.reap()
    with asked(client) as trial:
        assert (trial.number, trial.attempt, trial.resume.step) == (0, 2, 1)
        trial.report(2, score=0.6)
    assert client.get(NAME).state == "completed"


@pytest.mark.full
def test_two_services_and_three_trainers_keep_the_budget(house: Running, database_url: str) -> None:
    with running(house.settings.home, database_url) as other, Client(house.url) as first, Client(other.url) as second:
        create(first, budget={"trials": 10})
        found: list[int] = []
        threads = [
            threading.Thread(target=lambda client=client: found.extend(train(client)))
            for client in (first, second, first)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert sorted(found) == list(range(10))
        study = first.get(NAME)
        assert (study.state, study.counts.complete) == ("completed", 10)
        assert len(house.optuna(NAME)) == 10


def test_an_event_loop_trains_two_at_once(house: Running, client: Client) -> None:
    create(client, budget={"trials": 4})

    async def work() -> list[int]:
        numbers = []
        async with AsyncClient(house.url) as loop:
            async for trial in loop.external_trials(NAME):
                async with trial:
                    assert await trial.report(1, score=external.score(trial.params)) is Decision.CONTINUE
                    assert not trial.should_stop
                    numbers.append(trial.number)
            with suppress(ServiceError):
                await loop.ask(NAME)
        return numbers

    async def both() -> list[list[int]]:
        return await asyncio.gather(work(), work())

    assert sorted(number for numbers in asyncio.run(both()) for number in numbers) == [0, 1, 2, 3]
    assert client.get(NAME).state == "completed"


@pytest.mark.full
def test_nothing_is_lost_or_done_twice_by_a_service_that_is_killed_again_and_again(
    tmp_path: Path, database_url: str
) -> None:
    """Kills fall between and within questions, reports and ends."""
    moments = random.Random(5)
    with processes(tmp_path / "home", database_url, 1) as (service,), Client(service.url) as client:
        create(client, budget={"trials": 16}, steps=3)
        over, found = threading.Event(), []

        def murder() -> None:
            for _ in range(4):
                if over.wait(moments.uniform(0.1, 0.5)):
                    return
                service.kill()
                service.start()

        threads = [threading.Thread(target=lambda: found.extend(train(client))) for _ in range(2)]
        murderer = threading.Thread(target=murder)
        for thread in (*threads, murderer):
            thread.start()
        for thread in threads:
            thread.join(90)
        over.set()
        murderer.join()
        study, trials = client.get(NAME), list(client.trials(NAME))
        assert study.state == "completed"
        assert [trial.number for trial in trials] == list(range(16))
        assert set(found) == set(range(16))
        for trial in trials:
            assert (trial.state, trial.value) == ("complete", external.score(trial.params, 3))
            assert [value.step for value in trial.values] == [1, 2, 3]
        assert [trial.value for trial in optuna_trials(database_url, NAME)] == [trial.value for trial in trials]
