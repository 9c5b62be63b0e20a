"""Predictions as users and workers see them: queued, leased, fenced, retried, kept, deleted; whole or not at all."""

import hashlib
from pathlib import Path
from typing import Any

import httpx
import pytest

from luthier.service.dispatch.orphans import Orphans
from luthier.service.storage.service_tables import ChangeRow
from luthier.studies.protocol import AssignmentKind
from tests.support import external
from tests.support.harness import Running, ScriptedWorker, Stale, problem, running
from tests.support.raw_http import dialled, head
from tests.support.small_disk import small_disk

TABLE = b"text,id\na lovely film,7\nan awful day,8\n"
CSV = {"Content-Type": "text/csv"}


def send(house: Running, content: Any = TABLE, name: str = "s1", **options: Any) -> httpx.Response:
    return house.client.post(f"/v1/studies/{name}/predict", content=content, **{"headers": CSV} | options)


def sent(house: Running, content: bytes = TABLE) -> str:
    response = send(house, content)
    assert response.status_code == 202, response.text
    assert response.json()["state"] == "queued"
    return str(response.headers["Location"])


def stored(house: Running) -> set[str]:
    """The files of the store, without logs and those of the winner's trial."""
    root = house.core.store.root
    return {path.name for path in root.glob("*/*")} - {"log.txt"}


def told(house: Running) -> int:
    """How many changes streams of events have been told so far."""
    with house.core.database.reading() as session:
        return house.core.database.last_id(session, ChangeRow)


@pytest.mark.both_databases
def test_a_table_is_answered_by_a_worker(house: Running, worker: ScriptedWorker) -> None:
    study = house.finished(budget={"trials": 1})
    before, changes = stored(house), told(house)
    path = sent(house)
    a = worker.take(AssignmentKind.PREDICT)
    assert house.get(path)["state"] == "running"
    for ref in a.files:  # as a worker on another machine gets them
        brought = worker.send("GET", f"/v1/worker/files/{a.id}/{ref.name}", headers={"X-Lease-Token": a.token})
        assert (len(brought.content), hashlib.sha256(brought.content).hexdigest()) == (ref.bytes, ref.sha256)
    assert problem(house.client.get(f"{path}/file"), 409)["detail"].endswith("its file comes when it is complete.")
    worker.predict(a)
    worker.finish(a, seconds=1.0)  # the same outcome again changes nothing
    found = house.get(path)
    assert (found["state"], found["rows"], found["unreadable"], found["error"]) == ("complete", 2, 0, None)
    assert (found["study"], found["trial"], found["attempt"]) == ("s1", study["best"]["trial"], 1)
    file = house.client.get(found["file"]["url"])
    assert file.text == "text,id,prediction\na lovely film,7,0\nan awful day,8,1\n"
    assert file.headers["X-Content-SHA256"] == found["file"]["sha256"]
    assert file.headers["content-type"].startswith("text/csv")
    assert stored(house) - before == {"predictions.csv"}, "neither table nor model are kept"
    assert house.study() == study, "a prediction changes nothing of its study, nor what it cost"
    second = sent(house)
    listed = house.get("/v1/studies/s1/predictions")["items"]
    assert [item["state"] for item in listed] == ["queued", "complete"]
    assert house.get("/v1/studies/s1/predictions?limit=1")["next_cursor"]
    for one in (path, second):
        assert house.client.delete(one).status_code == 204
        problem(house.client.get(one), 404)
    assert stored(house) == before
    assert worker.claim() is None
    assert told(house) == changes, "a prediction is no event of its study"


def test_a_worker_that_dies_gives_its_rows_to_the_next(house: Running, worker: ScriptedWorker) -> None:
    house.finished(budget={"trials": 1})
    path = sent(house)
    dead = worker.take(AssignmentKind.PREDICT)
    house.move_clock(31)
    house.reap()
    assert house.get(path)["state"] == "queued"
    again = house.worker("w2").take(AssignmentKind.PREDICT)
    assert again.attempt == 2
    with pytest.raises(Stale):
        worker.predict(dead)
    house.worker("w2").predict(again)
    assert (house.get(path)["state"], house.get(path)["attempt"]) == ("complete", 2)


