"""Files that no row names go once they are older than a lease; whatever is named, or being written, stays."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text

from luthier.service.dispatch import checkpoints
from luthier.service.dispatch.orphans import LEAST_SECONDS, Orphans
from luthier.service.lifecycle import transitions
from luthier.service.storage.file_store import FileStore
from luthier.studies.protocol import AssignmentKind
from luthier.studies.spec import StudySpec
from tests.support.harness import Running, ScriptedWorker, spec
from tests.support.nightly import BETTER, Nightly
from tests.support.tiers import a_few


class Sweeper:
    """The sweeper of a service, whose clock the test moves."""

    def __init__(self, house: Running) -> None:
        self.now = 0.0
        self.root = house.settings.home / "store"
        self.orphans = Orphans(house.core, clock=lambda: self.now)

    def look(self, seconds: float = LEAST_SECONDS) -> None:
        self.now += seconds
        self.orphans.sweep()

    def twice(self) -> list[str]:
        """Look twice, more than a lease apart, and return what is left, without logs."""
        self.look()
        self.look()
        return self.left()

    def left(self) -> list[str]:
        found = (path.relative_to(self.root).as_posix() for path in self.root.rglob("*"))
        return sorted(name for name in found if "/" in name and not name.endswith("log.txt"))


@pytest.fixture
def sweeper(house: Running) -> Sweeper:
    return Sweeper(house)


def test_a_cancelled_trials_files_go(house: Running, worker: ScriptedWorker, sweeper: Sweeper) -> None:
    """Its worker has reported nothing yet, and writes on until it hears of the cancel."""
    house.started(worker)
    a = worker.take()
    for name in ("a1-s1.best", "a1-s1.resume", ".a1-s2.best.4711.part"):
        worker.write(a, name.removeprefix("."), b"12345")
    (Path(a.store) / ".a1-s2.best.4711.part").write_bytes(b"half")
    house.client.post("/v1/studies/s1/cancel").raise_for_status()
    worker.write(a, "a1-s2.resume", b"too late")
    sweeper.look()
    assert len(sweeper.left()) == 5, "not at the first look"
    sweeper.look(LEAST_SECONDS - 1)
    assert len(sweeper.left()) == 5, "nor within a lease"
    sweeper.look(2)
    assert sweeper.left() == []
    metrics = house.client.get("/metrics").text
    assert "luthier_orphaned_bytes_total 27.0" in metrics


def test_what_was_lost_before_its_first_report_goes(house: Running, worker: ScriptedWorker, sweeper: Sweeper) -> None:
    house.started(worker, budget={"trials": 2})
    for attempt in range(house.settings.max_losses):
        a = worker.take()
        worker.write(a, f"a{attempt}-s1.best", b"weights")
        house.move_clock(31)
        house.reap()
    assert house.trials()[0]["state"] == "failed"
    assert sweeper.twice() == []


def test_a_crash_between_an_end_and_the_removal_leaves_nothing(
    house: Running, worker: ScriptedWorker, sweeper: Sweeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.started(worker, budget={"trials": 3}, parallel=1)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "remove_unnamed", lambda *_: None)
        patch.setattr(FileStore, "drop", lambda *_: None)
        worker.drain()
    assert len(sweeper.left()) > 3
    study = house.study()
    left = sweeper.twice()
    assert len(left) == 2
    assert left[1].endswith("/model.tar.gz")
    assert house.client.get("/v1/studies/s1/model").headers["X-Content-SHA256"] == study["model"]["sha256"]
    with monkeypatch.context() as patch:
        patch.setattr(FileStore, "remove_study", lambda *_: None)
        assert house.client.delete("/v1/studies/s1").status_code == 204
    sweeper.twice()
    assert sweeper.twice() == []
    assert not list(sweeper.root.glob("1-*")), "the folders go, too"


def test_temporary_files_of_killed_processes_go_while_the_trial_runs_on(
    house: Running, worker: ScriptedWorker, sweeper: Sweeper
) -> None:
    house.started(worker)
    a = worker.take()
    worker.train(a, steps=1)
    folder = Path(a.store)
    dead, alive = folder / ".a1-s2.best.safetensors.17.part", folder / ".a1-s3.best.safetensors.18.part"
    dead.write_bytes(b"half")
    alive.write_bytes(b"1")
    worker.write(a, "a1-s2.resume", b"whole, and not reported yet")
    packing = folder / ".pack-x"
    packing.mkdir()
    (packing / "model").write_bytes(b"a worker packs")
    for length in range(2, 6):
        house.move_clock(3 * 3600)  # a clock that jumps makes no file old
        worker.client.post("/v1/worker/renew", json={"id": a.id, "token": a.token})
        os.utime(folder / "a1-s2.resume", (0, 0))
        alive.write_bytes(b"1" * length)
        sweeper.look()
    assert not dead.exists()
    assert alive.exists()
    names = {path.name for path in folder.iterdir()}
    assert {"a1-s2.resume", ".pack-x", "best-1", "resume-1"} <= names
    house.client.post("/v1/studies/s1/cancel").raise_for_status()
    assert sweeper.twice() == []


def test_nothing_that_is_named_or_in_use_goes(nightly: Callable[..., Nightly], sweeper: Sweeper) -> None:
    """Two runs of a schedule with a look before each step, and each step a lease later: all is whole at the end."""
    it = nightly()
    claim = it.worker.claim

    def look_first(wait_seconds: float = 0.0) -> object:
        sweeper.look()
        a = claim(wait_seconds)
        sweeper.look()
        return a

    it.worker.claim = look_first  # type: ignore[method-assign, assignment]
    it.worker.comparison = BETTER
    first = it.run("a")
    a = it.until_compared("b")
    sweeper.look()
    it.worker.compare(a)
    it.settle()
    assert (first["outcome"], it.runs()[0]["outcome"]) == ("first", "promoted")
    sweeper.twice()
    assert sum("/run-" in name for name in sweeper.left()) == 2
    assert any(name.endswith("predictions.csv.gz") for name in sweeper.left())
    assert it.champion()
    for run in it.runs():
        assert it.house.client.get(f"/v1/studies/{run['study']}/model").status_code == 200
    it.house.client.delete("/v1/schedules/nightly").raise_for_status()
    (sweeper.root / "schedule-1").mkdir()
    (sweeper.root / "schedule-1" / "run-1.tar.gz").write_bytes(b"a crash left it")
    sweeper.twice()
    sweeper.twice()
    assert not (sweeper.root / "schedule-1").exists()


def test_what_a_plan_left_goes(house: Running, sweeper: Sweeper) -> None:
    """Its service died while it waited, and its worker after the log had begun."""
    with house.core.database.transaction() as session:
        planned = StudySpec.model_validate(spec("planned"))
        study = transitions.create(session, house.core.leases, planned, "plan:left", transient=True)
    house.core.store.append_log(study.id, 1, "inspected")
    assert list(sweeper.root.glob(f"{study.id}-*"))
    house.move_clock(3601)
    house.reap()
    sweeper.twice()
    sweeper.twice()
    assert not list(sweeper.root.glob(f"{study.id}-*"))


def test_what_is_not_ours_stays(house: Running, worker: ScriptedWorker, sweeper: Sweeper, tmp_path: Path) -> None:
    house.finished(budget={"trials": 1})
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "best").write_bytes(b"mine")
    root, a = sweeper.root, sweeper.root / "1-2"
    mine = [root / "notes.txt", root / "1-notes" / "best", root / "schedule-new" / "x", a / "my notes" / "x", a / "ä"]
    others = [root / "900-901" / "best", root / "1-999" / "best", root / "schedule-77" / "run-1.tar.gz"]
    for path in (*mine, *others):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"kept")
    (a / "linked").symlink_to(outside / "best")
    shutil.rmtree(root / "1-1", ignore_errors=True)
    (root / "1-1").symlink_to(outside)
    sweeper.twice()
    sweeper.twice()
    assert all(path.read_bytes() == b"kept" for path in (*mine, *others))
    assert (outside / "best").read_bytes() == b"mine"
    assert not (a / "linked").is_symlink()
    assert not (root / "1-1").is_symlink()


def test_what_becomes_named_between_two_looks_stays(house: Running, worker: ScriptedWorker, sweeper: Sweeper) -> None:
    house.started(worker, budget={"trials": 1})
    worker.work(worker.take())
    a = worker.take(AssignmentKind.EVALUATE)
    (Path(a.store) / "model.tar.gz").write_bytes(b"of an attempt before")
    worker.finish(a, "released")
    sweeper.look()
    worker.work(worker.take(AssignmentKind.EVALUATE))
    sweeper.look()
    assert house.client.get("/v1/studies/s1/model").status_code == 200


@pytest.mark.parametrize("statement", a_few(1, ["luthier_study SET model", "luthier_assignment SET best"]))
def test_a_row_that_cannot_be_read_keeps_its_files_and_no_others(
    house: Running, worker: ScriptedWorker, sweeper: Sweeper, statement: str
) -> None:
    house.started(worker, "sick", budget={"trials": 1})
    worker.drain()
    kept = sweeper.left()
    house.started(worker, "well")
    worker.write(worker.take(), "a1-s1.best", b"12345")
    house.client.post("/v1/studies/well/cancel").raise_for_status()
    with house.core.database.engine.begin() as connection:
        of = "name = 'sick'" if "luthier_study" in statement else "kind = 'train' AND state = 'complete'"
        connection.execute(text(f"UPDATE {statement} = :damaged WHERE {of}"), {"damaged": '{"a": 1}'})
    assert sweeper.twice() == kept


@pytest.mark.full
def test_a_champion_or_a_winner_that_cannot_be_read_stops_no_sweep(
    nightly: Callable[..., Nightly], sweeper: Sweeper
) -> None:
    run = nightly()
    run.run("a")
    house = run.house
    house.started(run.worker, "packing", budget={"trials": 1})
    run.worker.work(run.worker.take())
    evaluation = run.worker.take(AssignmentKind.EVALUATE)
    kept = sweeper.left()
    house.started(run.worker, "well")
    run.worker.write(run.worker.take(), "a1-s1.best", b"12345")
    house.client.post("/v1/studies/well/cancel").raise_for_status()
    with house.core.database.engine.begin() as connection:
        connection.execute(text("UPDATE luthier_champion SET model = :damaged"), {"damaged": '{"a": 1}'})
        connection.execute(text("UPDATE luthier_study SET winner = 999 WHERE name = 'packing'"))
    assert evaluation.study == "packing"
    assert sweeper.twice() == kept
