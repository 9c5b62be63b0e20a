"""The Postgres server is restarted, killed, out of reach, or ends its connections."""

import time

from tests.faults.arena import Arena
from tests.faults.databases import PostgresDatabase
from tests.faults.kinds.registry import ALL_WORKERS, fault
from tests.faults.service import LEASE_SECONDS


def _database(arena: Arena) -> PostgresDatabase:
    assert isinstance(arena.database, PostgresDatabase)
    return arena.database


@fault("Postgres is restarted", database="postgres")
def restart(arena: Arena) -> None:
    """It ends all connections, and is away for a moment."""
    server = _database(arena).server
    with arena.disturbed():
        server.stop()
        time.sleep(arena.chance.uniform(0, 0.5))
        server.start()
        arena.answered()


@fault("Postgres is killed", database="postgres", workers=ALL_WORKERS)
def kill(arena: Arena) -> None:
    """All of its processes at once; it recovers from its log."""
    server = _database(arena).server
    with arena.disturbed():
        server.kill()
        time.sleep(arena.chance.uniform(0, LEASE_SECONDS + 1))
        server.start()
        arena.answered()


@fault("Postgres ends the connections", database="postgres")
def terminate(arena: Arena) -> None:
    """Several times, in the middle of transactions."""
    database = _database(arena)
    with arena.disturbed():
        for _ in range(5):
            mine = f"datname = '{database.name}' AND pid <> pg_backend_pid()"
            database.server.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {mine}")
            time.sleep(arena.chance.uniform(0.02, 0.2))
        arena.answered()


@fault("Postgres is out of reach", database="postgres")
def swallow(arena: Arena) -> None:
    """What is sent to it gets lost, and nobody is told; then the way is there again."""
    database = _database(arena)
    with arena.disturbed():
        database.wire.swallows = True
        time.sleep(arena.chance.uniform(0.2, LEASE_SECONDS + 1))
        database.wire.heal()
        arena.answered()
