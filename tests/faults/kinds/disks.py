"""Disks fill under the store, the database, the caches and the temporary folder."""

import time

from tests.faults.arena import Arena
from tests.faults.databases import PostgresDatabase
from tests.faults.kinds.registry import ALL_WORKERS, fault, root
from tests.support.small_disk import SmallDisk

FULL_SECONDS = (0.5, 4.0)


def fill(arena: Arena, disk: SmallDisk) -> None:
    """Take all room of a disk for a while."""
    with arena.disturbed():
        disk.fill()
        time.sleep(arena.chance.uniform(*FULL_SECONDS))
        disk.free()
        if isinstance(arena.database, PostgresDatabase):
            arena.database.server.ensure_started()  # it ends itself where it cannot write its log
        arena.answered()


@fault("the disk of the store is full", lack=root)
def store(arena: Arena) -> None:
    """No checkpoint and no log can be written."""
    fill(arena, arena.disks["store"])


@fault("the disk of the database is full", lack=root)
def database(arena: Arena) -> None:
    """That of the SQLite file, or of the Postgres server."""
    disk = arena.templates.postgres_disk if arena.setting.database == "postgres" else arena.disks["home"]
    assert disk is not None
    fill(arena, disk)


@fault("the disk of the caches is full", lack=root, workers=("real",))
def cache(arena: Arena) -> None:
    """Outputs of frozen blocks cannot be kept."""
    fill(arena, arena.disks["cache"])


@fault("the disk of temporary files is full", lack=root, workers=ALL_WORKERS)
def temporary(arena: Arena) -> None:
    """The folder that TMPDIR names."""
    fill(arena, arena.disks["tmp"])
