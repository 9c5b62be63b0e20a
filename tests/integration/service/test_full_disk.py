"""A full disk of the store or of the database: nobody's trial comes to harm, and everything goes on by itself."""

import errno
import logging
import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from sqlalchemy import event, select, text
from sqlalchemy.exc import OperationalError

from luthier.service.storage.database import Database
from luthier.service.storage.disk_room import DiskRoom
from luthier.service.storage.file_store import FileStore
from luthier.service.storage.tables import AssignmentRow
from luthier.studies.disk import default_reserve, disk_of, free_bytes
from luthier.studies.protocol import Decision
from tests.support.harness import Running, ScriptedWorker, held, problem, running
from tests.support.small_disk import SmallDisk, small_disk
from tests.support.tiers import a_few
from tests.support.waiting import until

LEASE = 1.0  # seconds
LEASES = 2.5  # for so many the disk is full


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk", 16) as disk:
        yield disk


def losses(house: Running) -> int:
    with house.core.database.reading() as session:
        return sum(session.scalars(select(AssignmentRow.losses)))


@pytest.mark.full
def test_a_full_store_is_waited_for(disk: SmallDisk, database_url: str) -> None:
    with running(disk.folder / "home", database_url, lease_seconds=LEASE) as house:
        living, silent, idle = house.worker("living"), house.worker("silent"), house.worker("idle")
        house.started(living, parallel=3)
        a, b = living.take(), silent.take()
        disk.fill()
        until(lambda: living.renew(a) and house.get("/readyz") == {"status": "ok", "disk": "full"})
        end = time.monotonic() + LEASES * LEASE
        while time.monotonic() < end:
            answer = living.post("renew", **held(a), log="first\nsecond\n").json()
            assert answer["decision"] == Decision.CONTINUE
            assert idle.claim() is None
            time.sleep(LEASE / 3)
        (warning,) = house.study()["warnings"]
        assert str(house.core.store.root) in warning
        assert f"the disk of {disk.folder}, with " in warning
        assert "luthier_disk_full 1.0" in house.client.get("/metrics").text
        assert [trial["state"] for trial in house.trials()] == ["running", "running"]
        disk.free()
        silent.renew(b)  # as a worker does that could not send while it waited for the disk
        assert until(idle.claim) is not None
        living.train(a)
        silent.train(b)
        assert losses(house) == 0
        assert house.study()["warnings"] == []
        assert house.get("/readyz") == {"status": "ok"}
        log = house.client.get("/v1/studies/s1/trials/0/logs").text
        living.client.post("/v1/studies/s1/cancel")
    assert re.search(r"up to \d+ lines lost here", log)


@pytest.mark.full
def test_a_full_disk_of_sqlite_is_waited_for(disk: SmallDisk) -> None:
    with running(disk.folder / "home", None, lease_seconds=LEASE) as house:
        worker, other = house.worker("w1"), house.worker("w2")
        house.started(worker)
        a = worker.take()
        disk.fill()
        end = time.monotonic() + LEASES * LEASE
        answers = []
        while time.monotonic() < end:
            answers.append(worker.client.post("/v1/worker/renew", json=held(a)))
            assert other.claim() is None or answers[-1].status_code == 200
            time.sleep(LEASE / 3)
        detail = problem(answers[-1], 503)["detail"]
        assert str(disk.folder / "home" / "luthier.db") in detail
        assert f"the disk of {disk.folder}, with " in detail
        assert answers[-1].headers["Retry-After"] == "1"
        disk.free()
        until(lambda: house.get("/readyz") == {"status": "ok"})
        time.sleep(LEASE / 2)  # the deadline was long ago
        assert worker.renew(a) is Decision.CONTINUE
        worker.train(a)
        assert losses(house) == 0
        assert other.claim() is not None


