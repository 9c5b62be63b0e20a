"""ONNX files as users and workers see them: asked for once, leased, fenced, kept, deleted; whole or not at all."""

import hashlib
import io
import signal
import tarfile
from pathlib import Path
from typing import Any

import pytest

from luthier import Client, ServiceError
from luthier.service.client.onnx import OnnxWait
from luthier.service.dispatch.orphans import Orphans
from luthier.service.storage.service_tables import ChangeRow
from luthier.studies.protocol import AssignmentKind
from tests.support import external
from tests.support.harness import Running, ScriptedWorker, Stale, problem
from tests.support.killed_verb import exit_code_of

PATH = "/v1/studies/s1/onnx"


def asked(house: Running, status: int = 202) -> dict[str, Any]:
    response = house.client.post(PATH)
    assert response.status_code == status, response.text
    assert response.headers["Location"] == PATH
    return dict(response.json())


def stored(house: Running) -> set[str]:
    """The files of the store, with their folders, without logs."""
    root = house.core.store.root
    return {str(path.relative_to(root)) for path in root.glob("*/*")} - {str(p) for p in root.glob("*/log.txt")}


def told(house: Running) -> int:
    """How many changes streams of events have been told so far."""
    with house.core.database.reading() as session:
        return house.core.database.last_id(session, ChangeRow)


@pytest.mark.both_databases
def test_the_winner_becomes_an_onnx_file_once(house: Running, worker: ScriptedWorker) -> None:
    study = house.finished(budget={"trials": 1})
    before, changes = stored(house), told(house)
    problem(house.client.get(PATH), 404)
    assert asked(house)["state"] == "queued"
    assert asked(house, 200)["state"] == "queued", "it is asked for once"
    a = worker.take(AssignmentKind.ONNX)
    assert (a.number, a.table, a.checkpoint.resume) == (study["best"]["trial"], None, None)
    assert problem(house.client.get(f"{PATH}/file"), 409)["detail"].endswith("its file comes when it is complete.")
    worker.export_onnx(a)
    found = asked(house, 200)
    assert found == house.get(PATH)
    assert (found["state"], found["rows"], found["difference"], found["attempt"]) == ("complete", 15, 2e-7, 1)
    assert (found["study"], found["trial"]) == ("s1", study["best"]["trial"])
    file = house.client.get(found["file"]["url"])
    assert hashlib.sha256(file.content).hexdigest() == found["file"]["sha256"] == file.headers["X-Content-SHA256"]
    with tarfile.open(fileobj=io.BytesIO(file.content)) as tar:
        assert "onnx/model.onnx" in tar.getnames()
    (kept,) = stored(house) - before
    assert kept.endswith("/onnx.tar.gz"), "the packed model goes once the file is made"
    assert house.study() == study, "an ONNX file changes nothing of its study, nor what it cost"
    now = [0.0]
    orphans = Orphans(house.core, lambda: now[0])
    for now[0] in (0.0, 1_000.0, 2_000.0):
        orphans.sweep()
    assert house.client.get(f"{PATH}/file").content == file.content
    assert house.client.delete(PATH).status_code == 204
    problem(house.client.get(PATH), 404)
    problem(house.client.delete(PATH), 404)
    assert stored(house) == before
    assert worker.claim() is None
    assert told(house) == changes, "it is no event of its study"


def test_what_fails_is_told_and_made_anew_when_asked_again(house: Running, worker: ScriptedWorker) -> None:
    house.finished(budget={"trials": 1})
    asked(house)
    dead = worker.take(AssignmentKind.ONNX)
    house.move_clock(31)
    house.reap()
    assert house.get(PATH)["state"] == "queued"
    again = house.worker("w2").take(AssignmentKind.ONNX)
    with pytest.raises(Stale):
        worker.export_onnx(dead)
    said = {"message": "SwinModel cannot be written as an ONNX file."}
    house.worker("w2").finish(again, "failed", reason="bad_data", problem=said)
    assert (house.get(PATH)["state"], house.get(PATH)["error"]) == ("failed", said["message"])
    assert problem(house.client.get(f"{PATH}/file"), 409)["detail"].endswith("there is no file.")
    assert house.study()["state"] == "completed", "the study is not to blame"
    assert asked(house)["state"] == "queued"
    worker.finish(worker.take(AssignmentKind.ONNX))
    assert house.get(PATH)["error"] == "The worker ended without an ONNX file.", "an end without a file is none"
    asked(house)
    held = worker.take(AssignmentKind.ONNX)
    assert house.client.delete(PATH).status_code == 204
    with pytest.raises(Stale):
        worker.renew(held)
    asked(house)
    held = worker.take(AssignmentKind.ONNX)
    assert house.client.delete("/v1/studies/s1").status_code == 204
    with pytest.raises(Stale):
        worker.renew(held)
    assert stored(house) == set()


