"""One service for each home: a second `luthier serve` is refused, and `run` and `plan` go to the first."""

import fcntl
import json
import logging
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from luthier.service.server.home import FILE, HomeLock, HomeServed, holder_of
from luthier.studies.protocol import AssignmentKind
from tests.support.command_line import COMMAND
from tests.support.harness import ScriptedWorker, running, spec
from tests.support.served import Served, serving
from tests.support.waiting import until

TOKEN = "a-token-of-the-user"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A service without workers of its own, which asks for a token."""
    home = tmp_path_factory.mktemp("served") / "home"
    with serving({"LUTHIER_HOME": str(home), "LUTHIER_WORKER_TOKEN": "w" * 16}, TOKEN) as served:
        yield served


def start(served: Served, *arguments: str, **more: str) -> "subprocess.Popen[str]":
    """Start another command in the same home."""
    environment = {key: value for key, value in served.environment.items() if key != "LUTHIER_TOKEN"} | more
    heard = f"import signal; signal.signal({signal.SIGINT:d}, signal.default_int_handler); "
    command = [*COMMAND[:-1], heard + COMMAND[-1], *arguments]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def written(folder: Path, name: str) -> str:
    (folder / "spec.json").write_text(json.dumps(spec(name, budget={"trials": 2})))
    return str(folder / "spec.json")


@pytest.mark.full
def test_a_second_service_is_refused_until_the_first_has_ended(served: Served) -> None:
    home = Path(served.environment["LUTHIER_HOME"])
    (home / "logs").mkdir(exist_ok=True)
    (home / "logs" / "local-0.log").write_text("of the first one")
    assert served.process is not None
    second = start(served, "serve", "--port", "0", "--fleet", "local")
    _, said = second.communicate(timeout=30)
    assert second.returncode == 1
    assert said.startswith(f"{home} is served already, by process {served.process.pid} on ")
    assert f"at http://127.0.0.1:{served.port}." in said
    assert "LUTHIER_HOME" in said
    assert (home / "logs" / "local-0.log").read_text() == "of the first one"
    assert served.answers()
    served.kill(signal.SIGKILL)
    served.start()


@pytest.mark.full
def test_run_hands_the_study_to_the_service_of_the_home(served: Served, tmp_path: Path) -> None:
    run = start(served, "run", written(tmp_path, "handed"), "--json", LUTHIER_TOKEN=TOKEN)
    worker = ScriptedWorker(str(served.client.base_url), "w1", "w" * 16)
    while run.poll() is None:
        worker.drain(wait_seconds=0.2)
    worker.client.close()
    shown, said = run.communicate(timeout=30)
    assert run.returncode == 0, said
    assert f"at http://127.0.0.1:{served.port}: the study goes to that service." in said
    study = json.loads(shown)
    assert study["counts"]["complete"] == 2
    assert served.study("handed") == study
    assert list((Path(served.environment["LUTHIER_HOME"]) / "models").glob("handed-*")), "the winner lies in the home"


@pytest.mark.full
def test_run_that_is_left_leaves_the_study_to_the_service(served: Served, tmp_path: Path) -> None:
    run = start(served, "run", written(tmp_path, "left"), LUTHIER_TOKEN=TOKEN)
    until(lambda: served.client.get("/v1/studies/left").is_success, 30)
    assert run.stderr is not None
    until(lambda: "is queued" in run.stderr.readline(), 30)
    run.send_signal(signal.SIGINT)
    _, said = run.communicate(timeout=30)
    assert run.returncode == 130
    assert f"`luthier cancel left --server http://127.0.0.1:{served.port}` ends it" in said
    assert served.study("left")["state"] == "queued"
    served.client.post("/v1/studies/left/cancel").raise_for_status()


@pytest.mark.full
def test_plan_goes_to_the_service_of_the_home(served: Served, tmp_path: Path) -> None:
    plan = start(served, "plan", "-f", written(tmp_path, "planned"), "-o", "json", LUTHIER_TOKEN=TOKEN)
    worker = ScriptedWorker(str(served.client.base_url), "w1", "w" * 16)
    worker.inspect(until(lambda: worker.claim(wait_seconds=1), 30))
    worker.client.close()
    shown, said = plan.communicate(timeout=30)
    assert plan.returncode == 0, said
    assert "the plan goes to that service" in said
    assert json.loads(shown)["data"]["rows"]


@pytest.mark.full
def test_a_service_that_wants_a_token_is_told_of(served: Served, tmp_path: Path) -> None:
    run = start(served, "run", written(tmp_path, "refused"))
    _, said = run.communicate(timeout=30)
    assert run.returncode == 1
    assert said.rstrip().endswith("and none was sent. Put the service's token into LUTHIER_TOKEN.")


@pytest.mark.full
def test_a_service_in_another_container_is_named_and_not_asked(served: Served, tmp_path: Path) -> None:
    file = Path(served.environment["LUTHIER_HOME"]) / FILE
    before = file.read_text()
    file.write_text(json.dumps(json.loads(before) | {"host": "elsewhere"}))
    run = start(served, "run", written(tmp_path, "elsewhere"), LUTHIER_TOKEN=TOKEN)
    _, said = run.communicate(timeout=30)
    assert run.returncode == 1
    assert "on elsewhere, since" in said
    assert "luthier create --server URL" in said
    assert served.client.get("/v1/studies/elsewhere").status_code == 404
    file.write_text(before)


def test_a_lock_ends_with_its_holder_and_waits_for_its_address(tmp_path: Path) -> None:
    assert holder_of(tmp_path) is None
    with closing(HomeLock(tmp_path)) as lock:
        with pytest.raises(HomeServed, match="is served already, by process"):
            HomeLock(tmp_path)
        late = threading.Timer(0.2, lock.publish, ["http://127.0.0.1:1"])
        late.start()
        holder = holder_of(tmp_path)
        late.join()
        assert holder is not None
        assert (holder.url, holder.is_here) == ("http://127.0.0.1:1", True)
    assert holder_of(tmp_path) is None
    HomeLock(tmp_path).close()


def test_a_file_system_without_locks_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: int) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with caplog.at_level(logging.WARNING), closing(HomeLock(tmp_path)):
        assert holder_of(tmp_path) is None
    assert "without file locks (No locks available): start no second service" in caplog.text


def test_services_of_one_database_share_a_store(tmp_path: Path, database_url: str) -> None:
    store = tmp_path / "store"
    with (
        running(tmp_path / "one", database_url, store=store) as one,
        running(tmp_path / "two", database_url, store=store) as two,
    ):
        one.started(one.worker(), budget={"trials": 1})
        one.worker().train(one.worker().take())
        two.worker("w2").evaluate(two.worker("w2").take(AssignmentKind.EVALUATE))
        for house in (one, two):
            assert house.client.get("/v1/studies/s1/model").is_success
    assert not (tmp_path / "one" / "store").exists()
