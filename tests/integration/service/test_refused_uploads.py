"""Uploads that are refused, cut off, or find no room: a sentence each, and nothing is left."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.archives_of_data import tarred, zipped
from tests.support.harness import Running, paths, problem, running
from tests.support.raw_http import answer, dialled, head
from tests.support.small_disk import small_disk
from tests.support.uploads import BOUNDARY, CSV, START, stored, upload


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A service that takes little, for what is refused."""
    with running(tmp_path_factory.mktemp("home"), None, dataset_max_bytes=200_000) as house:
        yield house


REFUSED = {
    "climbs out": ("a.zip", zipped({"../x": b"1"}), 422, "lies outside"),
    "a link": ("a.tar.gz", tarred({"a": b"1"}, l=b"2"), 422, "a link or a device"),
    "damaged bz2": ("a.tar.bz2", b"BZh9" + bytes(60), 422, "cannot be unpacked"),
    "a name that no disk takes": ("a.tar", tarred({"/".join(["x" * 255] * 16): b"1"}, "w"), 422, "cannot be unpacked"),
    "damaged": ("a.zip", b"PK\3\4", 422, "cannot be unpacked"),
    "explodes": ("a.zip", zipped({"a.csv": b"0" * 300_000}), 413, "unpacks to more than 200,000 bytes"),
    "no data": ("a.exe", b"1", 422, "is of no kind that is read. Tables: csv"),
    "no name": ("noending", b"1", 422, "is of no kind"),
    "empty": ("a.csv", b"", 422, "is empty"),
    "too large": ("a.csv", b"x" * 200_001, 413, "at most 200,000 bytes (LUTHIER_DATASET_MAX_BYTES)"),
}


@pytest.mark.full
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
