"""A service, a study with all kinds of trials, and `luthier track` in a process of its own, as users run it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.command_line import command_in
from tests.support.harness import Running, ScriptedWorker, running

Track = Callable[..., str]


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Running]:
    with running(tmp_path / "home", None) as house:
        yield house


@pytest.fixture
def track(house: Running, tmp_path: Path) -> Track:
    """Run `luthier track s1 --to ...` to its end; it must succeed. Return what it prints on stderr."""
    luthier = command_in(tmp_path)

    def run(*arguments: object, **environment: str) -> str:
        ended = luthier("track", "s1", *arguments, LUTHIER_SERVER=house.url, **environment)
        assert ended.returncode == 0, ended.stderr
        assert ended.stdout.startswith("s1 is completed; ")
        assert "Traceback" not in ended.stderr
        return ended.stderr

    return run


@pytest.fixture
def study(house: Running) -> Running:
    """A study of four trials that has ended: two complete, one pruned, one failed."""
    worker = house.worker()
    house.started(worker, budget={"trials": 4}, parallel=1)
    house.client.patch("/v1/studies/s1", json={"tags": ["german"], "notes": "The | first <b>one</b>."})
    worker.train(worker.take())
    worker.finish(worker.take(), "failed", reason="oom", problem={"message": "Too large."})
    _prune(worker)
    worker.drain()
    assert house.study()["state"] == "completed"
    return house


def _prune(worker: ScriptedWorker) -> None:
    """End a trial after an evaluation as one that was pruned."""
    trial = worker.take()
    worker.report(trial, 1, 0.1)
    worker.finish(trial, "pruned")
