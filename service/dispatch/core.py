"""The parts of one service without HTTP: database, leases, presence, searches and files."""

from dataclasses import dataclass

from sqlalchemy.orm import Session

from luthier.service.dispatch.search_pool import SearchPool
from luthier.service.lifecycle import quarantine
from luthier.service.storage.assignment_logs import AssignmentLogs
from luthier.service.storage.database import Database
from luthier.service.storage.disk_room import DiskRoom
from luthier.service.storage.file_store import FileStore
from luthier.service.storage.leases import Leases
from luthier.service.storage.presence import Presence


@dataclass(frozen=True)
class Core:
    """The parts of a service without its HTTP side. Threads share them.

    Attributes:
        database: transactions, and the clock.
        leases: the only place that changes who holds an assignment, or its state.
        presence: which workers and services are there.
        searches: the open searches, which ask and tell Optuna.
        store: checkpoints, logs and models.
        room: whether the disks of the store and the database have room.
        logs: the logs in the store, which workers' messages extend.
        only: name of the one study whose work is handed out (an embedded service leaves other studies alone); None:
            all studies.
        quarantine: workers that fail again and again are put aside, and their work is tried elsewhere first.
    """

    database: Database
    leases: Leases
    presence: Presence
    searches: SearchPool
    store: FileStore
    room: DiskRoom
    logs: AssignmentLogs
    only: str | None = None
    quarantine: bool = True

    @property
    def judges_workers(self) -> bool:
        """Whether failures may be a worker's fault; an embedded service has workers of its own, and asks no others."""
        return self.quarantine and self.only is None

    def standstill(self, session: Session) -> tuple[str | None, str | None]:
        """Return why no study goes on now: of all studies, and of those that our own workers do; None where they do."""
        sick = quarantine.quarantined_all(session, self.presence) if self.judges_workers else None
        return self.room.latest, None if sick is None else sick.message

    def close(self, wait_seconds: float = 0.0) -> None:
        """Close all connections to the database; those in use once they are given back, as `Database.dispose` says."""
        self.searches.close(wait_seconds)
        self.database.dispose(wait_seconds)
