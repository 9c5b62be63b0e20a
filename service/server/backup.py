"""The backup of a home on SQLite, while its service runs: the database and every file that its rows name.

`luthier backup` calls it. Rows forget a file in a transaction before it is removed. So while a backup holds SQLite's
write lock, every file that a row names stays: in that moment the database is copied and the files of the store are
pinned by hard links (`backup_pins.py`). The service waits for that moment only; the copying comes after it.
"""

import contextlib
import os
import sqlite3
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy.engine import make_url

from luthier import __version__
from luthier.errors import LuthierError
from luthier.service.server.backup_archive import DATA, DATABASE, MANIFEST, STORE, BackedUp, Manifest, Writer, writing
from luthier.service.server.backup_names import Named, named_files
from luthier.service.server.backup_pins import Pins
from luthier.service.settings import Settings
from luthier.service.storage.dataset_store import DatasetStore

LOCK_SECONDS = 60.0  # to wait for the database's write lock
POSTGRES = (
    "This home's database is Postgres, which has a back-up of its own: stop the service, or do it in this order: first "
    "`pg_dump -Fc DATABASE > luthier.dump`, right after it a copy of the folder {store}. In the other order rows name "
    "files that the copy lacks. docs/operations.md shows both."
)


class BackupError(LuthierError):
    """A backup cannot be made or used; the text is a sentence."""


@dataclass(frozen=True)
class Report:
    """What a backup holds.

    Attributes:
        files: how many, with the database.
        bytes: of all files; those with two names count once for each.
        waited_seconds: how long the service could not write meanwhile.
        faults: a clause for each file that a row names and that the home itself lacks, or has damaged.
    """

    files: int
    bytes: int
    waited_seconds: float
    faults: list[str]


def database_file(settings: Settings) -> Path:
    """Return the file of the settings' database. Raises BackupError where it is Postgres."""
    url = make_url(settings.sqlalchemy_url)
    if url.get_backend_name() != "sqlite":
        raise BackupError(POSTGRES.format(store=settings.store_folder))
    return Path(url.database or "")


def back_up(settings: Settings, target: Path, with_data: bool = True) -> Report:
    """Write a backup of a home to a new folder, or to a new file whose name ends in .tar.

    Args:
        settings: the home, its database and its store.
        target: whole once this returns; after an error it is not there.
        with_data: the folder `data` of the home too, from which specs may name files.

    Raises:
        BackupError: there is no such home, its database is Postgres, or the target exists.
        OSError: a disk refuses something.
    """
    database, store = database_file(settings), settings.store_folder.resolve()
    if not database.is_file() or not store.is_dir():
        raise BackupError(f"{settings.home} holds no studies of Luthier; name its home with LUTHIER_HOME.")
    if target.exists():
        raise BackupError(f"{target} exists already; name another one.")
    if target.resolve().is_relative_to(store):
        raise BackupError(f"{target} lies in the store that is backed up; name a place outside of it.")
    target.parent.mkdir(parents=True, exist_ok=True)
    with DatasetStore(store).upload() as scratch, tempfile.TemporaryDirectory(dir=target.parent) as beside:
        pins = Pins(store, scratch)
        pins.update()
        copy = Path(beside, DATABASE)
        with _quiet(database) as seconds:
            _copy_database(database, copy)
            pins.update()
        check_database(copy)
        with writing(target) as writer:
            files = list(_write(writer, copy, pins, settings.home / DATA if with_data else None))
            faults = lacking(named_files(copy), files)
            made = datetime.now(UTC).isoformat(timespec="seconds")
            writer.add_text(MANIFEST, Manifest(luthier=__version__, created_at=made, files=files).model_dump_json())
    return Report(len(files), sum(file.bytes for file in files), seconds[0], faults)


@contextmanager
def _quiet(database: Path) -> Iterator[list[float]]:
    """Hold the write lock of a database for the block; the list gets how many seconds that took. Raises BackupError."""
    took: list[float] = []
    with closing(sqlite3.connect(database, timeout=LOCK_SECONDS, isolation_level=None)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            raise BackupError(f"{database} cannot be locked ({error}); try again.") from None
        start = time.monotonic()
        try:
            yield took
        finally:
            connection.execute("ROLLBACK")
            took.append(time.monotonic() - start)


def _copy_database(database: Path, copy: Path) -> None:
    """Copy what is committed by now, also what lies in the write-ahead log."""
    with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)


def check_database(database: Path) -> None:
    """Raise BackupError unless SQLite finds a database whole."""
    with closing(sqlite3.connect(database)) as connection:
        try:
            found = [row[0] for row in connection.execute("PRAGMA integrity_check(5)")]
        except sqlite3.DatabaseError as error:
            found = [str(error)]
    if found != ["ok"]:
        raise BackupError(f"The database {database.name} is damaged: {'; '.join(found)[:500]}.")


def _write(writer: Writer, copy: Path, pins: Pins, data: Path | None) -> Iterator[BackedUp]:
    """Yield the files of a backup as they are written."""
    yield writer.add(DATABASE, copy, copy.stat().st_ino)
    for name, pin in pins.files.items():
        yield writer.add(f"{STORE}/{name}", pin.path, pin.inode)
    for above, _, names in os.walk(data) if data is not None and data.is_dir() else ():
        for path in (Path(above, name) for name in sorted(names)):
            if path.is_file():
                with contextlib.suppress(FileNotFoundError):
                    name = path.relative_to(data).as_posix() if data is not None else ""
                    yield writer.add(f"{DATA}/{name}", path, path.stat().st_ino)


def lacking(named: Iterable[Named], files: Iterable[BackedUp]) -> list[str]:
    """Return a clause for each file that a row names and that is missing, or has another content."""
    there = {file.path: file for file in files}
    found = []
    for one in named:
        file = there.get(f"{STORE}/{one.path}")
        if file is None or (file.sha256, file.bytes) != (one.sha256, one.bytes):
            found.append(f"{STORE}/{one.path} is {'missing' if file is None else 'damaged'}")
    return found