@pytest.mark.full
def test_another_winner_needs_another_file(house: Running, worker: ScriptedWorker) -> None:
    first = house.finished(budget={"trials": 1})
    asked(house)
    worker.drain()
    of_first = house.client.get(f"{PATH}/file").content
    worker.score = lambda params, step: first["best"]["value"] + 0.01 * step
    house.client.post("/v1/studies/s1/extend", json={"budget": {"trials": 2}}).raise_for_status()
    assert house.get(PATH)["trial"] == first["best"]["trial"], "that of the model that is kept meanwhile"
    worker.drain()
    worker.drain()
    assert house.study()["best"]["trial"] != first["best"]["trial"]
    problem(house.client.get(PATH), 404)
    asked(house)
    worker.drain()
    assert house.client.get(f"{PATH}/file").content != of_first
    assert sum(name.endswith("onnx.tar.gz") for name in stored(house)) == 1, "that of the winner before is gone"


def test_what_has_no_onnx_file_is_refused(house: Running) -> None:
    house.create("young")
    assert "no winner to export: it is queued" in problem(house.client.post("/v1/studies/young/onnx"), 409)["detail"]
    problem(house.client.post("/v1/studies/nowhere/onnx"), 404)
    house.client.post("/v1/studies", json=external.document()).raise_for_status()
    assert "its trainer is its user's own" in problem(house.client.post("/v1/studies/tuning/onnx"), 409)["detail"]
    for task, why in (
        ("text-generation", "write token by token"),
        ("text2text-generation", "write token by token"),
        ("object-detection", "code that no ONNX file holds"),
    ):
        house.create(task, task=task, objective={"metric": "loss", "direction": "minimize"})
        detail = problem(house.client.post(f"/v1/studies/{task}/onnx"), 409)["detail"]
        assert why in detail
        assert f"`luthier model {task}`" in detail


def test_the_client_puts_it_into_a_new_directory_or_the_winners(
    house: Running, worker: ScriptedWorker, tmp_path: Path
) -> None:
    house.finished(budget={"trials": 1})
    with Client(str(house.client.base_url)) as client:
        with pytest.raises(ServiceError, match="Nobody has asked"):
            client.onnx("s1")
        client.start_onnx("s1")
        with pytest.raises(TimeoutError, match="ONNX file of s1 has not ended"):
            client.export_onnx("s1", tmp_path / "new", timeout_seconds=0)
        worker.drain()
        assert client.export_onnx("s1", tmp_path / "new") == tmp_path / "new"
        winner = client.download_model("s1", tmp_path / "winner")
        before = {file.name for file in winner.iterdir()}
        for _ in range(2):  # a second time takes its place
            client.export_onnx("s1", winner)
            assert {file.name for file in winner.iterdir()} == before | {"onnx"}
        graph = (winner / "onnx/model.onnx").read_bytes()
        assert graph == (tmp_path / "new/onnx/model.onnx").read_bytes()
        (winner / "luthier.json").write_text("{}")
        for taken in (tmp_path, winner):
            with pytest.raises(FileExistsError):
                client.export_onnx("s1", taken)
        assert (winner / "onnx/model.onnx").read_bytes() == graph
        client.delete_onnx("s1")
        client.start_onnx("s1")
        worker.finish(worker.take(AssignmentKind.ONNX), "failed", problem={"message": "It differs from torch."})
        with pytest.raises(ServiceError, match="It differs from torch"):
            OnnxWait("s1", None, 1.0).is_over(client.onnx("s1"))


@pytest.mark.full
@pytest.mark.both_databases
@pytest.mark.parametrize("place", ["before the model is linked", "before the files go"])
def test_a_request_that_is_killed_is_done_whole_or_not_at_all(
    house: Running, worker: ScriptedWorker, place: str
) -> None:
    house.finished(budget={"trials": 1})
    before = stored(house)
    fails = place == "before the files go"
    if fails:
        asked(house)
        worker.finish(worker.take(AssignmentKind.ONNX), "failed")
    assert exit_code_of(house.settings.home, house.settings.sqlalchemy_url, place, "onnx") == -signal.SIGKILL
    if fails:
        assert house.get(PATH)["state"] == "queued"
    else:
        problem(house.client.get(PATH), 404)
        assert stored(house) == before
        asked(house)
    worker.drain()
    assert house.get(PATH)["state"] == "complete"
