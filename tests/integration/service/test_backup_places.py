"""Backups that lie in odd places, come from other versions, or want to write elsewhere are told in a sentence."""

import hashlib
import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from luthier.service.server.app import Tokens
from luthier.service.server.backup import BackupError, back_up
from luthier.service.server.backup_archive import WORKPLACE, FolderWriter, identity_of, workplace, writing
from luthier.service.server.restore import restore, verify
from luthier.service.settings import Settings
from luthier.service.storage.database import Database
from luthier.service.storage.migrations import upgrade
from tests.support.harness import Running, running
from tests.support.uploads import upload


def settings_of(home: Path) -> Settings:
    return Settings(home=home, fleet="none", port=0)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A service with an uploaded data set and a folder of data; tests here only back it up."""
    home = tmp_path_factory.mktemp("kept") / "home"
    with running(home, None, Tokens("a-secret-of-the-users", "a-secret-of-the-workers")) as house:
        upload(house)
        (home / "data").mkdir()
        (home / "data" / "rows.csv").write_text("text,label\n")
        yield house


@pytest.fixture
def whole(kept: Running, tmp_path: Path) -> Path:
    """A backup that tests may change."""
    back_up(kept.settings, tmp_path / "whole")
    return tmp_path / "whole"


def with_files(backup: Path, change: Callable[[list[dict[str, object]]], None]) -> None:
    """Change what a backup's manifest says of its files."""
    manifest = json.loads((backup / "manifest.json").read_text())
    change(manifest["files"])
    (backup / "manifest.json").write_text(json.dumps(manifest))


def with_database(backup: Path, *statements: str) -> None:
    """Change the database of a backup, and its checksum in the manifest."""
    path = backup / "luthier.db"
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()
    content = path.read_bytes()

    def change(files: list[dict[str, object]]) -> None:
        (entry,) = (file for file in files if file["path"] == "luthier.db")
        entry |= {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}

    with_files(backup, change)


@pytest.mark.parametrize("name", ["data//{outside}", "data/./../{outside}", "{outside}", "store/"])
def test_a_backup_writes_nothing_outside_of_the_home(whole: Path, tmp_path: Path, name: str) -> None:
    outside, home = tmp_path / "outside", tmp_path / "new"
    (whole / "data" / outside.relative_to("/")).parent.mkdir(parents=True)
    (whole / "data" / outside.relative_to("/")).write_text("x")
    entry = {"path": name.format(outside=outside), "bytes": 1, "sha256": hashlib.sha256(b"x").hexdigest()}
    with_files(whole, lambda files: files.append(dict(entry)))
    with pytest.raises(BackupError, match="outside of it"):
        restore(settings_of(home), whole)
    assert not outside.exists()
    assert not (home / "luthier.db").exists()


def test_a_backup_leads_through_no_link_of_a_folder(whole: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "rows.csv").write_text("text,label\n")
    (whole / "data" / "rows.csv").unlink()
    (whole / "data").rmdir()
    (whole / "data").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BackupError, match="outside of it"):
        restore(settings_of(tmp_path / "new"), whole)


def test_a_backup_that_lists_no_database_is_none(whole: Path, tmp_path: Path) -> None:
    with_files(whole, lambda files: files.remove(next(file for file in files if file["path"] == "luthier.db")))
    with pytest.raises(BackupError, match=r"holds no luthier\.db"):
        restore(settings_of(tmp_path / "new"), whole)


def test_a_backup_of_a_newer_version_is_refused_with_the_version(whole: Path, tmp_path: Path) -> None:
    with_database(whole, "UPDATE luthier_alembic_version SET version_num = '9999'")
    with pytest.raises(BackupError, match=r"Luthier [0-9.]+ made this backup.*does not know"):
        restore(settings_of(tmp_path / "new"), whole)


