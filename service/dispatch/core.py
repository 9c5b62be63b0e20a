"""What the service's parts share."""

from dataclasses import dataclass

from luthier.service.dispatch.search_pool import SearchPool
from luthier.service.storage.database import Database
from luthier.service.storage.file_store import FileStore
from luthier.service.storage.leases import Leases


@dataclass(frozen=True)
class Core:
    """One service: its database, its leases over it, its searches and its files."""

    database: Database
    leases: Leases
    searches: SearchPool
    store: FileStore
    only: str | None = None  # hand out this study's work alone: an embedded service leaves unfinished others be
