"""Studies, projects and users that share workers: by weight and priority, and within their limits."""

import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from luthier.service.storage.access_tables import ProjectRow, TokenRow
from luthier.service.storage.share_tables import DeletedUsageRow, ShareRow
from luthier.service.storage.tables import AssignmentRow, StudyRow
from luthier.studies.protocol import Assignment, Decision
from tests.support.harness import Running, ScriptedWorker, paths, running, spec
from tests.support.tiers import a_few

pytestmark = pytest.mark.both_databases
LONG = {"budget": {"trials": 500}, "parallel": 8, "sampler": {"name": "random"}}


def belongs(house: Running, name: str, project: str = "default", owner: str | None = None) -> None:
    """Let a study belong to a project and a user, as the access control does."""
    with house.core.database.transaction() as session:
        session.execute(update(StudyRow).where(StudyRow.name == name).values(project=project, owner=owner))


def project(house: Running, name: str = "default", **columns: Any) -> None:
    """Write a project's row."""
    with house.core.database.transaction() as session:
        session.merge(ProjectRow(**{"name": name, "created_at": 1.0, "weight": 1.0, "priority": 0} | columns))


def user(house: Running, name: str, **columns: Any) -> None:
    """Write the row of a user's token."""
    values = {"scopes": [], "project": "default", "created_at": 1.0, "created_by": "me", "digest": f"{name}{columns}"}
    with house.core.database.transaction() as session:
        session.add(TokenRow(name=name, **values | columns))


def claimed(house: Running, count: int = 8) -> list[tuple[ScriptedWorker, Assignment]]:
    """Have so many workers ask, one after the other; return those that got a trial, with it."""
    workers = [house.worker(f"w{i}") for i in range(count)]
    got = [(worker, worker.claim()) for worker in workers]
    return [(worker, a) for worker, a in got if a is not None]


def done(worker: ScriptedWorker, a: Assignment, seconds: float) -> None:
    """Have a worker end a trial well after so many seconds."""
    worker.report(a, 1, 0.5, seconds=min(seconds, 1.0))
    worker.finish(a, seconds=seconds)


def played(house: Running, seconds: float, rounds: int, crew: int = 4, **of: float) -> Counter[str]:
    """Have a crew run trials, the oldest of them ending first; return study -> GPU seconds.

    `seconds`: of each trial; `of`: of those of the studies that are named.
    """
    held, used = claimed(house, crew), Counter[str]()
    for _ in range(rounds):
        worker, a = held.pop(0)
        took = of.get(a.study, seconds)
        done(worker, a, took)
        used[a.study] += int(took)
        again = worker.claim()
        assert again is not None
        held.append((worker, again))
    return used


@pytest.mark.full
def test_two_studies_share_by_their_weights(house: Running, worker: ScriptedWorker) -> None:
    house.started(worker, "a", weight=3, **LONG)
    house.started(worker, "b", **LONG)
    used = played(house, 10.0, 32, b=5.0)
    assert used["a"] / used["b"] == pytest.approx(3, rel=0.25)
    with house.core.database.reading() as session:
        charged = session.scalars(select(StudyRow.virtual_time).order_by(StudyRow.id)).all()
        running_ = {a.id: a for a in session.scalars(select(AssignmentRow).where(AssignmentRow.state == "running"))}
        shared = session.scalars(select(ShareRow)).one()
    assert charged[0] == pytest.approx(charged[1], abs=15.0)
    expected = sum(row.gpu_seconds_charged or 0.0 for row in running_.values())
    assert shared.virtual_time == pytest.approx(sum(used.values()) + expected), "nothing is lost, and nothing twice"


@pytest.mark.full
def test_projects_share_by_theirs_over_two_services(house: Running, worker: ScriptedWorker, database_url: str) -> None:
    for name, owner in (("a", "p"), ("b", "q"), ("c", "q")):
        house.started(worker, name, **LONG)
        belongs(house, name, owner)
    project(house, "p", weight=3)
    with running(house.settings.home, database_url) as other:
        first, second = claimed(house, 2), claimed(other, 2)
        used: Counter[str] = Counter()
        for i in range(40):
            held = first if i % 2 else second
            worker, a = held.pop(0)
            done(worker, a, 10.0)
            used[a.study] += 10
            again = worker.claim()
            assert again is not None
            held.append((worker, again))
    assert used["a"] / (used["b"] + used["c"]) == pytest.approx(3, rel=0.25)
    assert used["b"] == pytest.approx(used["c"], abs=10)


