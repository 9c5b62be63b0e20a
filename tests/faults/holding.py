"""A watch on what the dead hold: nothing, two leases after they died and everything else was well again."""

import time
from typing import Any

import sqlalchemy.exc

from tests.faults.databases import RoundDatabase

ALLOWANCE_SECONDS = 4.0  # for a busy machine: the reaper looks three times a lease


class HoldingWatch:
    """Looks now and then at the assignments that run, and remembers those of workers that died long ago.

    Attributes:
        violations: sentences.
    """

    def __init__(self, database: RoundDatabase, patience_seconds: float) -> None:
        self.violations: list[str] = []
        self._database, self._patience = database, patience_seconds + ALLOWANCE_SECONDS
        self._died: dict[str, float] = {}
        self._quiet_since: float | None = time.monotonic()
        self._told: set[int] = set()

    def died(self, worker: str) -> None:
        """Note that a worker has just ended without giving anything back."""
        self._died[worker] = time.monotonic()

    def pause(self) -> None:
        """Look no more: a service, its database or its disk is disturbed."""
        self._quiet_since = None

    def resume(self) -> None:
        """Count anew from now on: a service gives everybody a lease after it was away."""
        self._quiet_since = time.monotonic()

    def look(self) -> None:
        """Look once."""
        if self._quiet_since is None or not self._died:
            return
        try:
            rows = self._database.rows("SELECT id, worker FROM luthier_assignment WHERE state = 'running'")
        except sqlalchemy.exc.SQLAlchemyError:
            return
        self.judge(rows, time.monotonic())

    def judge(self, rows: Any, now: float) -> None:
        """Judge the assignments that run at a moment."""
        assert self._quiet_since is not None
        for row in rows:
            since = max(self._died.get(row.worker, now), self._quiet_since)
            if now - since > self._patience and row.id not in self._told:
                self._told.add(row.id)
                self.violations.append(f"assignment {row.id} is held by {row.worker} {now - since:.1f} s after it died")
