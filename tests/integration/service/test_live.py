"""The command line follows a study and a log by events, and an older service by asking."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from luthier import Client, ServiceError
from luthier.service.cli.live import live
from luthier.service.cli.log_lines import followed
from luthier.service.client import Event
from tests.support.harness import Running, ScriptedWorker


@pytest.fixture
def client(house: Running) -> Iterator[Client]:
    with Client(house.url) as client:
        yield client


def test_each_trial_that_ends_is_told_once_with_its_curve(
    house: Running, worker: ScriptedWorker, client: Client
) -> None:
    house.started(worker, budget={"trials": 4})
    worker.train(worker.take())
    others = threading.Thread(target=worker.drain)
    told, counted, curves = [], [], 0
    for snapshot in live(client, "s1"):
        if not told:
            others.start()
        told += [(trial.number, len(trial.values)) for trial in snapshot.ended]
        counted.append((len(told), snapshot.study.counts.complete))
        curves = max([curves, *(len(trial.values) for trial in snapshot.running)])
    others.join()
    assert told == [(trial["number"], len(trial["values"])) for trial in house.trials()]
    assert all(number <= complete for number, complete in counted)
    assert counted[-1] == (4, 4)
    assert curves > 0
    assert snapshot.study.state == "completed"


def test_an_older_service_is_asked(
    house: Running, worker: ScriptedWorker, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.started(worker, budget={"trials": 1})
    worker.drain()

    def absent(*_: Any, **__: Any) -> Iterator[Event]:
        raise ServiceError(404, "Not found", "Not Found")

    monkeypatch.setattr(client, "events", absent)
    assert [trial.number for snapshot in live(client, "s1") for trial in snapshot.ended] == [0]
    with pytest.raises(ServiceError, match="no study named s2"):
        next(live(client, "s2"))


def test_a_deleted_study_is_followed_no_more(house: Running, client: Client) -> None:
    house.create()
    snapshots = live(client, "s1")
    next(snapshots)
    with house.core.database.transaction() as session:
        session.connection().exec_driver_sql("UPDATE luthier_study SET state = 'cancelled'")
    house.client.delete("/v1/studies/s1")
    with pytest.raises(ServiceError, match="was deleted"):
        list(snapshots)


def test_a_log_is_followed_from_its_last_lines_to_its_end(
    house: Running, worker: ScriptedWorker, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("luthier.service.api.event_logs.LAST_SECONDS", 0.05)
    house.started(worker, budget={"trials": 1})
    trial = worker.take()
    worker.report(trial, 1, 0.5, log="one\ntwo\n")
    lines = followed(client, "s1", 0, 1)
    assert next(lines) == "two\n"
    worker.report(trial, 2, 0.5, log="zwölf\n")
    assert next(lines) == "zwölf\n"
    worker.finish(trial, log="the end")
    assert list(lines) == ["the end\n"]
    assert list(followed(client, "s1", 0, None)) == ["one\ntwo\nzwölf\nthe end\n"]
    with pytest.raises(ServiceError, match="no trial 7"):
        next(followed(client, "s1", 7, None))
