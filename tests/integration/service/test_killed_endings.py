"""A study that was ended by a service which died right afterwards is ended for Optuna, too, and keeps no checkpoint."""

import signal
from pathlib import Path
from typing import Any

import pytest

from tests.support.harness import Running, ScriptedWorker, running
from tests.support.killed_request import exit_code
from tests.support.projects import make_projects, working_in
from tests.support.waiting import until

pytestmark = [pytest.mark.both_databases, pytest.mark.full]


def files(house: Running) -> set[str]:
    return {path.name for path in house.settings.store_folder.glob("*/*")}


@pytest.mark.parametrize(("project", "search"), [("default", "s1"), ("vision", "vision/s1")])
def test_a_cancelled_study_whose_service_died_is_cancelled_for_optuna_too(
    house: Running, worker: ScriptedWorker, database_url: str, project: str, search: str
) -> None:
    make_projects(house, "vision")
    with working_in(house, project):
        house.started(worker, parallel=2, budget={"trials": 4})
        for a in (worker.take(), worker.take()):
            worker.train(a, steps=1)
        home: Path = house.settings.home
        path = f"/v1/studies/s1/cancel?project={project}"
        given: tuple[Any, ...] = ("luthier.service.api.studies.clean_up", 0, "POST", path, {})
        assert exit_code(home, database_url, *given) == -signal.SIGKILL
        assert house.study()["state"] == "cancelled"
    assert "RUNNING" in [trial.state.name for trial in house.optuna(search)]  # its reaper may have met one
    assert {"best-1", "resume-1"} <= files(house)
    with running(home, database_url):  # looks for such studies right after its start
        until(lambda: [trial.state.name for trial in house.optuna(search)] == ["FAIL"] * 2, pause_seconds=0.2)
    assert not {"best-1", "resume-1"} & files(house)
    assert [trial.intermediate_values.keys() for trial in house.optuna(search)] == [{1}, {1}]
