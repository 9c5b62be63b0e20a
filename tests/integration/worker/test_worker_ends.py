"""How a worker ends: on signals, with its parent, refused, or without a child; and which secrets stay with it."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from luthier.studies.versions import EXIT_OTHER_VERSION
from tests.support.paths import ROOT
from tests.support.scripted import TOKEN, Service
from tests.support.tiers import a_few
from tests.support.waiting import gone
from tests.support.worker_processes import Starts


@pytest.mark.parametrize("number", a_few(1, [signal.SIGTERM, signal.SIGINT], pytest.mark.wide))
def test_a_signal_gives_the_work_back(service: Service, start: Starts, tmp_path: Path, number: int) -> None:
    service.assign(1, params={"steps": 2, "act": "hang", "sleeper": str(tmp_path / "sleeper")})
    process = start()
    service.wait(lambda s: len(s.reports(1)) == 2)
    pid = service.child_pid(1)
    process.popen.send_signal(number)
    assert process.popen.wait(10) == 0
    assert service.outcome(1, 0).status == "released"
    assert gone(pid)
    assert gone(int((tmp_path / "sleeper").read_text()))
    assert not list((tmp_path / "home" / "worker").iterdir())


def test_an_idle_worker_ends_on_a_signal(service: Service, start: Starts) -> None:
    process = start()
    service.wait(lambda s: s.said)
    children = process.children()
    process.popen.terminate()
    assert process.popen.wait(5) == 0
    assert children
    assert all(gone(pid) for pid in children)


@pytest.mark.full
def test_a_second_signal_does_not_wait_for_the_service(service: Service, start: Starts) -> None:
    service.assign(1, shared=True, params={"act": "hang"})
    process = start()
    pid = service.child_pid(1)
    service.down, before = True, len(service.requests)
    process.popen.terminate()
    service.wait(lambda s: len(s.requests) > before)
    process.popen.terminate()
    assert process.popen.wait(3) == 130  # to give the work back takes five
    assert gone(pid)


def test_nothing_outlives_a_killed_worker(service: Service, start: Starts, tmp_path: Path) -> None:
    service.assign(1, shared=True, params={"act": "hang", "sleeper": str(tmp_path / "sleeper")})
    process = start()
    pid = service.child_pid(1)
    process.popen.kill()
    assert gone(pid)
    assert gone(int((tmp_path / "sleeper").read_text()))


def test_a_worker_ends_with_what_started_it(service: Service, start: Starts) -> None:
    service.assign(1, shared=True, params={"act": "hang"})
    process = start("--exit-on-eof")
    pid = service.child_pid(1)
    assert process.popen.stdin is not None
    process.popen.stdin.close()
    assert process.popen.wait(5) == 0
    assert gone(pid)
    assert not [m for route, m in service.said if route == "finish"]


@pytest.mark.parametrize(
    ("status", "words"),
    a_few(2, [(401, "LUTHIER_WORKER_TOKEN"), (404, "not a Luthier server"), (403, "LUTHIER_WORKER_TOKEN")]),
)
def test_a_worker_that_is_not_wanted_says_so(service: Service, start: Starts, status: int, words: str) -> None:
    service.status["claim"] = status
    process = start()
    assert process.popen.wait(10) == 3
    assert words in process.text()
    assert "Traceback" not in process.text()


@pytest.mark.parametrize(
    ("status", "wrong", "words"),
    [(409, [], "as the script says"), (422, ["protocol", "host"], "runs an older version of Luthier")],
)
def test_a_worker_of_another_version_ends_with_a_code_of_its_own(
    service: Service, start: Starts, status: int, wrong: list[str], words: str
) -> None:
    service.status["claim"], service.wrong = status, wrong
    process = start()
    assert process.popen.wait(10) == EXIT_OTHER_VERSION
    assert words in process.text()
    assert "Traceback" not in process.text()
    assert sum(path == "/v1/worker/claim" for _, path in service.requests) == 1


@pytest.mark.full
def test_a_child_that_cannot_start_costs_no_trial(service: Service, start: Starts) -> None:
    service.assign(1, shared=True)
    process = start(CHILD_CANNOT_START="1")
    assert process.popen.wait(15) == 4
    assert "nothing to train with" in process.text()
    assert "cannot start" in process.text()
    assert all(m.status == "released" for route, m in service.said if route == "finish")


def test_a_child_that_cannot_work_here_is_started_once_and_says_why(service: Service, start: Starts) -> None:
    service.assign(1, shared=True)
    process = start(CHILD_IS_UNFIT="1")
    assert process.popen.wait(15) == 4
    said = [line for line in process.text().splitlines() if not line.startswith("DEBUG")]
    assert "its torch is a build for the CPU." in said[-1]
    assert "Traceback" not in process.text()
    assert process.text().count("build for the CPU") == 1
    assert all(m.status == "released" for route, m in service.said if route == "finish")


def test_the_token_is_in_no_argument_and_not_with_the_child(service: Service, start: Starts) -> None:
    service.assign(1, shared=True, params={"act": "hang"})
    process = start()
    pid = service.child_pid(1)
    for one in (process.popen.pid, pid):
        assert TOKEN.encode() not in Path(f"/proc/{one}/cmdline").read_bytes()
    assert TOKEN.encode() not in Path(f"/proc/{pid}/environ").read_bytes()
    assert TOKEN.encode() in Path(f"/proc/{process.popen.pid}/environ").read_bytes()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/mem")
def test_no_token_ever_reaches_the_child(service: Service, start: Starts, tmp_path: Path) -> None:
    """Neither the worker's token nor the lease's: not over the socket, not in the environment."""
    service.assign(1, params={"secrets": str(tmp_path / "secrets")})
    start()
    assert service.outcome(1).status == "complete", service.log(1)
    assert (tmp_path / "secrets").read_text() == "mark of another store"  # of the assignment: memory was searched


def test_the_worker_needs_neither_torch_nor_the_service() -> None:
    code = "import sys, luthier.trials.__main__; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    forbidden = {
        "torch",
        "transformers",
        "datasets",
        "luthier.service",
        "optuna",
        "sqlalchemy",
        "fastapi",
        "numpy",
        "scipy",
    }
    assert not forbidden & set(done.stdout.split())
    assert "httpx" in done.stdout.split()
