"""Two services on one Postgres, their clock moved, one of them killed: every due time is there exactly once."""

import random
import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.harness import client
from tests.support.nightly import schedule
from tests.support.several_services import Together, processes
from tests.support.waiting import until

DUE, KILLED, STARTED = 200, 60, 140  # due times; those at which one service is killed, and started again


def runs(caller: httpx.Client, limit: int = 500) -> list[dict[str, Any]]:
    """The last ones, latest first."""
    return list(caller.get(f"/v1/schedules/nightly/runs?limit={limit}").raise_for_status().json()["items"])


def due_at(run: dict[str, Any]) -> float:
    return datetime.fromisoformat(run["due_at"]).timestamp()


@pytest.mark.full
def test_every_due_time_is_there_exactly_once(postgres_url: Callable[[], str], tmp_path: Path) -> None:
    draw, home = random.Random(1), tmp_path / "home"
    with processes(home, postgres_url(), 2) as (first, second), client(first.url) as caller:
        made = caller.post("/v1/schedules", json=schedule(promote={"seeds": 0})).raise_for_status().json()
        start = datetime.fromisoformat(made["next"][0]).timestamp()
        workers = Together([first.url, second.url], 2)
        moved = 0.0

        def move(seconds: float) -> None:
            nonlocal moved
            moved += seconds
            part = home / "clock.part"
            part.write_text(str(moved))
            part.replace(home / "clock")

        move(start - time.time() + 1)
        due = 1
        with workers:
            while due < DUE:
                if due == KILLED:
                    second.kill()
                if due == STARTED:
                    second.start()
                step = 1 if draw.random() < 0.7 else draw.randint(2, 9)
                step = min(step, next(stop for stop in (KILLED, STARTED, DUE) if due < stop) - due)
                move(60.0 * step)
                due += step
                latest = start + 60 * (due - 1)
                until(lambda latest=latest: [due_at(run) for run in runs(caller, 1)] == [latest], 30)  # type: ignore[misc]
        every = runs(caller)
        assert sorted(due_at(run) for run in every) == [start + 60 * i for i in range(DUE)]
        states = Counter(run["reason"] or run["state"] for run in every)
        assert states["too_late"] > 20
        assert states["too_late"] + states["still_running"] < DUE
        studies = [run["study"] for run in every if run["study"]]
        stored = caller.get("/v1/studies?limit=500").json()["items"]
        assert len(studies) == len(set(studies))
        assert {s["name"] for s in stored} <= set(studies)
