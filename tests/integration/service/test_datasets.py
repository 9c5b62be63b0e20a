"""Uploaded data sets over REST: whole or not at all, once for the same content, kept while they are used."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Connection

from luthier.service.dispatch.orphans import Orphans
from luthier.service.server.app import Tokens, build_core
from luthier.service.storage.dataset_store import DatasetStore
from luthier.studies.protocol import Assignment, AssignmentKind
from tests.support.archives_of_data import pictures, tarred, zipped
from tests.support.harness import Running, ScriptedWorker, paths, problem, running, spec
from tests.support.nightly import schedule
from tests.support.raw_http import answer, dialled, head
from tests.support.small_disk import small_disk

CSV = b"text,label\n" + b"".join(b"row %d,%s\n" % (i, b"ab"[i % 2 : i % 2 + 1]) for i in range(40))
BOUNDARY = "multipart/form-data; boundary=abc"
START = b'--abc\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\n'


def upload(house: Running, content: bytes = CSV, file: str = "a.csv", status: int = 201, **data: str) -> dict[str, Any]:
    response = house.client.post("/v1/datasets", files={"file": (file, content)}, data=data)
    assert response.status_code == status, response.text
    return dict(response.json())


def stored(house: Running) -> list[str]:
    """Names in the store, of what is there and of what uploads may have left."""
    return sorted(path.name for path in house.core.store.root.iterdir() if path.name != ".mark")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A service that takes little, for what is refused."""
    with running(tmp_path_factory.mktemp("home"), None, dataset_max_bytes=200_000) as house:
        yield house


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
def test_the_same_content_is_one_data_set_also_at_once(house: Running) -> None:
    ids: list[str] = []
    gate = threading.Barrier(3)

    def send() -> None:
        gate.wait(20)
        response = house.client.post("/v1/datasets", files={"file": ("a.csv", CSV)})
        ids.append(f"{response.status_code} {response.json()['id']}")

    threads = [threading.Thread(target=send) for _ in range(3)]
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


REFUSED = {
    "climbs out": ("a.zip", zipped({"../x": b"1"}), 422, "lies outside"),
    "a link": ("a.tar.gz", tarred({"a": b"1"}, l=b"2"), 422, "a link or a device"),
    "damaged": ("a.zip", b"PK\3\4", 422, "cannot be unpacked"),
    "explodes": ("a.zip", zipped({"a.csv": b"0" * 300_000}), 413, "unpacks to more than 200,000 bytes"),
    "no data": ("a.exe", b"1", 422, "is of no kind that is read. Tables: csv"),
    "no name": ("noending", b"1", 422, "is of no kind"),
    "empty": ("a.csv", b"", 422, "is empty"),
    "too large": ("a.csv", b"x" * 200_001, 413, "at most 200,000 bytes (LUTHIER_DATASET_MAX_BYTES)"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_used_is_told_and_leaves_nothing(small: Running, name: str) -> None:
    file, content, status, told = REFUSED[name]
    response = small.client.post("/v1/datasets", files={"file": (file, content)})
    assert told in problem(response, status)["detail"]
    assert stored(small) == []


def test_forms_that_are_wrong_are_told(small: Running) -> None:
    post = small.client.post
    problem(post("/v1/datasets", json={}), 415)
    assert "has no file" in problem(post("/v1/datasets", files={"name": (None, "x")}), 422)["detail"]
    two = [("file", ("a.csv", CSV)), ("file", ("b.csv", CSV))]
    assert paths(post("/v1/datasets", files=two)) == {"file"}
    assert paths(post("/v1/datasets", files={"file": ("a.csv", CSV)}, data={"name": "a\nb"})) == {"name"}
    assert paths(post("/v1/datasets", files={"file": ("a.csv", CSV)}, data={"name": "x" * 201})) == {"name"}
    assert "none called 'more'" in problem(post("/v1/datasets", files={"more": ("a.csv", CSV)}), 422)["detail"]
    cut = post("/v1/datasets", content=START + CSV, headers={"Content-Type": BOUNDARY})
    assert "cut off" in problem(cut, 422)["detail"]
    no_form = post("/v1/datasets", content=b"text,label", headers={"Content-Type": BOUNDARY})
    assert "cannot be read" in problem(no_form, 422)["detail"]
    assert stored(small) == []
    assert small.get("/v1/datasets")["items"] == []


def test_two_gigabytes_are_refused_before_they_are_sent_and_while_they_are(small: Running) -> None:
    form = {"Content_Type": BOUNDARY}
    with dialled(small) as line:
        line.sendall(head("POST", "/v1/datasets", Content_Length=str(2 * 10**9), **form))
        assert answer(line)[0] == 413
    with dialled(small) as line:
        line.sendall(head("POST", "/v1/datasets", Transfer_Encoding="chunked", **form))
        line.sendall(b"%x\r\n%s\r\n" % (len(START), START))
        status, chunk = 0, b"%x\r\n%s\r\n" % (65536, b"x" * 65536)
        for _ in range(6):  # 393 kB
            line.sendall(chunk)
        status, _ = answer(line)
        assert status == 413
    assert stored(small) == []


def test_an_upload_that_is_cut_off_leaves_nothing(house: Running) -> None:
    with dialled(house) as line:
        line.sendall(head("POST", "/v1/datasets", Content_Type=BOUNDARY, Content_Length="100000") + START + CSV)
        store, seen = house.core.store.root, threading.Event()

        def look() -> None:
            while not list(store.glob(".upload-*.files")):
                seen.wait(0.01)

        look()
    while any(store.glob(".upload-*")):
        seen.wait(0.01)
    assert house.get("/v1/datasets")["items"] == []


def test_a_full_disk_is_told_and_nothing_is_half_written(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 20) as disk, running(disk.folder / "home", None) as house:
        big = {"file": ("a.csv", b"x,y\n" * 2**20)}
        body = problem(house.client.post("/v1/datasets", files=big), 507)
        assert f"the disk of {disk.folder}" in body["detail"]
        assert stored(house) == []
        upload(house)
        disk.fill()
        problem(house.client.post("/v1/datasets", files={"file": ("b.csv", CSV + b"z,a\n")}), 507)
        assert len(stored(house)) == 1


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
    build_core(house.settings).database.dispose()
    assert not list(root.glob(".upload-*")), "also at a start"


@pytest.mark.both_databases
def test_an_upload_whose_commit_fails_leaves_no_row_and_can_be_sent_again(house: Running) -> None:
    fail = True

    @event.listens_for(house.core.database.engine, "commit")
    def _commit(_: Connection) -> None:
        if fail and stored(house):
            raise OSError("killed")

    response = house.client.post("/v1/datasets", files={"file": ("a.csv", CSV)})
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