@pytest.mark.full
def test_a_priority_goes_first_and_others_do_not_starve(house: Running, worker: ScriptedWorker) -> None:
    house.started(worker, "low", **LONG)
    house.started(worker, "high", priority=5, **LONG)
    used = played(house, 10.0, 44, crew=2)
    assert 10 <= used["low"] <= 30, "a twentieth"
    assert house.client.patch("/v1/studies/low", json={"priority": 5, "weight": 2}).status_code == 200
    study = house.study("low")
    assert (study["priority"], study["weight"], "priority" in study["spec"]) == (5, 2.0, False)
    assert house.client.post("/v1/studies", json=study["spec"]).status_code == 200, "the same study"
    used = played(house, 10.0, 30, crew=2)
    assert used["low"] > used["high"] > 0


@pytest.mark.parametrize(
    ("key", "values"), [("weight", (0, -1, 1001, "x", None)), ("priority", (101, -101, 0.5, "high"))]
)
def test_a_wrong_share_is_refused_with_its_path(house_sqlite: Running, key: str, values: tuple[Any, ...]) -> None:
    for value in values:
        assert key in paths(house_sqlite.client.post("/v1/studies", json=spec("s", **{key: value})))


@pytest.mark.parametrize("of", a_few(1, ["user", "project", "study"]))
def test_a_limit_on_parallel_trials_holds_and_others_go_on(house: Running, worker: ScriptedWorker, of: str) -> None:
    for name in ("a", "b", "c"):
        house.started(worker, name, **LONG | ({"parallel": 2} if of == "study" and name != "c" else {}))
        belongs(house, name, "p" if name != "c" else "q", "ann" if name != "c" else "bob")
    if of == "project":
        project(house, "p", max_parallel=3)
    elif of == "user":
        user(house, "ann", max_parallel=3)
        user(house, "ann", max_parallel=50)
        user(house, "ann", max_parallel=1, revoked_at=5.0)
        user(house, "ann", max_parallel=1, expires_at=5.0)
    held = claimed(house, 12)
    counts = Counter(a.study for _, a in held)
    assert counts["a"] + counts["b"] == (4 if of == "study" else 3)
    assert counts["c"] == 8
    worker, a = next((worker, a) for worker, a in held if a.study != "c")
    worker.finish(a, "released")
    again = worker.claim()
    assert again is not None
    assert again.study == a.study, "what was given back goes first"


