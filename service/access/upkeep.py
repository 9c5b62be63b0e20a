"""What threads of the service do for tokens and the log of actions: old ones go, the rest is stored at the end."""

from contextlib import suppress

from sqlalchemy.exc import SQLAlchemyError

from luthier.service.access import tokens
from luthier.service.access.audit import AuditLog
from luthier.service.access.known_tokens import KnownTokens
from luthier.service.storage.database import Database


def prune(database: Database, log: AuditLog, days: float) -> None:
    """Remove entries of the log, and tokens that have ended, that are older than so many days."""
    log.prune(days)
    tokens.prune(database, days)


def store_rest(log: AuditLog, known: KnownTokens) -> None:
    """Store what waits in memory; what the database does not take now is lost."""
    with suppress(SQLAlchemyError):
        log.write()
        known.store_uses()
