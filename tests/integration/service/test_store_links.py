"""A worker that shares the store's disk puts links and pipes there: nothing outside of the store is read or written."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from luthier.studies.protocol import Assignment, AssignmentKind
from tests.support.harness import Running, ScriptedWorker, file_ref, held, problem, running
from tests.support.nightly import Nightly

SECRET = b"the users' token"

Plant = Callable[[Path, Path], None]


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A file outside of the store."""
    path = tmp_path / "outside" / "secret"
    path.parent.mkdir()
    path.write_bytes(SECRET)
    return path


@pytest.fixture
def a(house: Running, worker: ScriptedWorker) -> Assignment:
    house.started(worker, parallel=1)
    return worker.take()


def link(path: Path, secret: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    path.symlink_to(secret)


def linked_folder(path: Path, secret: Path) -> None:
    shutil.rmtree(path.parent, ignore_errors=True)
    path.parent.symlink_to(secret.parent)
    if not (secret.parent / path.name).exists():
        (secret.parent / path.name).hardlink_to(secret)


def pipe(path: Path, secret: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    os.mkfifo(path)


def folder(path: Path, secret: Path) -> None:
    path.mkdir(parents=True)


PLANTS = pytest.mark.parametrize("plant", [link, linked_folder, pipe, folder])


@PLANTS
def test_a_lease_reads_no_file_outside(worker: ScriptedWorker, a: Assignment, secret: Path, plant: Plant) -> None:
    plant(Path(a.store) / "best-1", secret)
    answer = worker.client.get(f"/v1/worker/files/{a.id}/best-1", headers={"X-Lease-Token": a.token})
    assert "not in the service's store" in problem(answer, 404)["detail"]
    message = {**held(a), "step": 1, "metrics": {"accuracy": 0.5}, "best": file_ref("best-1", SECRET)}
    problem(worker.client.post("/v1/worker/report", json=message), 422)


@PLANTS
def test_a_log_is_neither_read_nor_written_outside(
    house: Running, worker: ScriptedWorker, a: Assignment, secret: Path, plant: Plant
) -> None:
    shutil.rmtree(a.store, ignore_errors=True)
    plant(Path(a.store) / "log.txt", secret)
    assert house.client.get("/v1/studies/s1/trials/0/logs").text == ""
    worker.client.post("/v1/worker/renew", json=held(a) | {"log": "my line\n"})
    assert secret.read_bytes() == SECRET
    assert "token" not in house.client.get("/v1/studies/s1/trials/0/logs").text


@pytest.mark.parametrize("plant", [link, linked_folder])
def test_an_upload_is_not_written_outside(worker: ScriptedWorker, a: Assignment, secret: Path, plant: Plant) -> None:
    before = sorted(secret.parent.iterdir())
    plant(Path(a.store) / "best-1", secret)
    content = b"weights"
    headers = {"X-Lease-Token": a.token, "X-Content-SHA256": file_ref("x", content)["sha256"]}
    answer = worker.client.put(f"/v1/worker/files/{a.id}/best-1", content=content, headers=headers)
    assert answer.status_code == (204 if plant is link else 422)  # a link is replaced, as an older file would be
    assert secret.read_bytes() == SECRET
    assert {path.name for path in secret.parent.iterdir()} - {path.name for path in before} <= {"best-1"}


@pytest.mark.parametrize("plant", [link, linked_folder, pipe])
def test_a_model_is_no_file_outside(house: Running, secret: Path, plant: Plant) -> None:
    house.finished(budget={"trials": 1})
    model = next((house.settings.home / "store").glob("*/model.tar.gz"))
    model.unlink()
    plant(model, secret)
    problem(house.client.get("/v1/studies/s1/model"), 404)


@pytest.mark.full
def test_a_champion_is_no_file_outside(nightly: Callable[..., Nightly], secret: Path) -> None:
    it = nightly()
    it.run("a")
    champion = next((it.house.settings.home / "store").glob("schedule-1/*"))
    champion.unlink()
    champion.symlink_to(secret)
    problem(it.house.client.get("/v1/schedules/nightly/champion"), 404)
    run = it.run("b")
    assert run["state"] == "failed"
    assert "not in the service's store" in run["message"]
    assert not list((it.house.settings.home / "store").glob("*/champion.tar.gz"))


def test_nothing_outside_is_removed(house: Running, worker: ScriptedWorker, a: Assignment, secret: Path) -> None:
    notes = house.settings.home / "store" / "1-notes"
    notes.mkdir()
    worker.train(a, steps=1)
    shutil.move(a.store, secret.parent / "moved")
    Path(a.store).symlink_to(secret.parent)
    before = sorted(secret.parent.rglob("*"))
    house.client.post("/v1/studies/s1/cancel").raise_for_status()
    assert house.client.delete("/v1/studies/s1").status_code == 204
    assert sorted(secret.parent.rglob("*")) == before
    assert notes.is_dir(), "a folder of the user's own stays"


def test_a_mark_that_leads_outside_is_made_anew(tmp_path: Path, secret: Path) -> None:
    store = tmp_path / "home" / "store"
    store.mkdir(parents=True)
    (store / ".mark").symlink_to(secret)
    with running(tmp_path / "home", None) as house:
        house.started(house.worker())
        assert SECRET.decode() not in house.core.store.mark
        assert house.worker().take(AssignmentKind.TRAIN).store_mark == (store / ".mark").read_text()
    assert secret.read_bytes() == SECRET


def test_a_file_with_two_names_is_a_file(house: Running, worker: ScriptedWorker, a: Assignment, tmp_path: Path) -> None:
    (tmp_path / "copy").write_bytes(b"weights")
    Path(a.store).mkdir(exist_ok=True)
    (Path(a.store) / "best-1").hardlink_to(tmp_path / "copy")
    worker.report(a, 1, 0.5, best=file_ref("best-1", b"weights"))
    answer = worker.client.get(f"/v1/worker/files/{a.id}/best-1", headers={"X-Lease-Token": a.token})
    assert answer.content == b"weights"
    ranged = worker.client.get(
        f"/v1/worker/files/{a.id}/best-1", headers={"X-Lease-Token": a.token, "Range": "bytes=2-3"}
    )
    assert (ranged.status_code, ranged.content) == (206, b"ig")
