"""Errors of Optuna's storage are 503, as those of our own database: the request may be sent again."""

import logging
from typing import Any

import optuna
import pytest
import sqlalchemy
from optuna.storages import RDBStorage

from tests.support.harness import Running, ScriptedWorker, problem
from tests.support.tiers import a_few

pytestmark = pytest.mark.both_databases
MINE = {"learning_rate": 3e-4, "batch_size": 16, "epochs": 2, "freeze_depth": 2}
WRITES = ("create_new_study", "_create_new_trial", "delete_study", "set_trial_state_values")
READS = ("_get_trials", "get_all_studies", "get_study_id_from_name", "get_study_user_attrs", "get_study_system_attrs")


def away(*_: Any, **__: Any) -> None:
    cause = sqlalchemy.exc.OperationalError("SELECT", {"password": "secret"}, Exception("connection refused"))
    raise optuna.exceptions.StorageInternalError("An exception is raised during the commit.") from cause


@pytest.mark.parametrize(
    ("method", "path", "body"),
    a_few(
        2,
        [
            ("GET", "/v1/studies/s1/plots/history", None),
            ("POST", "/v1/studies/s1/trials", {"params": MINE}),
            ("GET", "/v1/studies/s1/plots/timeline?format=json", None),
            ("DELETE", "/v1/studies/ended", None),
            ("GET", "/api/studies", None),
            ("GET", "/api/studies/1?after=0", None),
            ("GET", "/csv/1", None),
        ],
    ),
)
def test_a_route_answers_503(
    house: Running,
    worker: ScriptedWorker,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    method: str,
    path: str,
    body: Any,
) -> None:
    house.finished("ended", budget={"trials": 1})
    house.started(worker, budget={"trials": 4})
    worker.train(worker.take())
    house.client.get("/api/studies").raise_for_status()
    house.core.searches.heartbeat()
    for study_id in list(house.core.searches._open):
        house.core.searches._drop(study_id)  # as after a start
    with monkeypatch.context() as patch:
        for name in WRITES + READS:
            patch.setattr(RDBStorage, name, away)
        answer = house.client.request(method, path, json=body)
        assert problem(answer, 503)["title"] == "Unavailable"
        assert int(answer.headers["retry-after"]) > 0
        assert not any(record.exc_info for record in caplog.records if record.name != "uvicorn.error")
        assert "Traceback" not in caplog.text
        assert "secret" not in caplog.text + answer.text
        assert any(record.levelno == logging.WARNING for record in caplog.records)
    house.core.searches.faults.wake()
    assert house.client.request(method, path, json=body).status_code in (200, 201, 204)


def test_connections_that_are_cut_are_opened_again(house: Running, worker: ScriptedWorker) -> None:
    """As when Postgres restarts, or fails over: what is in memory is read anew, and every trial is there once."""
    if house.core.database.sqlite:
        pytest.skip("a file has no connections that could be cut")
    house.started(worker, budget={"trials": 6})
    other = house.worker("w2")
    url = house.settings.sqlalchemy_url
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)
    others = "datname = current_database() AND pid <> pg_backend_pid()"
    cut = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}"
    house.core.searches.heartbeat()
    for i in range(4):
        a = (worker, other)[i % 2].take()
        (search,) = house.core.searches._open.values()
        with engine.connect() as connection:
            connection.exec_driver_sql(cut)
        (worker, other)[i % 2].train(a)
        house.reap()
        assert search not in house.core.searches._open.values(), "it is opened anew"
    worker.drain()
    engine.dispose()
    assert house.study()["state"] == "completed"
    assert [t.value for t in house.optuna()] == [trial["value"] for trial in house.trials()]
    assert house.study()["warnings"] == []