@pytest.mark.parametrize("number", a_few(2, [errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EROFS, errno.EACCES]))
def test_a_log_that_cannot_be_written_fails_no_message(
    house: Running,
    worker: ScriptedWorker,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    number: int,
) -> None:
    house.started(worker)
    a = worker.take()

    def fails(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    def deadline() -> float:
        with house.core.database.reading() as session:
            return session.get_one(AssignmentRow, a.id).deadline or 0.0

    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING, "luthier"):
        patch.setattr(FileStore, "append_log", fails)
        granted = deadline()
        worker.post("renew", **held(a), log="one line\n")
        renewed = deadline()
        worker.report(a, 1, 0.5, log="another\nand one more\n")
        assert granted < renewed < deadline()
    assert len([line for line in caplog.messages if "are lost" in line]) == 1, "one line an outage"
    worker.post("renew", **held(a), log="again\n")
    log = house.client.get("/v1/studies/s1/trials/0/logs").text
    assert "up to 3 lines lost here" in log
    assert log.endswith("again\n")
    with monkeypatch.context() as patch:
        patch.setattr(FileStore, "append_log", fails)
        worker.finish(a, log="the last\n")
    assert house.trials()[0]["state"] == "complete"


@pytest.mark.full
def test_work_stops_before_the_disk_is_full_and_goes_on_by_itself(disk: SmallDisk, database_url: str) -> None:
    with running(disk.folder / "home", database_url, disk_reserve="6MiB") as house:
        worker, idle = house.worker("w1"), house.worker("w2")
        house.started(worker)
        a = worker.take()
        ballast = disk.folder / "more"
        ballast.write_bytes(b"x" * (free_bytes(disk.folder) - 5 * 2**20))
        until(lambda: house.get("/readyz") == {"status": "ok", "disk": "low"})
        assert idle.claim() is None
        (warning,) = house.study()["warnings"]
        assert "LUTHIER_DISK_RESERVE" in warning
        assert f"the disk of {disk.folder}, with " in warning
        metrics = house.client.get("/metrics").text
        assert "luthier_disk_low 1.0" in metrics
        assert "luthier_disk_full 0.0" in metrics
        assert 'luthier_disk_reserve_bytes{disk="store"} 6.291456e+06' in metrics
        worker.train(a)
        assert house.trials()[0]["state"] == "complete", "what runs ends as ever"
        os.truncate(ballast, ballast.stat().st_size - (6 * 2**20 + 2**18 - free_bytes(disk.folder)))
        house.core.room._looked = -10.0
        assert house.get("/readyz")["disk"] == "low", "a little more than the reserve must be free"
        ballast.unlink()
        until(lambda: house.get("/readyz") == {"status": "ok"})
        assert house.study()["warnings"] == []
        assert idle.claim() is not None


def test_the_reserve_suits_the_disk_where_nobody_set_it(disk: SmallDisk, monkeypatch: pytest.MonkeyPatch) -> None:
    assert default_reserve(disk.folder) == 16 * 2**20 // 20
    for gibibytes, reserve in ((10, 0.5), (40, 1.0), (100, 2.0), (10_000, 10.0)):
        whole = SimpleNamespace(f_blocks=gibibytes * 2**18, f_frsize=2**12)
        monkeypatch.setattr("luthier.studies.disk.os.statvfs", lambda folder, whole=whole: whole)
        assert default_reserve(disk.folder) == reserve * 2**30


