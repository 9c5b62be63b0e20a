"""A back-up of the database is put back while services and workers run."""

import time

from tests.faults.arena import Arena
from tests.faults.kinds.registry import fault

# The service says once that Optuna's trials are of another time, with a traceback, and writes them anew.
BEHIND = {"Misnumbered", "Contradicted", "Record does not exist"}


@fault("a back-up is restored under a running service")
def restore(arena: Arena) -> None:
    """What was done since the back-up is done again; files of that time are no longer named."""
    file = arena.folder / f"backup-{arena.next_number()}"
    arena.database.back_up(file)
    time.sleep(arena.chance.uniform(0.2, 1.5))
    with arena.disturbed():
        arena.database.restore(file)
        arena.journals_since, arena.may_lack = time.monotonic(), True
        arena.studies = [name for name in arena.studies if arena.state(name) != "missing"]
        arena.answered()
    arena.excused_errors |= BEHIND
    file.unlink()
