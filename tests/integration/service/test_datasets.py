"""Uploaded data sets over REST: whole or not at all, once for the same content, kept while they are used."""

import json
import threading
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Connection

from luthier.service.dispatch.orphans import Orphans
from luthier.service.server.app import Tokens, build_core
from luthier.service.storage.dataset_store import DatasetStore
from luthier.studies.protocol import Assignment, AssignmentKind
from tests.support.archives_of_data import pictures, zipped
from tests.support.harness import Running, ScriptedWorker, paths, problem, running, spec
from tests.support.nightly import schedule
from tests.support.uploads import CSV, stored, upload


@pytest.mark.both_databases
def test_one_is_stored_listed_shown_and_deleted(house: Running) -> None:
    table = upload(house, name="Réviews <b>")
    assert (table["name"], table["kind"], table["bytes"], table["file_count"]) == ("Réviews <b>", "csv", len(CSV), 1)
    assert table["source"] == f"dataset:{table['id']}"
    assert house.get(f"/v1/datasets/{table['id']}") == table
    folder = house.core.store.root / f"dataset-{table['id']}"
    assert (folder / "files" / "data.csv").read_bytes() == CSV
    images = upload(house, zipped(pictures(folder="pets/")), "pets.zip")
    assert [file["path"] for file in images["files"]][:2] == ["dark/0.png", "dark/1.png"]
    unpacked = sum(file["bytes"] for file in images["files"])
    metrics = house.client.get("/metrics").text
    assert "luthier_datasets 2.0" in metrics
    assert f"luthier_dataset_bytes {float(len(CSV) + images['bytes'] + unpacked)}" in metrics
    page = house.get("/v1/datasets?limit=1")
    assert page["items"] == [images | {"files": []}]
    assert house.get(f"/v1/datasets?cursor={page['next_cursor']}")["items"] == [table | {"files": []}]
    assert house.client.delete(f"/v1/datasets/{table['id']}").status_code == 204
    for call in (house.client.get, house.client.delete):
        assert "luthier dataset list" in problem(call(f"/v1/datasets/{table['id']}"), 404)["detail"]
    assert stored(house) == [f"dataset-{images['id']}"]


