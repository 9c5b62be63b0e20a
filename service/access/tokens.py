"""The rows of tokens: made, listed, changed, revoked.

The routes of tokens call it within a transaction. The secret is returned once, by `create`, and is stored nowhere.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import Select, and_, delete, or_, select
from sqlalchemy.orm import Session
from sqlalchemy.sql.expression import ColumnElement

from luthier.service.access import projects
from luthier.service.access.known_tokens import is_live
from luthier.service.access.secrets import digest_of, new_secret
from luthier.service.caller import Caller, Scope
from luthier.service.errors import Conflict, Invalid, NotFound
from luthier.service.schemas import Fault
from luthier.service.storage.access_tables import TokenRow
from luthier.service.storage.database import Database
from luthier.service.times import instant

NAME = re.compile(r"[a-z0-9][a-z0-9._@-]{0,62}")
RESERVED = frozenset({"anonymous", "environment", "fleet", "local", "service", "worker"})  # callers without a token
NAME_RULE = "1 to 63 lower-case letters, digits, dots, @, hyphens and underscores, the first one a letter or digit"
_KEY = "luthier tokens"  # of the lock under which names are given


class TokenState(StrEnum):
    """Whether a token opens anything."""

    LIVE = "live"  # it does
    EXPIRED = "expired"  # its time is over
    REVOKED = "revoked"  # an admin has ended it


@dataclass(frozen=True)
class NewToken:
    """What a token is made of.

    Attributes:
        expires_at: in seconds since the epoch; None for never.
        limits: `max_parallel` and `max_gpu_seconds`.
    """

    name: str
    scopes: list[Scope]
    project: str
    expires_at: float | None
    limits: dict[str, Any]


def create(session: Session, database: Database, creator: Caller, new: NewToken) -> tuple[TokenRow, str]:
    """Store a token, and return its row and its secret.

    Args:
        session: the transaction, in which nothing else was read.
        database: whose clock counts.
        creator: an admin.
        new: what it is made of.

    Raises:
        Conflict: a live token has the name.
        NotFound: there is no such project.
        Invalid: it would have expired already, or outlive its creator's.
    """
    database.serialize(session, _KEY)
    projects.hold(session, new.project)
    now = database.time(session)
    check_expiry(session, creator, new.expires_at, now)
    same = session.scalar(select(TokenRow.id).where(TokenRow.name == new.name, is_live(database)).limit(1))
    if same is not None:
        text = f"There is a token {new.name} already, and its secret cannot be shown again: take another name,"
        raise Conflict(f"{text} or revoke it first (`luthier token revoke {new.name}`).")
    secret = new_secret()
    row = TokenRow(
        name=new.name,
        digest=digest_of(secret),
        scopes=[str(scope) for scope in Scope if scope in new.scopes],
        project=new.project,
        created_at=now,
        created_by=creator.name,
        expires_at=new.expires_at,
        **new.limits,
    )
    session.add(row)
    session.flush()
    return row, secret


def check_expiry(session: Session, creator: Caller, expires_at: float | None, now: float) -> None:
    """Raise Invalid for a time that has passed, or one after the end of the creator's own token."""
    if expires_at is not None and expires_at <= now:
        raise _wrong_end(f"must be after now, {_utc(now)}; leave it out for a token without an end")
    own = session.get(TokenRow, creator.token_id) if creator.token_id is not None else None
    last = own.expires_at if own is not None else None
    if last is not None and (expires_at is None or expires_at > last):
        raise _wrong_end(f"must be {_utc(last)} or before: then the token {creator.name}, which makes it, expires")


def listing(database: Database, state: TokenState | None) -> Select[TokenRow]:
    """Return the tokens in a state, or all of them, in no order."""
    rows = select(TokenRow)
    return rows if state is None else rows.where(_in_state(database, state))


def _in_state(database: Database, state: TokenState) -> ColumnElement[bool]:
    if state is TokenState.LIVE:
        return is_live(database)
    if state is TokenState.REVOKED:
        return TokenRow.revoked_at.is_not(None)
    return and_(TokenRow.revoked_at.is_(None), TokenRow.expires_at <= database.now())


def state_of(row: TokenRow, now: float) -> TokenState:
    """Return the state of a token at an instant, in seconds since the epoch."""
    if row.revoked_at is not None:
        return TokenState.REVOKED
    return TokenState.EXPIRED if row.expires_at is not None and row.expires_at <= now else TokenState.LIVE


def lock(session: Session, token_id: int) -> TokenRow:
    """Return a token's row, locked until the transaction ends. Raises NotFound."""
    row = session.scalar(select(TokenRow).where(TokenRow.id == token_id).with_for_update())
    if row is None:
        raise NotFound(f"There is no token with the id {token_id}; `luthier token list` shows all.")
    return row


def revoke(row: TokenRow, now: float) -> None:
    """Have a token open nothing any more; once more changes nothing."""
    if row.revoked_at is None:
        row.revoked_at = now


def change(session: Session, creator: Caller, row: TokenRow, changes: dict[str, Any], now: float) -> None:
    """Change the limits of a live token, or when it expires.

    Args:
        session: the transaction in which the row is locked.
        creator: an admin.
        row: the token's.
        changes: new values by column: `max_parallel`, `max_gpu_seconds`, `expires_at`; None for no limit, or no end.
        now: in seconds since the epoch.

    Raises:
        Conflict: it has been revoked, or has expired.
        Invalid: as for `check_expiry`.
    """
    state = state_of(row, now)
    if state is not TokenState.LIVE:
        raise Conflict(f"The token {row.name} is {state}, for good: make another one.")
    if "expires_at" in changes:
        check_expiry(session, creator, changes["expires_at"], now)
    for column, value in changes.items():
        setattr(row, column, value)


def prune(database: Database, days: float) -> None:
    """Remove tokens that have opened nothing for so many days."""
    with database.reading() as session:
        before = database.time(session) - days * 86_400
        ended = or_(TokenRow.revoked_at < before, TokenRow.expires_at < before)
        old = session.scalars(select(TokenRow.id).where(ended).limit(1_000)).all()
    if old:
        with database.transaction() as session:
            session.execute(delete(TokenRow).where(TokenRow.id.in_(old), ended))


def _wrong_end(message: str) -> Invalid:
    return Invalid(f"expires_at: {message}", [Fault(path="expires_at", message=message)])


def _utc(seconds: float) -> str:
    return f"{instant(seconds):%Y-%m-%dT%H:%M:%SZ}"