def test_a_home_of_an_earlier_version_is_backed_up_as_it_is(kept: Running, tmp_path: Path) -> None:
    """Whoever is about to upgrade backs up first; the backup stays one that the earlier version can open."""
    home, target = tmp_path / "earlier", tmp_path / "backup"
    (home / "store").mkdir(parents=True)
    database = Database(f"sqlite:///{home / 'luthier.db'}")
    upgrade(database.engine, "0015")
    database.dispose()
    assert back_up(settings_of(home), target).faults == []
    verify(target)
    restore(settings_of(tmp_path / "new"), target)
    with closing(sqlite3.connect(tmp_path / "new" / "luthier.db")) as connection:
        assert connection.execute("SELECT version_num FROM luthier_alembic_version").fetchall() == [("0015",)]


def test_a_backup_is_read_without_a_trace(whole: Path, tmp_path: Path) -> None:
    def entries() -> list[tuple[str, int]]:
        return sorted((str(path), path.stat().st_mtime_ns) for path in [whole, *whole.rglob("*")])

    before = entries()
    verify(whole)
    restore(settings_of(tmp_path / "new"), whole)
    assert entries() == before


def test_a_backup_does_not_hold_itself(kept: Running) -> None:
    target = kept.settings.home / "data" / "backups" / "monday"
    with pytest.raises(BackupError, match="which is backed up"):
        back_up(kept.settings, target)
    assert not target.parent.exists()
    assert back_up(kept.settings, target, with_data=False).faults == []
    assert back_up(kept.settings, kept.settings.home / "backups" / "monday").faults == []


def test_a_backup_is_not_packed(kept: Running, tmp_path: Path) -> None:
    with pytest.raises(BackupError, match=r"ends in \.tar"):
        back_up(kept.settings, tmp_path / "monday.tar.gz")


def test_two_backups_of_one_name_do_not_mix(tmp_path: Path) -> None:
    target = tmp_path / "monday"

    def write_both() -> None:
        with workplace(target) as one, workplace(target) as other, writing(target, one) as slow:
            slow.add_text("manifest.json", "the slow one")
            with writing(target, other) as fast:
                fast.add_text("manifest.json", "the fast one")

    with pytest.raises(FileExistsError):
        write_both()
    assert (target / "manifest.json").read_text() == "the fast one"
    assert list(tmp_path.iterdir()) == [target]


def test_the_next_backup_removes_what_a_killed_one_left_and_nothing_else(tmp_path: Path) -> None:
    left = tmp_path / f".sunday.abc{WORKPLACE}"
    (left / "whole").mkdir(parents=True)
    os.utime(left, (time.time() - 3600, time.time() - 3600))
    with workplace(tmp_path / "monday") as busy:
        os.utime(busy, (time.time() - 3600, time.time() - 3600))
        with workplace(tmp_path / "tuesday"):
            assert not left.exists()
            assert busy.exists()
    assert list(tmp_path.iterdir()) == []


def test_files_of_one_inode_on_two_disks_are_two(tmp_path: Path) -> None:
    """The copy of the database lies on the disk of the target, the store on another."""
    (tmp_path / "a").write_text("a")
    (tmp_path / "b").write_text("b")
    writer = FolderWriter(tmp_path / "backup")
    for device, name in enumerate("ab"):
        identity = identity_of(os.stat_result((0o100600, 7, device, 1, 0, 0, 1, 0, 0, 0)))
        writer.add(name, tmp_path / name, identity)
    assert (tmp_path / "backup" / "b").read_text() == "b"


def test_the_log_of_an_earlier_database_stays_out_of_a_restored_one(whole: Path, tmp_path: Path) -> None:
    home = tmp_path / "new"
    home.mkdir()
    (home / "luthier.db-wal").write_bytes(b"rows of long ago")
    with pytest.raises(BackupError, match=r"luthier\.db-wal is left"):
        restore(settings_of(home), whole)
    (home / "luthier.db-wal").unlink()
    restore(settings_of(home), whole)