def test_a_process_that_a_full_disk_killed_is_no_loss(
    house: Running, worker: ScriptedWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.started(worker)
    a = worker.take()
    monkeypatch.setattr(DiskRoom, "problem", lambda room: "full")
    worker.finish(a, "lost", problem={"message": "The child was killed by signal 7."})
    assert house.trials()[0]["state"] == "queued"
    assert losses(house) == 0


@pytest.mark.full
def test_files_over_http_wait_for_room(disk: SmallDisk, database_url: str) -> None:
    with running(disk.folder / "home", database_url) as house:
        worker = house.worker()
        house.started(worker)
        a = worker.take()
        disk.fill()
        url = f"/v1/worker/files/{a.id}/best"
        headers = {"X-Lease-Token": a.token, "X-Content-SHA256": "0" * 64}
        answer = worker.client.put(url, content=b"x" * 2**20, headers=headers)
        assert str(house.core.store.root) in problem(answer, 503)["detail"]
        disk.free()
        assert worker.client.put(url, content=b"x" * 2**20, headers=headers).status_code == 422, "only the checksum"


def test_a_database_at_its_own_limit_is_full_until_it_is_raised(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'luthier.db'}")
    database.prepare()
    database.dispose()
    pages = 1

    @event.listens_for(database.engine, "checkout")
    def limit(connection: object, *_: object) -> None:
        connection.execute(f"PRAGMA max_page_count={pages}")  # type: ignore[attr-defined]

    room = DiskRoom(tmp_path, database)
    assert room.problem() is None
    with pytest.raises(OperationalError), database.transaction() as session:
        session.execute(text("CREATE TABLE more (filler TEXT)"))
        session.execute(text("INSERT INTO more VALUES (:filler)"), {"filler": "x" * 2**20})
    for _ in range(2):
        found = room.problem()
        assert found is not None
        assert found.startswith(f"The database {tmp_path / 'luthier.db'} is full")
        room._looked = -10.0
    pages = 2**30
    assert room.problem() is None
    database.dispose()


def test_a_full_disk_of_postgres_is_known_until_there_is_room(postgres_url: object, tmp_path: Path) -> None:
    import tempfile

    import sqlalchemy

    url = postgres_url()  # type: ignore[operator]
    admin = sqlalchemy.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sqlalchemy.NullPool)
    with (
        tempfile.TemporaryDirectory(prefix="luthier-tablespace-") as folder,
        small_disk(Path(folder, "disk"), 16) as disk,
        admin.connect() as connection,
    ):
        owner = Path(str(connection.scalar(text("SHOW data_directory")))).stat()
        Path(folder).chmod(0o755)
        space = disk.folder / "space"
        space.mkdir(mode=0o700)
        os.chown(space, owner.st_uid, owner.st_gid)
        connection.execute(text(f"CREATE TABLESPACE small LOCATION '{space}'"))
        database = Database(url)
        try:

            @event.listens_for(database.engine, "checkout")
            def small(own: object, *_: object) -> None:
                own.execute("SET default_tablespace = small")  # type: ignore[attr-defined]
                own.commit()  # type: ignore[attr-defined]

            room = DiskRoom(tmp_path, database)
            assert room.problem() is None
            disk.fill()
            with pytest.raises(OperationalError) as raised, database.transaction() as session:
                session.execute(text("CREATE TABLE more (filler TEXT)"))
            assert room.note(raised.value) is not None
            found = room.problem()
            assert found is not None
            assert "database server" in found
            assert "is full" in found
            disk.free()
            room._looked = -10.0
            assert room.problem() is None
        finally:
            database.dispose()
            connection.execute(text("DROP TABLESPACE small"))
    admin.dispose()


def test_a_disk_that_became_read_only_is_named_as_such(disk: SmallDisk, tmp_path: Path) -> None:
    room = DiskRoom(disk.folder, Database(f"sqlite:///{tmp_path / 'luthier.db'}"))
    subprocess.run(["mount", "-o", "remount,ro", str(disk.folder)], check=True)
    room.note_store()
    found = room.problem()
    assert found is not None
    assert f"The folder {disk.folder} cannot be written (Read-only file system)" in found
    assert found.endswith("Make it writable again; everything goes on by itself then.")
    subprocess.run(["mount", "-o", "remount,rw", str(disk.folder)], check=True)
    room._looked = -10.0
    assert room.problem() is None


def test_a_disk_that_can_hold_no_more_files_is_told_as_such(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", megabytes=2, files=4) as disk:
        assert "MB free" in disk_of(disk.folder / "a")
        for name in "abc":
            (disk.folder / name).touch()
        assert free_bytes(disk.folder) == 0
        assert "no more files (it has no free inodes)" in disk_of(disk.folder / "a")
