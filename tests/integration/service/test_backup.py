"""A home is backed up while its service works, and goes on elsewhere: nothing is lost that a row names."""

import json
import os
import signal
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from luthier.service.server import backup as backups
from luthier.service.server import restore as restoring
from luthier.service.server.app import Tokens
from luthier.service.server.backup import BackupError, back_up
from luthier.service.server.home import HomeLock, HomeServed
from luthier.service.server.restore import restore, verify
from luthier.service.settings import Settings
from luthier.service.storage.dataset_store import DatasetStore
from luthier.service.storage.file_store import FileStore
from luthier.studies.protocol import AssignmentKind
from tests.support.command_line import COMMAND, without_luthier
from tests.support.harness import Running, ScriptedWorker, Stale, running
from tests.support.served import serving
from tests.support.several_services import FORKS
from tests.support.uploads import upload
from tests.support.waiting import until


def settings_of(home: Path) -> Settings:
    return Settings(home=home, fleet="none", port=0)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A service with an ended study, its predictions and an uploaded data set; tests here only back it up."""
    home = tmp_path_factory.mktemp("kept") / "home"
    with running(home, None, Tokens("a-secret-of-the-users", "a-secret-of-the-workers")) as house:
        house.create("s1", budget={"trials": 2})
        house.worker().drain()
        house.client.post("/v1/studies/s1/predict", content=b"text\na\n", headers={"Content-Type": "text/csv"})
        house.worker().drain()
        upload(house)
        (home / "data").mkdir()
        (home / "data" / "rows.csv").write_text("text,label\n")
        yield house


@pytest.mark.parametrize("name", ["folder", pytest.param("one.tar", marks=pytest.mark.full)])
def test_a_backup_is_the_home_and_becomes_one(kept: Running, tmp_path: Path, name: str) -> None:
    target, home = tmp_path / name, tmp_path / "new"
    report = back_up(kept.settings, target)
    assert report.faults == []
    assert verify(target) == restore(settings_of(home), target)
    original = kept.core.store.root
    for path in (path for path in original.rglob("*") if path.is_file() and path.name != ".mark"):
        assert (home / "store" / path.relative_to(original)).read_bytes() == path.read_bytes()
    assert (home / "data" / "rows.csv").read_text() == "text,label\n"
    with running(home, None) as house:
        before, after = kept.get("/v1/studies/s1"), house.get("/v1/studies/s1")
        assert after == before
        model = house.client.get("/v1/studies/s1/model")
        assert model.headers["X-Content-SHA256"] == after["model"]["sha256"]
        assert len(house.get("/v1/datasets")["items"]) == 1
        house.client.post("/v1/studies/s1/extend", json={"budget": {"trials": 4}}).raise_for_status()
        house.worker().drain()
        house.worker().drain()
        assert (house.study()["state"], house.study()["counts"]["complete"]) == ("completed", 4)


def test_a_file_with_two_names_is_stored_once_and_no_secret_at_all(kept: Running, tmp_path: Path) -> None:
    target = tmp_path / "one.tar"
    back_up(kept.settings, target, with_data=False)
    assert target.stat().st_mode & 0o077 == 0
    with tarfile.open(target) as tar:
        entries = tar.getmembers()
    assert not [entry for entry in entries if entry.name.startswith("data/")]
    assert [entry for entry in entries if entry.islnk()], "an uploaded table lies in the store under two names"
    content = target.read_bytes()
    assert kept.tokens.user is not None
    for secret in (kept.tokens.user, kept.tokens.worker, kept.tokens.fleet):
        assert secret is not None
        assert secret.encode() not in content


def damage(target: Path) -> None:
    model = next(target.rglob("model.tar.gz"))
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1
    model.write_bytes(content)


def remove(target: Path) -> None:
    next(target.rglob("best-*")).unlink()


def shorten(target: Path) -> None:
    os.truncate(target / "luthier.db", 8192)


def lead_outside(target: Path) -> None:
    manifest = json.loads((target / "manifest.json").read_text())
    manifest["files"][1]["path"] = "store/../../escaped"
    (target / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("hurt", "words"),
    [
        (damage, "missing or damaged"),
        pytest.param(remove, "missing or damaged", marks=pytest.mark.full),
        pytest.param(shorten, "damaged", marks=pytest.mark.full),
        (lead_outside, "outside"),
    ],
)
def test_a_damaged_backup_is_refused_before_anything_is_restored(
    kept: Running, tmp_path: Path, hurt: Any, words: str
) -> None:
    target, home = tmp_path / "backup", tmp_path / "new"
    back_up(kept.settings, target)
    hurt(target)
    with pytest.raises(BackupError, match=words):
        verify(target)
    with pytest.raises(BackupError, match=words):
        restore(settings_of(home), target)
    assert not (home / "luthier.db").exists()
    assert not (home / "store").exists()


def test_what_is_not_possible_is_refused_in_a_sentence(kept: Running, tmp_path: Path) -> None:
    target, other = tmp_path / "backup", tmp_path / "other"
    back_up(kept.settings, target)
    with pytest.raises(BackupError, match="exists already"):
        back_up(kept.settings, target)
    with pytest.raises(BackupError, match="lies in the store"):
        back_up(kept.settings, kept.core.store.root / "backup")
    with pytest.raises(BackupError, match="holds no studies"):
        back_up(settings_of(other), tmp_path / "none")
    postgres = Settings(home=other, database_url=SecretStr("postgresql://u:p4ss@host/db"))
    for call in (lambda: back_up(postgres, tmp_path / "none"), lambda: restore(postgres, target)):
        with pytest.raises(BackupError, match="pg_dump") as caught:
            call()
        assert "p4ss" not in str(caught.value)
    with pytest.raises(BackupError, match="the home has studies"):
        restore(kept.settings, target)
    lock = HomeLock(other)
    with pytest.raises(HomeServed):
        restore(settings_of(other), target)
    lock.close()
    (tmp_path / "junk.tar").write_bytes(b"no archive")
    for junk in (tmp_path / "junk.tar", other):
        with pytest.raises(BackupError, match="is no backup"):
            verify(junk)
    restore(settings_of(other), target)


@contextmanager
def at_work(house: Running, workers: int) -> Iterator[list[str]]:
    """Have workers train until the block ends; the list gets what was wrong."""
    stop, wrong = threading.Event(), []

    def work(worker: ScriptedWorker) -> None:
        while not stop.is_set():
            try:
                if (a := worker.claim(0.05)) is not None:
                    worker.work(a)
            except (Stale, FileNotFoundError):
                continue
            except Exception as error:
                wrong.append(repr(error))

    threads = [threading.Thread(target=work, args=[house.worker(f"w{i}")]) for i in range(workers)]
    for thread in threads:
        thread.start()
    try:
        yield wrong
    finally:
        stop.set()
        for thread in threads:
            thread.join(30)


@pytest.mark.full
def test_backups_of_a_busy_home_lack_no_file_that_a_row_names(tmp_path: Path) -> None:
    """Checkpoints come and go all the time; a copy of the database and then of the files would lack some."""
    home = tmp_path / "home"
    with running(home, None) as house, at_work(house, 3) as wrong:
        for number in range(8):
            house.create(f"s{number}", parallel=3, budget={"trials": 400})
        until(lambda: len(list(house.core.store.root.glob("*-*"))) > 20, 60)
        for number in range(8):
            target = tmp_path / f"backup-{number}"
            report = back_up(house.settings, target)
            assert report.faults == []
            house.client.post(f"/v1/studies/s{number}/cancel").raise_for_status()
            house.client.delete(f"/v1/studies/s{number}")
        assert not [path for path in house.core.store.root.iterdir() if path.name.startswith(".upload")]
    assert wrong == []
    verify(target)


@pytest.mark.full
@pytest.mark.commands
def test_a_study_that_ran_when_it_was_backed_up_goes_on_elsewhere_to_its_exact_budget(tmp_path: Path) -> None:
    """Two services, a process each, and the commands between them; the first one goes on, too."""
    home, new, target = tmp_path / "home", tmp_path / "new", tmp_path / "backup.tar"
    for folder in (home, new):
        folder.mkdir()
    settings = {"LUTHIER_LEASE_SECONDS": "1", "LUTHIER_HOME": str(home)}
    with serving(settings) as first:
        created = first.client.post("/v1/studies", json=study("s1", parallel=2))
        assert created.status_code == 201
        worker = ScriptedWorker(str(first.client.base_url))
        worker.inspect(worker.take(AssignmentKind.INSPECT))
        worker.train(worker.take())
        held = [worker.take(), worker.take()]
        worker.train(held[0], steps=1)
        command = [*COMMAND, "backup", str(target), "--verify"]
        environment = without_luthier() | settings
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        assert "is whole" in done.stderr
        refused = subprocess.run(
            [*COMMAND, "restore", str(target)], env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert refused.returncode == 1
        assert "is served already" in refused.stderr
        settings["LUTHIER_HOME"] = str(new)
        subprocess.run([*COMMAND, "restore", str(target)], env=without_luthier() | settings, timeout=60, check=True)
        with serving(settings) as second:
            for service in (second, first):
                drain(str(service.client.base_url), service)
                ended = service.ended("s1")
                assert ended["state"] == "completed"
                assert (ended["counts"]["complete"], len(service.trials("s1"))) == (6, 6)
                assert service.client.get("/v1/studies/s1/model").is_success
            one = [trial for trial in second.trials("s1") if trial["number"] == held[0].number]
            assert one[0]["attempt"] == 2, "it went on from its evaluation"
        worker.client.close()


def study(name: str, **changes: Any) -> dict[str, Any]:
    from tests.support.harness import spec

    return spec(name, budget={"trials": 6}, **changes)


def drain(url: str, service: Any) -> None:
    """Work until the study has ended; the trials of workers that are gone come back after their leases."""
    worker = ScriptedWorker(url, "later")
    until(lambda: _drained(worker, service), 30)
    worker.client.close()


def _drained(worker: ScriptedWorker, service: Any) -> bool:
    worker.drain(0.2)
    return service.study("s1")["finished_at"] is not None


def stop_while_it_writes(home: Path, target: Path) -> None:
    """Back up, and kill this process once the files are pinned."""
    setattr(backups, "writing", lambda *_: os.kill(os.getpid(), signal.SIGKILL))  # noqa: B010
    back_up(settings_of(home), target)


@pytest.mark.full
def test_a_killed_backup_leaves_nothing_that_lasts(kept: Running, tmp_path: Path) -> None:
    process = FORKS.Process(target=stop_while_it_writes, args=(kept.settings.home, tmp_path / "backup"), daemon=True)
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    store = FileStore(kept.core.store.root)
    assert [path for path in store.root.iterdir() if path.name.startswith(".upload")]
    DatasetStore(store.root).sweep()
    assert not [path for path in store.root.iterdir() if path.name.startswith(".upload")]
    assert not (tmp_path / "backup").exists()
    assert back_up(kept.settings, tmp_path / "backup").faults == []


def stop_before_the_database(source: Path, home: Path) -> None:
    """Restore, and kill this process before the database takes its place."""
    setattr(restoring, "sync_file", lambda *_: os.kill(os.getpid(), signal.SIGKILL))  # noqa: B010
    restore(settings_of(home), source)


@pytest.mark.full
def test_a_killed_restore_leaves_no_database_and_can_be_repeated(kept: Running, tmp_path: Path) -> None:
    target, home = tmp_path / "backup", tmp_path / "new"
    back_up(kept.settings, target)
    process = FORKS.Process(target=stop_before_the_database, args=(target, home), daemon=True)
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert not (home / "luthier.db").exists()
    restore(settings_of(home), target)
    with running(home, None) as house:
        assert house.client.get("/v1/studies/s1/model").is_success
