"""The store: files under a lease, whole or not at all, kept as long as a row names them."""

from pathlib import Path

import pytest

from luthier.service.errors import RefusedToStart
from luthier.service.server.app import build_core
from luthier.service.settings import Settings
from luthier.studies.protocol import Assignment, AssignmentKind
from tests.support.harness import Running, ScriptedWorker, file_ref, held, problem


def lease(a: Assignment, content: bytes = b"") -> dict[str, str]:
    return {"X-Lease-Token": a.token, "X-Content-SHA256": file_ref("x", content)["sha256"]}


def files(a: Assignment) -> set[str]:
    folder = Path(a.store)
    return {path.name for path in folder.iterdir()} - {"log.txt"} if folder.is_dir() else set()


@pytest.fixture
def a(house: Running, worker: ScriptedWorker) -> Assignment:
    house.started(worker, parallel=1)
    return worker.take()


def test_a_file_goes_there_and_back(worker: ScriptedWorker, a: Assignment) -> None:
    content = bytes(range(256)) * 4096
    url = f"/v1/worker/files/{a.id}/resume-1.safetensors"
    problem(worker.client.get(url, headers=lease(a)), 404)
    assert worker.client.put(url, content=content, headers=lease(a, content)).status_code == 204
    assert worker.client.get(url, headers=lease(a)).content == content
    assert (Path(a.store) / "resume-1.safetensors").read_bytes() == content


def test_a_wrong_checksum_leaves_nothing(worker: ScriptedWorker, a: Assignment) -> None:
    url = f"/v1/worker/files/{a.id}/best"
    assert "checksum" in problem(worker.client.put(url, content=b"right", headers=lease(a, b"wrong")), 422)["detail"]
    assert files(a) == set()
    worker.client.put(url, content=b"first", headers=lease(a, b"first"))
    problem(worker.client.put(url, content=b"right", headers=lease(a, b"wrong")), 422)
    assert (Path(a.store) / "best").read_bytes() == b"first", "the file that was whole stays"


def test_an_upload_that_outlives_its_lease_changes_nothing(
    house: Running, worker: ScriptedWorker, a: Assignment
) -> None:
    def slow() -> object:
        yield b"par"
        house.move_clock(31)
        while house.trials()[0]["state"] != "queued":
            house.reap()
        yield b"tial"

    url = f"/v1/worker/files/{a.id}/best"
    problem(worker.client.put(url, content=slow(), headers=lease(a, b"partial")), 409)  # type: ignore[arg-type]
    assert files(a) == set()


def test_a_name_that_could_lead_elsewhere_is_refused(house: Running, worker: ScriptedWorker, a: Assignment) -> None:
    before = sorted(house.core.store.root.rglob("*"))
    for name in ("..%2Fx", "%2Fetc%2Fpasswd", "..", ".hidden", "a%2Fb", "a%5Cb", "x" * 200, "%00"):
        response = worker.client.put(f"/v1/worker/files/{a.id}/{name}", content=b"x", headers=lease(a, b"x"))
        assert response.status_code in (404, 405, 422), (name, response.text)
        assert sorted(house.core.store.root.rglob("*")) == before, name


def test_a_lease_opens_its_own_folder_only(house: Running, worker: ScriptedWorker, a: Assignment) -> None:
    for token in ("", "x" * 32, "x" * 1000):
        response = worker.client.get(f"/v1/worker/files/{a.id}/best", headers={"X-Lease-Token": token})
        assert response.status_code in (409, 422)
    problem(worker.client.get(f"/v1/worker/files/{a.id + 1}/best", headers=lease(a)), 409)
    problem(worker.client.get(f"/v1/worker/files/{a.id}/best"), 422)


def test_a_report_names_whole_files_only(house: Running, worker: ScriptedWorker, a: Assignment) -> None:
    message = {**held(a), "step": 1, "metrics": {"accuracy": 0.5}, "best": file_ref("best-1", b"12345")}
    assert "best-1" in problem(worker.client.post("/v1/worker/report", json=message), 422)["detail"]
    worker.write(a, "best-1", b"123")
    problem(worker.client.post("/v1/worker/report", json=message), 422)
    assert house.trials()[0]["values"] == []
    worker.write(a, "best-1", b"12345")
    assert worker.client.post("/v1/worker/report", json=message).status_code == 200


def test_a_file_stays_until_it_is_replaced(worker: ScriptedWorker, a: Assignment) -> None:
    def report(step: int, value: float, *names: str) -> None:
        refs = {name: worker.write(a, f"{name}-{step}", b"x") for name in names}
        worker.report(a, step, value, **refs)

    report(1, 0.7, "best", "resume")
    report(2, 0.6, "resume")
    assert files(a) == {"best-1", "resume-2"}
    report(3, 0.6)
    assert files(a) == {"best-1", "resume-2"}
    report(4, 0.8, "best", "resume")
    assert files(a) == {"best-4", "resume-4"}


def test_the_losers_checkpoints_go_and_the_winners_stays(house: Running, worker: ScriptedWorker) -> None:
    """Those of the baseline stay too, until it is measured beside the winner."""
    house.started(worker, parallel=1, budget={"trials": 4})
    trials = []
    for value in (0.6, 0.9, 0.7, 0.8):
        trials.append(worker.take())
        worker.score = lambda params, step, value=value: value - 0.01 * step  # type: ignore[misc]
        worker.train(trials[-1])
    assert [files(a) for a in trials] == [{"best-1"}, {"best-1"}, set(), set()]
    worker.evaluate(worker.take(AssignmentKind.EVALUATE))
    assert house.study()["best"]["trial"] == 1
    assert [files(a) for a in trials] == [set(), {"best-1", "model.tar.gz"}, set(), set()]


def test_a_lost_trials_checkpoints_go(house: Running, worker: ScriptedWorker) -> None:
    house.started(worker, parallel=1, budget={"trials": 2})
    for _ in range(3):
        lost = worker.take()
        worker.train(lost, steps=1)
        house.move_clock(31)
        house.reap()
    assert house.trials()[0]["state"] == "failed"
    worker.drain()
    assert house.study()["state"] == "completed"
    assert files(lost) == set()


def test_a_cancelled_trials_checkpoints_go(house: Running, worker: ScriptedWorker, a: Assignment) -> None:
    worker.train(a, steps=1)
    assert files(a)
    house.client.post("/v1/studies/s1/cancel")
    assert files(a) == set()


def test_an_evaluation_reads_the_winners_folder(house: Running, worker: ScriptedWorker) -> None:
    house.started(worker, budget={"trials": 1})
    worker.train(worker.take())
    a = worker.take(AssignmentKind.EVALUATE)
    assert a.checkpoint.best is not None
    content = worker.client.get(f"/v1/worker/files/{a.id}/{a.checkpoint.best.name}", headers=lease(a)).content
    assert content == b"weights 0 3"
    packed = b"packed"
    url = f"/v1/worker/files/{a.id}/model.tar.gz"
    assert worker.client.put(url, content=packed, headers=lease(a, packed)).status_code == 204
    worker.finish(a, evaluation={"test": None, "model": file_ref("model.tar.gz", packed)})
    assert house.client.get("/v1/studies/s1/model").content == packed


def test_a_store_that_cannot_be_used_refuses_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    settings = Settings(home=tmp_path / "home", store=tmp_path / "file" / "store")
    with pytest.raises(RefusedToStart, match=r"The store .*/file/store cannot be used: Not a directory"):
        build_core(settings)
