"""The end of an engine's connections: those that a thread is still using are closed once it gives them back.

The service keeps one for its own engine, and one for each of Optuna's. SQLAlchemy itself leaves them to the garbage
collector: `Engine.dispose` closes what lies in the pool, and forgets the pool.
"""

import threading
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.pool import ConnectionPoolEntry


class Connections:
    """The connections of one engine. Threads share it."""

    def __init__(self, engine: Engine) -> None:
        """Watch an engine that has no connection in use."""
        self._engine = engine
        self._in_use: set[ConnectionPoolEntry] = set()
        self._changed = threading.Condition()
        self._is_over = False
        event.listen(engine, "checkout", self._taken)
        event.listen(engine, "checkin", self._given_back)

    def _taken(self, _connection: Any, entry: ConnectionPoolEntry, _proxy: Any) -> None:
        with self._changed:
            self._in_use.add(entry)

    def _given_back(self, _connection: Any, entry: ConnectionPoolEntry) -> None:
        if self._is_over:
            entry.close()
        with self._changed:
            self._in_use.discard(entry)
            self._changed.notify_all()

    def close(self, seconds: float = 0.0) -> None:
        """Close all connections.

        Args:
            seconds: how long to wait for those in use; what takes longer is closed by the thread that uses it.
        """
        self._is_over = True
        with self._changed:
            self._changed.wait_for(lambda: not self._in_use, seconds)
        self._engine.dispose()
