"""The power goes: what is on the disk at that moment is opened elsewhere, perhaps without the ends of some files."""

import os
import shutil
from contextlib import AbstractContextManager
from pathlib import Path

from tests.faults.arena import Arena
from tests.faults.ending import run_to_the_end
from tests.faults.freezing import frozen
from tests.faults.kinds.registry import fault


def standing_still(arena: Arena) -> AbstractContextManager[None]:
    """Nothing of the arena runs in the block: its files are those of one moment."""
    pids = [service.pid for service in arena.services if service.alive]
    return frozen([*pids, *(pid for worker in arena.workers for pid in (worker.pid, *worker.children()))])


def copy(arena: Arena, folder: Path) -> Arena:
    """Copy home, store and database as they are, and return an arena in the copy that is not started."""
    folder.mkdir()
    home = folder / "home"
    home.mkdir()
    with arena.disturbed(), standing_still(arena):
        shutil.copytree(arena.store, folder / "store")
        database = arena.database.copy(home if arena.setting.database == "sqlite" else folder, arena.templates.loop)
    arena.answered()
    return arena.opened_elsewhere(folder, database)


def cut(arena: Arena, path: Path) -> None:
    """Take some bytes off the end of a file."""
    size = path.stat().st_size
    os.truncate(path, arena.chance.randrange(size) if size else 0)


def go_on(arena: Arena, copied: Arena) -> None:
    """Run what was copied to its end, and check it."""
    copied.studies = [name for name in arena.studies if copied.state(name) != "missing"]
    copied.start()
    run_to_the_end(copied)
    copied.clear()
    arena.violations += [f"after the power cut: {sentence}" for sentence in copied.violations]


@fault("the power goes", weight=1)
def copy_running(arena: Arena) -> None:
    """The files of one moment are opened elsewhere, by other services and other workers."""
    go_on(arena, copy(arena, arena.folder / f"copy-{arena.next_number()}"))


@fault("the power goes and the database loses its latest writes", database="sqlite", weight=1)
def lose_latest(arena: Arena) -> None:
    """SQLite's log ends at any byte: what was committed last is gone, as `synchronous=NORMAL` allows."""
    copied = copy(arena, arena.folder / f"copy-{arena.next_number()}")
    log = copied.home / "luthier.db-wal"
    if log.exists():
        cut(arena, log)
    go_on(arena, copied)


@fault("the power goes and files of the store lose their ends", weight=1)
def cut_files(arena: Arena) -> None:
    """Checkpoints, weights and logs."""
    copied = copy(arena, arena.folder / f"copy-{arena.next_number()}")
    paths = [path for path in copied.store.glob("*/*") if path.is_file()]
    for path in arena.chance.sample(paths, min(len(paths), 4)):
        cut(arena, path)
        copied.cut_files.add(f"{path.parent.name}/{path.name}")
    go_on(arena, copied)
