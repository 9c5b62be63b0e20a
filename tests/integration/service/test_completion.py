"""The shell's completion offers what a service or this home has, and nothing where that fails or takes too long."""

import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from luthier.service.cli.completion import (
    dataset_ids,
    project_names,
    schedule_names,
    study_names,
    study_or_trial,
    trial_numbers,
)
from tests.support.command_line import COMMAND, without_luthier
from tests.support.harness import Running, running
from tests.support.projects import make_projects, working_in

pytestmark = pytest.mark.full


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A service with the studies sms, s1 and pets, whose trial 1 was deleted."""
    with running(tmp_path_factory.mktemp("home"), None) as house:
        for name in ("sms", "s1"):
            house.create(name)
            assert house.client.post(f"/v1/studies/{name}/cancel").status_code == 200
        worker = house.worker()
        house.started(worker, "pets", parallel=1)
        for _ in range(2):
            worker.train(worker.take())
        assert house.client.delete("/v1/studies/pets/trials/1").status_code == 204
        make_projects(house, "one")
        with working_in(house, "one"):
            house.create("secret")
        yield house


def context(**params: Any) -> Any:
    return SimpleNamespace(params=params)


@pytest.fixture(params=["service", "home"])
def source(request: pytest.FixtureRequest, house: Running, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The options that name the service; none where the home's own database is read."""
    for name in os.environ:
        if name.startswith("LUTHIER_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("LUTHIER_HOME", str(house.settings.home))
    return {"server": house.url} if request.param == "service" else {}


def test_names_and_numbers_that_begin_so_are_offered(source: dict[str, Any]) -> None:
    assert study_names(context(**source), "s") == ["s1", "sms"]
    assert study_names(context(**source), "p") == ["pets"]
    assert study_names(context(**source), "x") == []
    assert trial_numbers(context(name="pets", **source), "") == ["0"]
    assert trial_numbers(context(name="nobody", **source), "") == []
    assert study_or_trial(context(**source), "p") == ["pets"]
    assert study_or_trial(context(**source), "pets/") == ["pets/0"]
    assert study_names(context(project="one", **source), "") == ["secret"]
    assert project_names(context(**source), "o") == ["one"]
    assert schedule_names(context(**source), "") == []
    assert dataset_ids(context(**source), "") == []


def test_the_shell_is_answered(house: Running, tmp_path: Path) -> None:
    asked = {"_LUTHIER_COMPLETE": "complete_bash", "COMP_WORDS": "luthier get p", "COMP_CWORD": "2"}
    environment = without_luthier() | asked | {"LUTHIER_SERVER": house.url}
    done = subprocess.run(COMMAND, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert (done.stdout.split(), done.stderr) == (["pets"], "")


def test_whatever_fails_offers_nothing_and_says_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "luthier.db").write_bytes(b"no database")
    with socket.socket() as silent, socket.socket() as closed, pytest.MonkeyPatch.context() as patch:
        silent.bind(("127.0.0.1", 0))
        silent.listen()  # it takes connections, and never answers
        closed.bind(("127.0.0.1", 0))
        patch.setenv("LUTHIER_HOME", str(tmp_path))
        patch.delenv("LUTHIER_SERVER", raising=False)
        assert study_names(context(), "") == []
        for server in (
            *(f"http://127.0.0.1:{s.getsockname()[1]}" for s in (silent, closed)),
            "nonsense",
            "http://[::1",
        ):
            assert study_names(context(server=server), "") == []
    assert capfd.readouterr() == ("", "")
    assert not [
        thread for thread in threading.enumerate() if thread.name.startswith("completion") and not thread.daemon
    ]
