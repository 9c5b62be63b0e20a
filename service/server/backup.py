"""The backup of a home on SQLite, while its service runs: the database and every file that its rows name.

`luthier backup` calls it. Rows forget a file in a transaction before it is removed. So while a backup holds SQLite's
write lock, every file that a row names stays: in that moment the database is copied and the files of the store are
pinned by hard links (`backup_pins.py`). The service waits for that moment only; the copying comes after it.
"""

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy.engine import make_url

from luthier import __version__
from luthier.errors import LuthierError
from luthier.service.server.backup_archive import (
    DATA,
    DATABASE,
    MANIFEST,
    STORE,
    BackedUp,
    Manifest,
    Writer,
    identity_of,
    workplace,
    writing,
)
from luthier.service.server.backup_names import Named, named_files
from luthier.service.server.backup_pins import Pins
from luthier.service.settings import Settings
from luthier.service.storage.dataset_store import DatasetStore
from luthier.studies.disk import disk_of, is_full

PACKED = (".gz", ".tgz", ".bz2", ".xz", ".zst", ".zip")  # endings of archives that a backup never is
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
        BackupError: there is no such home, its database is Postgres, or the target exists, or cannot be one.
        OSError: a disk refuses something.
    """
    try:
        return _back_up(settings, target, with_data)
    except OSError as error:
        if not is_full(error):
            raise
        place = target.parent if error.filename is None else Path(error.filename)
        raise BackupError(
            f"No backup was made: no room on {disk_of(place)}. Make some, or name another disk."
        ) from None


def _back_up(settings: Settings, target: Path, with_data: bool) -> Report:
    """Do what `back_up` says; a full disk is an OSError."""
    database, store = database_file(settings), settings.store_folder.resolve()
    if not database.is_file() or not store.is_dir():
        raise BackupError(f"{settings.home} holds no studies of Luthier; name its home with LUTHIER_HOME.")
    _refuse(target, store, settings.home / DATA if with_data else None)
    target.parent.mkdir(parents=True, exist_ok=True)
    with DatasetStore(store).upload() as scratch, workplace(target) as beside:
        pins = Pins(store, scratch)
        pins.update()
        copy = beside / DATABASE
        with _quiet(database) as seconds:
            _copy_database(database, copy)
            pins.update()
        check_database(copy)
        with writing(target, beside) as writer:
            files = list(_write(writer, copy, pins, settings.home / DATA if with_data else None))
            faults = lacking(named_files(copy, beside), files)
            made = datetime.now(UTC).isoformat(timespec="seconds")
            writer.add_text(MANIFEST, Manifest(luthier=__version__, created_at=made, files=files).model_dump_json())
    return Report(len(files), sum(file.bytes for file in files), seconds[0], faults)


def _refuse(target: Path, store: Path, data: Path | None) -> None:
    """Raise BackupError where a backup cannot be at a place, or would hold itself there."""
    if target.exists():
        raise BackupError(f"{target} exists already; name another one.")
    if target.suffix in PACKED:
        raise BackupError(f"{target}: a backup is a folder, or a file that ends in .tar; pack that yourself.")
    if target.resolve().is_relative_to(store):
        raise BackupError(f"{target} lies in the store that is backed up; name a place outside of it.")
    if data is not None and target.resolve().is_relative_to(data.resolve()):
        raise BackupError(f"{target} lies in {data}, which is backed up; name a place outside of it, or add --no-data.")


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
    yield writer.add(DATABASE, copy, identity_of(copy.stat()))
    for name, pin in pins.files.items():
        yield writer.add(f"{STORE}/{name}", pin.path, pin.identity)
    for above, _, names in os.walk(data) if data is not None and data.is_dir() else ():
        for path in (Path(above, name) for name in sorted(names)):
            if path.is_file():
                with contextlib.suppress(FileNotFoundError):
                    name = path.relative_to(data).as_posix() if data is not None else ""
                    yield writer.add(f"{DATA}/{name}", path, identity_of(path.stat()))


def lacking(named: Iterable[Named], files: Iterable[BackedUp]) -> list[str]:
    """Return a clause for each file that a row names and that is missing, or has another content."""
    there = {file.path: file for file in files}
    found = []
    for one in named:
        file = there.get(f"{STORE}/{one.path}")
        if file is None or (file.sha256, file.bytes) != (one.sha256, one.bytes):
            found.append(f"{STORE}/{one.path} is {'missing' if file is None else 'damaged'}")
    return found
