"""What a service knows of the tokens in its database, for a second at most, and when each was used.

The access control asks for every request that presents one. A revocation by this service counts at once (`forget`),
one by another service of the same database within `seconds`. Uses are stored by a thread, at most once a minute each.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from sqlalchemy import ColumnElement, Text, and_, or_, select, update
from sqlalchemy import cast as sql_cast
from sqlalchemy.orm import Session

from luthier.service.caller import Scope, with_included
from luthier.service.storage.access_tables import TokenRow
from luthier.service.storage.database import Database

MOST_KNOWN = 4096  # answers that are kept
USE_SECONDS = 60.0  # between two stored uses of a token
MARGIN_SECONDS = 0.01  # so long an answer that is at hand stays so
Key = tuple[str, str | int]
T = TypeVar("T")


@dataclass(frozen=True)
class KnownToken:
    """A token as it was when the database was asked.

    Attributes:
        digest: of its secret.
        scopes: with the scopes that they include.
        expires_at: in seconds since the epoch, by the database's clock; None for never.
        ends: when it expires by this process's monotonic clock; infinity for never.
        revoked_at: in seconds since the epoch; None while it is not.
    """

    id: int
    name: str
    digest: str
    scopes: frozenset[Scope]
    project: str
    expires_at: float | None
    ends: float
    revoked_at: float | None

    @property
    def is_live(self) -> bool:
        """Whether it opens anything now."""
        return self.revoked_at is None and time.monotonic() < self.ends


class KnownTokens:
    """The tokens of a database, as far as they were asked for; whatever is not known is read. Threads share it."""

    def __init__(self, database: Database, seconds: float = 1.0) -> None:
        """Take the database, and how long an answer of it is believed."""
        self._database = database
        self._seconds = seconds
        self._lock = threading.Lock()
        self._answers: OrderedDict[Key, tuple[float, Any]] = OrderedDict()  # until when, by the monotonic clock; answer
        self._changes = 0  # how often tokens have changed
        self._used: dict[int, float] = {}  # a token's id -> when it was used, by the monotonic clock; not stored yet
        self._stored: dict[int, float] = {}  # a token's id -> its last use that was stored

    def by_digest(self, digest: str) -> KnownToken | None:
        """Return the token whose secret has this digest, dead or alive. Raises SQLAlchemyError."""
        return self._asked(("digest", digest), lambda session: self._find(session, TokenRow.digest == digest))

    def by_id(self, token_id: int) -> KnownToken | None:
        """Return the token of an id, dead or alive. Raises SQLAlchemyError."""
        return self._asked(("id", token_id), lambda session: self._find(session, TokenRow.id == token_id))

    def by_name(self, name: str) -> KnownToken | None:
        """Return the newest token of a name, dead or alive: no other one of it is live. Raises SQLAlchemyError."""
        return self._asked(("name", name), lambda session: self._find(session, TokenRow.name == name))

    def any_admin(self) -> bool:
        """Return whether a live token has the scope admin. Raises SQLAlchemyError."""
        is_admin = sql_cast(TokenRow.scopes, Text).contains(f'"{Scope.ADMIN}"')
        admins = select(TokenRow.id).where(is_live(self._database), is_admin).limit(1)
        return self._asked(("admin", ""), lambda session: session.scalar(admins) is not None)

    def is_known(self, kind: str, key: str | int) -> bool:
        """Return whether an answer is at hand, so that asking for it waits for nothing."""
        with self._lock:
            until, _ = self._answers.get((kind, key), (0.0, None))
        return time.monotonic() + MARGIN_SECONDS < until

    def forget(self) -> None:
        """Believe nothing any more: tokens have changed. An answer that is on its way is not kept either."""
        with self._lock:
            self._changes += 1
            self._answers.clear()

    def note_use(self, token_id: int) -> None:
        """Take note that a token was used now, without waiting for anything."""
        now = time.monotonic()
        with self._lock:
            if now - self._stored.get(token_id, -USE_SECONDS) >= USE_SECONDS:
                self._used[token_id] = now

    def unstored_uses(self, now: float) -> dict[int, float]:
        """Return when tokens were used, where that is not stored yet: id -> seconds since the epoch.

        Args:
            now: the current instant by the database's clock, in seconds since the epoch.
        """
        with self._lock:
            return {token_id: now - (time.monotonic() - at) for token_id, at in self._used.items()}

    def store_uses(self) -> None:
        """Store the uses that were noted. Raises SQLAlchemyError, and keeps them then."""
        with self._lock:
            noted = dict(self._used)
        if not noted:
            return
        with self._database.transaction() as session:
            for token_id, at in sorted(self.unstored_uses(self._database.time(session)).items()):
                is_older = or_(TokenRow.last_used_at.is_(None), TokenRow.last_used_at < at)
                session.execute(update(TokenRow).where(TokenRow.id == token_id, is_older).values(last_used_at=at))
        with self._lock:
            self._stored.update(noted)
            self._used = {token_id: at for token_id, at in self._used.items() if noted.get(token_id) != at}

    def _asked(self, key: Key, ask: Callable[[Session], T]) -> T:
        with self._lock:
            until, answer = self._answers.get(key, (0.0, None))
            changes = self._changes
        if time.monotonic() < until:
            return cast(T, answer)
        with self._database.reading() as session:
            new = ask(session)
        with self._lock:
            if changes == self._changes:
                self._answers[key] = (time.monotonic() + self._seconds, new)
                self._answers.move_to_end(key)
            while len(self._answers) > MOST_KNOWN:
                self._answers.popitem(last=False)
        return new

    def _find(self, session: Session, condition: ColumnElement[bool]) -> KnownToken | None:
        newest = select(TokenRow, self._database.now()).where(condition).order_by(TokenRow.id.desc()).limit(1)
        row_and_now = session.execute(newest).one_or_none()
        if row_and_now is None:
            return None
        row, now = row_and_now
        ends = float("inf") if row.expires_at is None else time.monotonic() + row.expires_at - now
        scopes = with_included(scopes_of(row))
        parts = (row.project, row.expires_at, ends, row.revoked_at)
        return KnownToken(row.id, row.name, row.digest, scopes, *parts)


def scopes_of(row: TokenRow) -> list[Scope]:
    """Return the scopes of a token's row, in their order; those of a newer version are left out."""
    stored = row.scopes if isinstance(row.scopes, list) else []
    return [scope for scope in Scope if scope in stored]


def is_live(database: Database) -> ColumnElement[bool]:
    """Return the condition that a token's row is neither revoked nor expired."""
    return and_(TokenRow.revoked_at.is_(None), or_(TokenRow.expires_at.is_(None), TokenRow.expires_at > database.now()))