def test_what_a_table_lacks_is_told_with_the_prediction(house: Running, worker: ScriptedWorker) -> None:
    house.finished(budget={"trials": 1})
    path = sent(house, b"message\nhello\n")
    told = {"message": "table.csv has no column 'text' for text; its columns are message. Rename the right one."}
    worker.finish(worker.take(AssignmentKind.PREDICT), "failed", reason="bad_data", problem=told)
    error = "The table has no column 'text' for text; its columns are message. Rename the right one."
    assert (house.get(path)["state"], house.get(path)["error"]) == ("failed", error)
    assert "it has no file" in problem(house.client.get(f"{path}/file"), 409)["detail"]
    assert house.study()["state"] == "completed", "the study is not to blame"
    path = sent(house)
    worker.finish(worker.take(AssignmentKind.PREDICT))
    assert house.get(path)["state"] == "failed", "an end without a file is none"
    path = sent(house)
    held = worker.take(AssignmentKind.PREDICT)
    assert house.client.delete(path).status_code == 204
    with pytest.raises(Stale):
        worker.renew(held)


def test_what_cannot_be_predicted_is_refused(house: Running) -> None:
    house.create("young")
    told = problem(send(house, name="young"), 409)["detail"]
    assert "no winner to predict with: it is queued" in told
    problem(send(house, name="nowhere"), 404)
    house.client.post("/v1/studies", json=external.document()).raise_for_status()
    assert "its trainer is its user's own" in problem(send(house, name="tuning"), 409)["detail"]
    house.finished(budget={"trials": 1})
    before = stored(house)
    assert "empty" in problem(send(house, b""), 422)["detail"]
    assert "text/csv" in problem(send(house, headers={}), 422)["detail"]
    problem(send(house, params={"format": "xlsx"}), 422)
    problem(house.client.get("/v1/studies/s1/predictions/99"), 404)
    problem(house.client.delete("/v1/studies/s1/predictions/99"), 404)
    assert send(house, b'[{"text": "a"}]', headers={"Content-Type": "application/json"}).status_code == 202
    assert send(house, headers={}, params={"format": "csv"}).status_code == 202
    assert stored(house) - before == {"table.json", "table.csv"}


def test_a_cut_or_too_large_upload_leaves_nothing(tmp_path: Path) -> None:
    with running(tmp_path / "home", None, predict_bytes=1_000) as house:
        house.finished(budget={"trials": 1})
        before = stored(house)
        assert "1000 bytes" in problem(send(house, b"text\n" + b"a" * 1_000), 413)["detail"]
        chunks = (b"text\n" + b"b" * 400 for _ in range(4))
        assert problem(send(house, chunks), 413)["status"] == 413, "nor is it announced"
        with dialled(house) as line:
            line.sendall(head("POST", "/v1/studies/s1/predict", Content_Length="900", Content_Type="text/csv"))
            line.sendall(b"text\nfirst")
        house.client.get("/healthz").raise_for_status()
        assert house.get("/v1/studies/s1/predictions")["items"] == []
        assert {name for name in stored(house) - before if not name.startswith(".upload")} == set()


def test_a_table_that_finds_no_room_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 24) as disk, running(disk.folder / "home", None) as house:
        house.finished(budget={"trials": 1})
        before = stored(house)
        disk.fill()
        assert f"the disk of {disk.folder}" in problem(send(house), 507)["detail"]
        assert stored(house) == before
        disk.free()
        assert send(house).status_code == 202


@pytest.mark.full
@pytest.mark.both_databases
def test_files_of_predictions_are_no_orphans(house: Running, worker: ScriptedWorker) -> None:
    house.finished(budget={"trials": 1})
    done = sent(house)
    worker.drain()
    queued = sent(house)
    now = [0.0]
    orphans = Orphans(house.core, lambda: now[0])
    for now[0] in (0.0, 1_000.0, 2_000.0):
        orphans.sweep()
    assert house.client.get(f"{done}/file").text.startswith("text,id,prediction")
    worker.drain()
    assert house.get(queued)["state"] == "complete"


def test_a_study_takes_its_predictions_along(house: Running, worker: ScriptedWorker) -> None:
    house.finished(budget={"trials": 1})
    sent(house)
    held = worker.take(AssignmentKind.PREDICT)
    assert house.client.delete("/v1/studies/s1").status_code == 204
    with pytest.raises(Stale):
        worker.renew(held)
    assert stored(house) == set()
