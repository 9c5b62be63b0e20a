"""A service that is killed while a study is extended, created from another, or takes trials over: all or nothing."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from luthier.studies.protocol import AssignmentKind
from tests.support.harness import INSPECTION, Running, held, running, spec
from tests.support.killed_request import exit_code

pytestmark = [pytest.mark.both_databases, pytest.mark.full]
LIFECYCLE = "luthier.service.lifecycle"
FROM: dict[str, Any] = {"from": {"study": "s1"}, "budget": {"trials": 2}}


@contextmanager
def ended(home: Path, url: str) -> Iterator[Running]:
    """A service with the ended study s1, of three trials."""
    with running(home, url) as house:
        if house.client.get("/v1/studies/s1").status_code == 404:
            house.finished(budget={"trials": 3}, parallel=1)
        yield house


def state_of(house: Running) -> tuple[Any, ...]:
    model = house.client.get("/v1/studies/s1/model").content
    return house.get("/v1/studies"), house.study(), house.trials(), model


@pytest.mark.parametrize("function", ["retraining.forget_failed", "extension._keep_model", "transitions.settle"])
def test_an_extension_is_whole_or_not_at_all(database_url: str, tmp_path: Path, function: str) -> None:
    home, larger = tmp_path / "home", {"budget": {"trials": 5}}
    with ended(home, database_url) as house:
        before = state_of(house)
    killed = exit_code(home, database_url, f"{LIFECYCLE}.{function}", 0, "POST", "/v1/studies/s1/extend", larger)
    assert killed == -signal.SIGKILL
    with ended(home, database_url) as house:
        assert state_of(house) == before
        house.client.post("/v1/studies/s1/extend", json=larger).raise_for_status()
        house.worker().drain()
        study = house.study()
        assert (study["state"], study["counts"]["complete"]) == ("completed", 5)
        assert study["best"]["test_looks"] == 2
        assert len(house.optuna()) == 5


def test_a_successor_is_created_whole_or_not_at_all(database_url: str, tmp_path: Path) -> None:
    home = tmp_path / "home"
    with ended(home, database_url) as house:
        before = state_of(house)
    function = f"{LIFECYCLE}.succession._old_trial"
    assert exit_code(home, database_url, function, 2, "POST", "/v1/studies", spec("s2", **FROM)) == -signal.SIGKILL
    with ended(home, database_url) as house:
        assert state_of(house) == before
        house.create("s2", **FROM)
        house.worker().drain()
        assert house.study("s2")["taken_over"]["trials"] == 3


@pytest.mark.parametrize("call", [0, 2])
def test_trials_are_taken_over_all_or_none(database_url: str, tmp_path: Path, call: int) -> None:
    """The inspection's end is not recorded either: its worker sends it again, or its lease runs out."""
    home = tmp_path / "home"
    with ended(home, database_url) as house:
        house.create("s2", **FROM)
        a = house.worker().take(AssignmentKind.INSPECT)
    message = {**held(a), "status": "complete", "inspection": INSPECTION.model_dump(mode="json")}
    function = f"{LIFECYCLE}.succession._insert_scores_and_weights"
    assert exit_code(home, database_url, function, call, "POST", "/v1/worker/finish", message) == -signal.SIGKILL
    with ended(home, database_url) as house:
        assert (house.study("s2")["state"], house.trials("s2")) == ("queued", [])
        worker = house.worker()
        worker.inspect(a)
        worker.drain()
        study = house.study("s2")
        assert (study["state"], study["taken_over"]["trials"], study["counts"]["complete"]) == ("completed", 3, 5)
        assert [trial.value for trial in house.optuna("s2")] == [trial["value"] for trial in house.trials("s2")]
