"""The end of `luthier serve` by a signal: what waits is answered at once, no work is handed out, nothing is left."""

import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.support.command_line import COMMAND, without_luthier
from tests.support.harness import problem, running, spec
from tests.support.served import Served, serving
from tests.support.waiting import until

WAITING = 50
TERM, INT = signal.SIGTERM, signal.SIGINT


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """A service without workers of its own."""
    with serving({"LUTHIER_HOME": str(tmp_path / "home")}) as served:
        yield served


def log_of(served: Served) -> str:
    return Path(served.environment["LUTHIER_HOME"]).with_suffix(".log").read_text()


def claim(served: Served, number: int) -> int:
    message = {"worker": f"w{number}", "wait_seconds": 30}
    return httpx.post(f"{served.client.base_url}/v1/worker/claim", json=message, timeout=60).status_code


@pytest.mark.full
@pytest.mark.parametrize(
    "signals", [(TERM,), *(pytest.param(more, marks=pytest.mark.wide) for more in ((TERM, TERM), (INT,)))]
)
def test_a_service_ends_at_once_while_workers_wait(served: Served, signals: tuple[signal.Signals, ...]) -> None:
    with ThreadPoolExecutor(WAITING) as pool:
        waiting = [pool.submit(claim, served, number) for number in range(WAITING)]
        until(lambda: len(served.client.get("/v1/workers").json()["items"]) == WAITING, 30)
        assert served.process is not None
        for number in signals:
            served.process.send_signal(number)
        served.process.wait(6)  # `docker stop` would wait for 10 s
        assert [answer.result() for answer in waiting] == [204] * WAITING
    assert "Traceback" not in log_of(served)
    assert "Cancel" not in log_of(served)


@pytest.mark.full  # eight seconds
def test_a_request_that_never_comes_to_its_end_does_not_keep_a_service(served: Served) -> None:
    begun, stopped = threading.Event(), threading.Event()

    def halves() -> Iterator[bytes]:
        yield b"{"
        begun.set()
        stopped.wait(30)
        yield b"}"

    with ThreadPoolExecutor() as pool:
        pool.submit(httpx.post, f"{served.client.base_url}/v1/studies", content=halves())
        assert begun.wait(30)
        time.sleep(0.5)  # the service reads what was sent
        assert served.process is not None
        served.process.terminate()
        assert served.process.wait(10) == -TERM
        assert "Traceback" not in log_of(served)
        assert "Cancel 1 running task" in log_of(served)
        stopped.set()


def test_a_service_that_stops_hands_out_no_work_and_sends_those_who_plan_away(tmp_path: Path) -> None:
    with running(tmp_path, None) as house, ThreadPoolExecutor() as pool:
        house.worker("planner").claim()
        planning = pool.submit(house.client.post, "/v1/studies:plan", json=spec())
        house.create("s1")
        house.app.state.service.notifier.close()  # what the server does first when it ends
        problem(planning.result(10), 503)
        answer = house.anyone.post("/v1/worker/claim", json={"worker": "w1", "wait_seconds": 30})
        assert problem(answer, 503)["detail"].startswith("The service stops")
        assert answer.headers["Retry-After"] == "1"
        assert house.study()["state"] == "queued"


@pytest.mark.parametrize("after_seconds", [0.1, 0.6, pytest.param(1.2, marks=pytest.mark.full)])
@pytest.mark.parametrize("number", [TERM, INT])
def test_a_start_is_ended_by_a_signal(tmp_path: Path, number: signal.Signals, after_seconds: float) -> None:
    environment = without_luthier() | {
        "LUTHIER_HOME": str(tmp_path / "home"),
        "LUTHIER_DATABASE_URL": "postgresql://nobody:nothing@127.0.0.1:9/none",
        "LUTHIER_DATABASE_WAIT_SECONDS": "60",
    }
    heard = f"import signal; signal.signal({INT:d}, signal.default_int_handler); "  # also where a suite ignores it
    command = [*COMMAND[:-1], f"{heard}print('up', flush=True); {COMMAND[-1]}", "serve", "--port", "0"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen(command, env=environment, text=True, **pipes)
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    time.sleep(after_seconds)
    process.send_signal(number)
    _, said = process.communicate(timeout=10)
    assert process.returncode in (-number, 128 + number)  # a shell shows the same of both
    assert "Traceback" not in said
