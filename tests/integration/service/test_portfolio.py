"""Known-good configurations right after the baseline: their order over HTTP, a service that is killed between them."""

import json
import signal
from pathlib import Path

import pytest

from luthier.studies.first_trials import known_good
from luthier.studies.hyperparameters import Params
from luthier.studies.spec import parse_spec
from tests.support.harness import INSPECTION, Running, ScriptedWorker, paths, running, spec
from tests.support.killed_request import exit_code

BUDGET, ASKED = {"trials": 10}, {"portfolio": True}
KILLS = 2
WIDE = {**spec()["space"], "epochs": {"low": 1, "high": 10}, "warmup_ratio": {"low": 0.0, "high": 0.2}}


def known(house: Running, name: str) -> list[Params]:
    """Return the portfolio of a study, each configuration once and without its baseline."""
    written = house.study(name)["spec"]
    found = known_good(parse_spec(json.dumps(written), written["semantics"]), INSPECTION)
    baseline = house.trials(name)[0]["params"]
    return [params for i, params in enumerate(found) if params not in [baseline, *found[:i]]]


@pytest.mark.full
@pytest.mark.both_databases
def test_it_comes_after_the_baseline_the_warm_start_and_what_users_add(house: Running, worker: ScriptedWorker) -> None:
    house.finished(budget={"trials": 3}, parallel=1)
    warm = {"study": "s1", "top": 2}
    house.started(worker, "s2", budget=BUDGET, parallel=1, space=WIDE, sampler=ASKED, warm_start=warm)
    worker.train(worker.take())
    own = {"learning_rate": 7e-4, "batch_size": 8, "epochs": 2, "freeze_depth": 1, "warmup_ratio": 0.05}
    assert house.client.post("/v1/studies/s2/trials", json={"params": own}).status_code == 201
    worker.drain()
    worker.drain()
    study, trials = house.study("s2"), [trial["params"] for trial in house.trials("s2")]
    moved = study["taken_over"]["params"]
    first = known(house, "s2")
    assert trials[1 + moved] == own
    assert trials[2 + moved : 2 + moved + len(first)] == first
    assert len(first) > 1
    assert (study["state"], len(trials)) == ("completed", 10)
    wrong = spec("s4", sampler={"name": "grid", "portfolio": True}, space={"epochs": [1, 2]})
    assert paths(house.client.post("/v1/studies", json=wrong)) == {"sampler.portfolio"}


@pytest.mark.both_databases
@pytest.mark.full
def test_a_service_that_is_killed_between_them_gives_the_same_study(database_url: str, tmp_path: Path) -> None:
    """Killed once Optuna has a trial whose row is not written yet: it is adopted, and the others follow it."""
    home, changes = tmp_path / "home", {"budget": BUDGET, "parallel": 1, "space": WIDE, "sampler": ASKED}
    with running(home, database_url) as house:
        house.finished("whole", **changes)
        house.started(house.worker(), "s2", **changes)
        house.worker().train(house.worker().take())
        assert len(known(house, "whole")) >= KILLS
    claim = ("POST", "/v1/worker/claim", {"worker": "w1", "wait_seconds": 0.0})
    for number in range(1, KILLS + 1):
        drawn = "luthier.service.lifecycle.transitions.queue_trial"
        assert exit_code(home, database_url, drawn, 0, *claim) == -signal.SIGKILL
        with running(home, database_url) as house:
            assert len(house.optuna("s2")) == number + 1 == len(house.trials("s2")) + 1
            assert house.worker().claim() is None, "the turn is still that of the service which died"
            house.move_clock(100)
            house.worker().train(house.worker().take())
    with running(home, database_url) as house:
        house.worker().drain()
        house.worker().drain()
        one, other = house.trials("whole"), house.trials("s2")
        for key in ("params", "value", "seed", "state"):
            assert [trial[key] for trial in one] == [trial[key] for trial in other]
        assert [trial.params for trial in house.optuna("s2")] == [trial["params"] for trial in other]