@pytest.mark.both_databases
def test_the_same_content_is_one_data_set_also_at_two_services_at_once(
    house: Running, database_url: str, tmp_path: Path
) -> None:
    ids: list[str] = []
    gate = threading.Barrier(3)

    def send(service: Running) -> None:
        gate.wait(20)
        response = service.client.post("/v1/datasets", files={"file": ("a.csv", CSV)})
        ids.append(f"{response.status_code} {response.json()['id']}")

    with running(tmp_path / "home", database_url) as second:
        threads = [threading.Thread(target=send, args=(service,)) for service in (house, second, house)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert len({text.split()[1] for text in ids}) == 1
    assert sorted(text.split()[0] for text in ids) == ["200", "200", "201"]
    again = house.client.post("/v1/datasets", files={"file": ("other.csv", CSV)}, data={"name": "other"})
    assert (again.status_code, again.json()["name"]) == (200, "a.csv")
    assert again.headers["location"] == f"/v1/datasets/{again.json()['id']}"
    other = upload(house, CSV, "a.txt")
    assert other["id"] != again.json()["id"], "what is read otherwise is another data set"
    assert len(house.get("/v1/datasets")["items"]) == 2


def test_one_whose_files_are_gone_is_healed_by_its_upload(house: Running) -> None:
    table = upload(house)
    file = house.core.store.root / f"dataset-{table['id']}" / "data.csv"
    file.unlink()
    assert upload(house, status=200) == table
    assert file.read_bytes() == CSV


@pytest.mark.both_databases
def test_what_killed_processes_left_is_swept(house: Running) -> None:
    root = house.core.store.root
    (root / ".upload-0123456789abcdef").touch()
    (root / ".upload-0123456789abcdef.files").mkdir()
    (root / ".upload-0123456789abcdef.files" / "data.csv").write_bytes(CSV)
    table, other = upload(house), upload(house, CSV + b"x,a\n")
    with house.core.database.transaction() as session:  # as a crash between the files and the row leaves it
        session.connection().exec_driver_sql(f"DELETE FROM luthier_dataset WHERE digest = '{table['id']}'")
    (root / f"dataset-{'0' * 16}").mkdir()
    (root / f"dataset-{'0' * 16}" / "number").write_text("999")  # of another database, by its number
    with DatasetStore(root).upload() as living:
        Orphans(house.core).sweep()
        assert living.is_dir(), "an upload that is under way stays"
    assert stored(house) == sorted([f"dataset-{'0' * 16}", f"dataset-{other['id']}"])
    (root / ".upload-fedcba9876543210").touch()
    build_core(house.settings).close()
    assert not list(root.glob(".upload-*")), "also at a start"


@pytest.mark.both_databases
def test_an_upload_whose_commit_fails_leaves_no_row_and_can_be_sent_again(house: Running) -> None:
    fail = True

    @event.listens_for(house.core.database.engine, "commit")
    def _commit(_: Connection) -> None:
        if fail and stored(house):
            raise OSError("killed")

    closing = {"Connection": "close"}  # the server closes it after such an error, perhaps before the next request
    response = house.client.post("/v1/datasets", files={"file": ("a.csv", CSV)}, headers=closing)
    assert response.status_code == 500
    fail = False
    assert house.get("/v1/datasets")["items"] == []
    assert [name for name in stored(house) if name.startswith(".")] == []
    table = upload(house)
    assert stored(house) == [f"dataset-{table['id']}"]


def data(source: Any) -> dict[str, Any]:
    return {"dataset": {"source": source}}


def nightly(source: Any) -> dict[str, Any]:
    """A schedule whose studies read this source."""
    document = schedule()
    document["study"] |= data(source)
    return document


@pytest.mark.both_databases
def test_one_that_is_used_stays(house: Running, worker: ScriptedWorker) -> None:
    table = upload(house)
    url = f"/v1/datasets/{table['id']}"
    house.started(worker, budget={"trials": 1}, **data(table["source"]))
    house.client.post("/v1/schedules", json=nightly({"train": table["source"]})).raise_for_status()
    assert house.get(url)["studies"] == ["s1"]
    assert house.get("/v1/datasets")["items"][0]["schedules"] == ["nightly"]
    detail = problem(house.client.delete(url), 409)["detail"]
    assert "the study s1 (running)" in detail
    assert "the schedule nightly" in detail
    worker.drain()
    assert house.study()["state"] == "completed"
    assert "nightly" in problem(house.client.delete(url), 409)["detail"]
    house.client.delete("/v1/schedules/nightly").raise_for_status()
    assert house.client.delete(url).status_code == 204
    again = house.client.post("/v1/studies", json=spec(budget={"trials": 1}, **data(table["source"])))
    assert again.status_code == 200, "the study stays, with its results"


def test_a_spec_names_what_is_there(house: Running) -> None:
    table = upload(house, zipped({"a/train.csv": CSV, "a/test.csv": CSV}), "a.zip")
    missing = "dataset:0123456789abcdef"
    for source, path in {
        missing: "dataset.source",
        "dataset:pets": "dataset.source",
        f"{table['source']}/validation.csv": "dataset.source",
        f"{table['source']}/../x": "dataset.source",
    }.items():
        for route in ("/v1/studies", "/v1/studies:plan"):
            assert paths(house.client.post(route, json=spec(**data(source)))) == {path}
    both = {"train": f"{table['source']}/train.csv", "test": missing}
    assert paths(house.client.post("/v1/studies", json=spec(**data(both)))) == {"dataset.source.test"}
    assert paths(house.client.post("/v1/schedules", json=nightly(missing))) == {"study.dataset.source"}
    assert house.get("/v1/studies")["items"] == []
    house.create(**data(both | {"test": f"{table['source']}/test.csv"}))


@pytest.mark.both_databases
def test_a_worker_gets_what_its_study_names_under_its_lease(house: Running, worker: ScriptedWorker) -> None:
    table, other = upload(house), upload(house, CSV + b"x,a\n")
    house.create(**data(table["source"]))
    a = worker.take(AssignmentKind.INSPECT)
    assert [(ref.id, ref.kind, ref.bytes) for ref in a.datasets] == [(table["id"], "csv", len(CSV))]

    def get(id: str, token: str = a.token) -> Any:
        return worker.client.get(f"/v1/worker/datasets/{a.id}/{id}", headers={"X-Lease-Token": token})

    response = get(table["id"])
    assert response.content == CSV
    assert response.headers["x-content-sha256"] == table["sha256"]
    for id in (other["id"], "0" * 16, "..%2F.mark", "%00"):
        problem(get(id), 404)
    problem(get(table["id"], "x" * 32), 409)
    house.create("s2")
    assert "datasets" not in json.loads(worker.take(AssignmentKind.INSPECT).model_dump_json())


def test_a_link_that_a_worker_planted_is_not_followed(house: Running, worker: ScriptedWorker) -> None:
    table = upload(house)
    house.create(**data(table["source"]))
    a: Assignment = worker.take(AssignmentKind.INSPECT)
    file = house.core.store.root / f"dataset-{table['id']}" / "data.csv"
    file.unlink()
    file.symlink_to("/etc/passwd")
    response = worker.client.get(f"/v1/worker/datasets/{a.id}/{table['id']}", headers={"X-Lease-Token": a.token})
    assert "not in the service's store" in problem(response, 404)["detail"]


def test_a_browser_uploads_with_its_cookie_from_our_pages_only(tmp_path: Path) -> None:
    with running(tmp_path / "home", None, Tokens("user-token-0123456789", None)) as house:
        login = house.anyone.post("/login", data={"token": "user-token-0123456789"})
        cookie = {"Cookie": f"luthier={login.cookies['luthier']}"}
        form: dict[str, Any] = {"files": {"file": ("a.csv", CSV)}}
        problem(house.anyone.post("/v1/datasets", **form, headers={"Cookie": ""}), 401)
        problem(house.anyone.post("/v1/datasets", **form, headers=cookie | {"Origin": "https://evil.example"}), 403)
        assert stored(house) == []
        assert house.anyone.post("/v1/datasets", **form, headers=cookie | {"Origin": house.url}).status_code == 201


def test_a_preview_tells_columns_classes_and_rows_in_two_splits(house: Running) -> None:
    table = upload(house, zipped({"train.csv": CSV, "test.csv": b"text,label\nrow 1,b\n<i>new</i>,\n"}), "a.zip")
    url = f"/v1/datasets/{table['id']}/preview"
    preview = house.get(url)
    train, test = preview["splits"]
    assert (train["split"], train["rows"], train["complete"], test["rows"]) == ("train", 40, True, 2)
    text, label = train["columns"]
    assert (text["kind"], text["distinct"], text["lengths"][0]["most"]) == ("text", 40, 6)
    assert label["values"] == [{"value": "a", "rows": 20}, {"value": "b", "rows": 20}]
    assert test["columns"][1]["missing"] == 1
    assert test["first"][1]["text"] == "<i>new</i>"
    assert preview["overlaps"] == [{"split": "train", "other": "test", "rows": 1}]
    assert preview["problem"] is None
    assert house.get(url) == preview
    problem(house.client.get("/v1/datasets/0123456789abcdef/preview"), 404)