@pytest.mark.full
@pytest.mark.locks
def test_claims_at_the_same_moment_never_pass_a_limit(
    house: Running, worker: ScriptedWorker, database_url: str, tmp_path: Path
) -> None:
    for i in range(4):
        house.started(worker, f"s{i}", **LONG)
        belongs(house, f"s{i}", "p", f"user{i % 2}")
    project(house, "p", max_parallel=5, max_gpu_seconds=1e6)
    user(house, "user0", max_parallel=2)
    found: list[Assignment | None] = []
    with running(tmp_path / "other", database_url) as other:
        workers = [service.worker(f"{i}") for i in range(6) for service in (house, other)]
        gate = threading.Barrier(len(workers))

        def claim(one: ScriptedWorker) -> None:
            gate.wait(30)
            found.extend(one.claim() for _ in range(3))

        threads = [threading.Thread(target=claim, args=[one]) for one in workers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    counts = Counter(a.study for a in found if a is not None)
    assert counts.total() == 5
    assert counts["s0"] + counts["s2"] <= 2


@pytest.mark.full
def test_gpu_seconds_of_a_project_are_reserved_and_settled(house: Running, worker: ScriptedWorker) -> None:
    """Trials of 30 s under a limit of 100: three at once, then one more as something is left, and then none."""
    limited = {"budget": {"trials": 500, "trial_seconds": 30}, "parallel": 8}
    worker.inspection = worker.inspection.model_copy(update={"estimates": None})
    house.started(worker, "a", **limited)
    project(house, max_gpu_seconds=100)
    held = claimed(house)
    assert len(held) == 3
    for one, a in held[1:]:
        done(one, a, 30.0)
    assert worker.claim() is None, "30 are reserved and 60 are used"
    done(held[0][0], held[0][1], 10.0)
    held = claimed(house)
    assert len(held) == 1, "70 are used, and a trial may use 30"
    done(held[0][0], held[0][1], 29.0)
    held = claimed(house)
    assert len(held) == 1, "nothing runs, and 1 is left"
    done(held[0][0], held[0][1], 30.0)
    assert claimed(house) == []
    assert house.study("a")["gpu_seconds"] == pytest.approx(129.0), "one trial beyond, of eight that could run"
    assert house.study("a")["state"] == "running"
    house.started(worker, "b", **limited)
    belongs(house, "b", "elsewhere")
    assert {a.study for _, a in claimed(house, 2)} == {"b"}
    house.client.post("/v1/studies/a/cancel")
    assert house.client.delete("/v1/studies/a").status_code == 204
    with house.core.database.reading() as session:
        assert session.scalars(select(DeletedUsageRow.gpu_seconds)).all() == pytest.approx([129.0])
    house.started(worker, "again", **limited)
    assert {a.study for _, a in claimed(house, 4)} == {"b"}, "a deletion gives nothing back"
    project(house, max_gpu_seconds=200)
    assert "again" in {a.study for _, a in claimed(house, 4)}


@pytest.mark.full
def test_eight_at_once_pass_a_budget_by_one_trial_at_most(house: Running, worker: ScriptedWorker) -> None:
    house.started(worker, "a", budget={"gpu_seconds": 100}, parallel=8)
    workers = [house.worker(f"w{i}") for i in range(8)]
    held: list[tuple[ScriptedWorker, Assignment]] = []
    for _ in range(60):
        for one in workers:
            if one not in [busy for busy, _ in held]:
                a = one.claim()
                if a is not None and a.kind != "train":
                    break
                held += [] if a is None else [(one, a)]
        if not held:
            break
        one, a = held.pop(0)
        one.report(a, 1, 0.6, seconds=9.0)
        done(one, a, 9.0)
    used = house.study("a")["gpu_seconds"]
    assert 100 <= used <= 109, "eight trials that start together would have used up to 72 beyond"
    assert house.study("a")["message"].startswith("The 100 GPU seconds are used up.")


@pytest.mark.full
def test_trials_that_take_longer_than_expected_give_way(house: Running, worker: ScriptedWorker) -> None:
    """Eight that take ten seconds to each evaluation, and were expected to take three in all, would use 160 of 100."""
    found = worker.inspection.model_dump(mode="json")
    found["estimates"] = {"seconds_per_trial": 1.0}
    worker.inspection = type(worker.inspection).model_validate(found)
    house.started(
        worker,
        budget={"gpu_seconds": 100},
        parallel=8,
        space={"learning_rate": {"low": 1e-6, "high": 1e-3, "log": True}, "epochs": 9},
    )
    held = claimed(house)
    assert len(held) == 8
    for step in range(1, 10):
        for one, a in list(held):
            if one.report(a, step, 0.5, seconds=10.0 * step) is Decision.STOP:
                one.finish(a, seconds=10.0 * step, reason="budget")
                held.remove((one, a))
    assert held == []
    assert 90 <= house.study()["gpu_seconds"] <= 120, "less than a trial of 90 s beyond"


def test_what_waits_says_why_and_for_how_long(house: Running, worker: ScriptedWorker) -> None:
    house.create("alone")
    waiting = house.study("alone")["waiting"]
    assert (waiting["reason"], waiting["seconds"]) == ("worker", None)
    assert "luthier worker --server URL" in waiting["message"]
    house.move_clock(3600)
    house.client.post("/v1/studies/alone/cancel")
    assert house.study("alone")["waiting"] is None
    worker.inspection = worker.inspection.model_copy(update={"estimates": None})
    limited = {"budget": {"trials": 500, "trial_seconds": 40}, "parallel": 8}
    house.started(worker, "a", **limited)
    house.started(worker, "b", **limited)
    a = worker.take()
    assert a.study == "a"
    house.move_clock(10)
    assert house.study("a")["waiting"] is None
    waiting = house.study("b")["waiting"]
    assert waiting["reason"] == "share"
    assert waiting["seconds"] == pytest.approx(30, abs=5)
    assert waiting["message"].startswith("The worker that is there is busy with other work")
    project(house, max_parallel=1)
    waiting = house.study("b")["waiting"]
    assert waiting["reason"] == "parallel"
    assert waiting["message"] == "Project default runs 1 of the 1 trials that it may run at the same time."
    belongs(house, "b", owner="ann")
    project(house)
    user(house, "ann", max_gpu_seconds=0.5)
    assert house.study("b")["waiting"] is not None
    done(worker, a, 40.0)
    b = worker.take()
    assert b.study == "b", "nothing of ann's runs, and half a second is left"
    done(worker, b, 2.0)
    assert house.study("b")["waiting"] == {
        "reason": "gpu_seconds",
        "message": "User ann has used up its 0.5 GPU seconds: it goes on once max_gpu_seconds is raised.",
        "seconds": None,
    }
    assert house.study("b")["state"] == "running"
    listed = {study["name"]: study["waiting"] for study in house.get("/v1/studies")["items"]}
    assert listed["b"]["reason"] == "gpu_seconds"
    page = house.client.get("/studies/b").text
    assert "Waits: User ann has used up its 0.5 GPU seconds" in page
    user(house, "bob", max_gpu_seconds=9.0)
    assert worker.take().study == "a"
