"""A home made from a backup: checked first, whole or not at all, and never over studies that are there.

`luthier restore` calls it, and `luthier backup --verify`. The database takes its place last: until then the home has
none, and a repeated call begins again. Trials that ran when the backup was made are given out again, as after a crash.
"""

import logging
import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path, PurePosixPath

from pydantic import ValidationError

from luthier.service.server.backup import BackupError, check_database, database_file, lacking
from luthier.service.server.backup_archive import DATA, DATABASE, MANIFEST, STORE, Manifest, unpacked
from luthier.service.server.backup_names import named_files
from luthier.service.server.home import HomeLock
from luthier.service.settings import Settings
from luthier.service.storage.file_store import ASSIGNMENT_FOLDER, SCHEDULE_FOLDER
from luthier.service.storage.migrations import NewerSchema
from luthier.studies.files import sha256_file, sync_file

UNPACKED = ".restore-"  # begins the name of a folder in a home, for a .tar
RESTORING = ".restoring"  # in a store that a killed restore has begun to fill
log = logging.getLogger("luthier")


def restore(settings: Settings, source: Path) -> Manifest:
    """Make a home from a backup, and return what it holds.

    Args:
        settings: the home, which must have no studies, and its store.
        source: the folder or the .tar file of a backup.

    Raises:
        HomeServed: a service uses the home.
        BackupError: the home has studies, its database is Postgres, or the backup is damaged.
        OSError: a disk refuses something.
    """
    database, store = database_file(settings), settings.store_folder
    with closing(HomeLock(settings.home)):
        _refuse_studies(database, store)
        for left in settings.home.glob(f"{UNPACKED}*"):  # of a restore that was killed; the lock is ours
            shutil.rmtree(left, ignore_errors=True)
        with _opened(source, settings.home) as (folder, manifest, scratch):
            _check_whole(folder, manifest, scratch)
            store.mkdir(parents=True, exist_ok=True)
            (store / RESTORING).touch()
            for file in manifest.files:
                place = _place(file.path, settings, database)
                if place != database:
                    _take(folder / file.path, place, is_ours=folder != source)
            os.sync()
            database.parent.mkdir(parents=True, exist_ok=True)
            part = database.with_name(f".{database.name}.part")
            shutil.copyfile(folder / DATABASE, part)
            sync_file(part)
            part.rename(database)
            sync_file(database)
            (store / RESTORING).unlink()
    return manifest


def verify(source: Path) -> Manifest:
    """Return what a backup holds, once all of it was read and found whole. Raises BackupError, OSError."""
    with tempfile.TemporaryDirectory() as scratch, _opened(source, Path(scratch)) as (folder, manifest, beside):
        _check_whole(folder, manifest, beside)
    return manifest


def _refuse_studies(database: Path, store: Path) -> None:
    if database.exists():
        raise BackupError(f"{database} exists: the home has studies. Restore into another one (LUTHIER_HOME).")
    for ending in ("-wal", "-shm", "-journal"):
        if (beside := database.with_name(database.name + ending)).exists():
            raise BackupError(
                f"{beside} is left of a database that was here, and SQLite would mix it into the restored one. Remove "
                "it, or restore into another home (LUTHIER_HOME)."
            )
    kinds = (ASSIGNMENT_FOLDER, SCHEDULE_FOLDER)
    names = [path.name for path in store.iterdir()] if store.is_dir() else []
    taken = [name for name in names if any(kind.fullmatch(name) for kind in kinds)]
    if taken and not (store / RESTORING).exists():
        raise BackupError(f"{store} has files of studies ({taken[0]}). Restore into another home (LUTHIER_HOME).")


@contextmanager
def _opened(source: Path, beside: Path) -> Iterator[tuple[Path, Manifest, Path]]:
    """Give the folder of a backup, what it says that it holds, and a folder for scratch files. Raises BackupError."""
    with tempfile.TemporaryDirectory(dir=beside, prefix=UNPACKED) as scratch:
        inside = Path(scratch, "whole")
        inside.mkdir()
        try:
            folder = unpacked(source, inside)
            manifest = Manifest.model_validate_json((folder / MANIFEST).read_bytes())
        except FileNotFoundError:
            raise BackupError(f"{source} is no backup that `luthier backup` made: it has no {MANIFEST}.") from None
        except (tarfile.TarError, ValidationError, EOFError) as error:
            why = str(error).strip().splitlines()[0]
            raise BackupError(f"{source} is no backup, or is damaged: {why}. Take another one.") from None
        yield folder, manifest, Path(scratch)


def _check_whole(folder: Path, manifest: Manifest, scratch: Path) -> None:
    """Raise BackupError unless each file is there with its content, and the database is whole.

    Nothing is written to the backup, whose disk may be read only: its database is opened as a copy in `scratch`.
    """
    root = folder.resolve()
    for file in manifest.files:
        path, name = folder / file.path, PurePosixPath(file.path)
        is_plain = str(name) == file.path and not name.is_absolute() and ".." not in name.parts
        if not is_plain or path.is_symlink() or not path.resolve().is_relative_to(root):
            raise BackupError(f"The backup names {file.path}, which lies outside of it; do not use it.")
        if not path.is_file() or path.stat().st_size != file.bytes or sha256_file(path) != file.sha256:
            raise BackupError(f"{file.path} in the backup is missing or damaged; take another backup.")
    if DATABASE not in {file.path for file in manifest.files}:
        raise BackupError(f"The backup holds no {DATABASE}, so it is none; take another one.")
    copy = scratch / DATABASE
    shutil.copyfile(folder / DATABASE, copy)
    check_database(copy)
    try:
        faults = lacking(named_files(copy, scratch), manifest.files)
    except NewerSchema:
        raise BackupError(
            f"Luthier {manifest.luthier} made this backup, with a database that this version does not know: restore it "
            "with that version, or a newer one."
        ) from None
    if faults:
        log.warning("The home lacked this already when it was backed up: %s.", "; ".join(faults))


def _place(path: str, settings: Settings, database: Path) -> Path:
    """Return where a file of a backup goes."""
    first, _, rest = path.partition("/")
    if path == DATABASE:
        return database
    if first == STORE and rest:
        return settings.store_folder / rest
    if first == DATA and rest:
        return settings.home / DATA / rest
    raise BackupError(f"The backup holds {path}, which belongs nowhere; a newer Luthier made it, perhaps.")


def _take(source: Path, target: Path, is_ours: bool) -> None:
    """Copy a file to its place; one that was unpacked for this is moved."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if is_ours:
        shutil.move(source, target)
        return
    part = target.with_name(f".{target.name}.part")
    shutil.copyfile(source, part)
    part.rename(target)
