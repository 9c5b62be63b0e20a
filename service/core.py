"""What the service's parts share."""

from dataclasses import dataclass

from service.database import Database
from service.leases import Leases
from service.searches import Searches
from service.store import Store


@dataclass(frozen=True)
class Core:
    """One service: its database, its leases over it, its searches and its files."""

    database: Database
    leases: Leases
    searches: Searches
    store: Store
    only: str | None = None  # hand out this study's work alone: an embedded service leaves unfinished others be
