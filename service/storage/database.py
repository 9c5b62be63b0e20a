"""The database: transactions, the clock, and the same statements on SQLite and Postgres.

All of the service goes through it. SQLite runs in WAL mode (set once, by `prepare`) with `BEGIN IMMEDIATE`, and writers
of this process queue on a lock instead of in SQLite's sleeping busy handler. The clock is the database's, so that
machines need not agree on the time. No network call and no training may happen inside a transaction.
"""

import fcntl
import hashlib
import logging
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, cast

from sqlalchemy import Connection, CursorResult, Double, Update, bindparam, create_engine, event, func, select, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Session
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import ColumnElement, FunctionElement

from luthier.service.storage.changes import NotingSession
from luthier.service.storage.column_types import read_json
from luthier.service.storage.connections import Connections
from luthier.studies.search.storage import engine_options, hide_values, init_storage

log = logging.getLogger("luthier")

ADVISORY_LOCK = 0x6C757468  # "luth": one service at a time makes or migrates the schema
RETRY_SECONDS = 1.0  # between attempts to connect to a server that does not answer yet


class EpochNow(FunctionElement[float]):
    """The SQL function of the database's clock: seconds since the epoch, which advance also inside a transaction."""

    type = Double()
    inherit_cache = True


KEPT_NOW: ColumnElement[float] = EpochNow() + bindparam("clock_offset", type_=Double())
"""`Database.now()` in a statement that is built once and kept: it is run with the parameter `clock_offset`."""


@compiles(EpochNow, "postgresql")
def _postgres_now(element: EpochNow, compiler: SQLCompiler, **_: Any) -> str:
    return "extract(epoch from clock_timestamp())::double precision"


@compiles(EpochNow, "sqlite")
def _sqlite_now(element: EpochNow, compiler: SQLCompiler, **_: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"  # the Julian day of 1970-01-01, and seconds a day


def is_passing(error: BaseException) -> bool:
    """Return whether an error is one of the database that its restart, or a freed lock or connection, ends."""
    if isinstance(error, DBAPIError):
        return error.connection_invalidated or isinstance(error, OperationalError)
    return isinstance(error, PoolTimeout)


def changed_rows(session: Session, statement: Update, values: Mapping[str, Any] | None = None) -> int:
    """Run a guarded UPDATE and return how many rows it changed. Objects that are loaded keep their old values.

    `values`: of the statement's parameters.
    """
    result = session.execute(statement, values, execution_options={"synchronize_session": False})
    return cast(CursorResult[Any], result).rowcount


def insert_into(table: type[Any], is_sqlite: bool) -> sqlite.Insert | postgresql.Insert:
    """Return an INSERT statement that supports ON CONFLICT, for SQLite or for Postgres."""
    return sqlite.insert(table) if is_sqlite else postgresql.insert(table)


def database_of(session: Session) -> "Database":
    """Return the database that has opened a session."""
    return cast(Database, session.info[Database])


class Database:
    """Connections to one database. Threads share it; a session belongs to one thread.

    Attributes:
        url: SQLAlchemy's URL of it.
        sqlite: True if it is SQLite, False if it is Postgres.
        clock_offset: seconds added to the database's clock; tests move the clock by it.
        engine: SQLAlchemy's engine.
        tells_ends: True where the service has a webhook: ends of studies are queued for it.
    """

    def __init__(self, url: str) -> None:
        """Make the engine; no connection is opened yet."""
        self.url = url
        self.sqlite = make_url(url).get_backend_name() == "sqlite"
        self.clock_offset = 0.0
        self.tells_ends = False
        self._lock = threading.RLock()
        self._info = {Database: self}
        self.engine = create_engine(url, json_deserializer=read_json, **engine_options(url))
        hide_values(self.engine)
        self._connections = Connections(self.engine)
        if self.sqlite:
            self._set_up_sqlite()

    def now(self) -> ColumnElement[float]:
        """Return the SQL expression of the current instant, in seconds since the epoch."""
        return EpochNow() + self.clock_offset

    def writing(self) -> AbstractContextManager[Any]:
        """Return the lock to hold around each write of this process, Optuna's included: SQLite takes one at a time.

        It is reentrant. On Postgres it locks nothing.
        """
        return self._lock if self.sqlite else nullcontext()

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """Open a session that is committed when the block ends, and rolled back whole on an error.

        Rows stay readable after the commit, with the values that they had. What streams of events tell of is stored
        with it.
        """
        with (
            self.writing(),
            NotingSession(self.engine, expire_on_commit=False, info=self._info) as session,
            session.begin(),
        ):
            yield session
            session.store_changes()

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """Open a session that only reads: on SQLite it waits for no writer."""
        engine = self.engine.execution_options(luthier_read=True)
        with Session(engine, expire_on_commit=False, info=self._info) as session:
            yield session

    @contextmanager
    def snapshot(self) -> Iterator[Session]:
        """Open a session that only reads, and sees the database as it is at one instant: its first read."""
        if self.sqlite:  # as every transaction there
            with self.reading() as session:
                yield session
            return
        with Session(self.engine.execution_options(isolation_level="REPEATABLE READ"), info=self._info) as session:
            yield session

    def insert(self, table: type[Any]) -> sqlite.Insert | postgresql.Insert:
        """Return an INSERT statement that supports ON CONFLICT."""
        return insert_into(table, self.sqlite)

    def serialize(self, session: Session, key: str) -> None:
        """Wait until no other transaction holds this key, and hold it until the transaction ends.

        On SQLite this does nothing: there is only one writing transaction at a time.
        """
        if not self.sqlite:
            number = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big", signed=True)
            session.execute(select(func.pg_advisory_xact_lock(number)))

    def time(self, session: Session) -> float:
        """Return the current instant by the database's clock, in seconds since the epoch."""
        return float(session.scalar(select(self.now())) or 0.0)

    def last_id(self, session: Session, table: type[Any]) -> int:
        """Return the highest id that a table has ever given to a row, also to one that is gone; 0 before the first."""
        name = table.__tablename__
        statement = text(
            "SELECT seq FROM sqlite_sequence WHERE name = :name"
            if self.sqlite
            else "SELECT pg_sequence_last_value(pg_get_serial_sequence(:name, 'id')::regclass)"
        )
        return int(session.scalar(statement, {"name": name}) or 0)

    def dispose(self, wait_seconds: float = 0.0) -> None:
        """Close all connections; those in use once they are given back, for which it waits so many seconds at most."""
        self._connections.close(wait_seconds)

    def wait(self, seconds: float) -> None:
        """Return once the server takes connections.

        Raises:
            OperationalError: it takes none for `seconds` seconds.
        """
        if self.sqlite:
            return  # a file, which `prepare` makes
        until = time.monotonic() + seconds
        logged = ""
        while True:
            try:
                with self.engine.connect():
                    return
            except OperationalError as error:
                if time.monotonic() >= until:
                    raise
                why = str(error.orig).strip().splitlines()[0]
                if why != logged:
                    log.warning("The database does not answer yet (%s); trying for up to %g s.", why, seconds)
                logged = why
            time.sleep(RETRY_SECONDS)

    def prepare(self) -> None:
        """Create or migrate Optuna's tables and ours. Any number of services may do so at the same moment.

        Raises:
            NewerSchema: a newer version of the service wrote the schema.
        """
        from luthier.service.storage.migrations import upgrade

        if self.sqlite:
            path = Path(make_url(self.url).database or "")
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.with_suffix(".lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                init_storage(self.url)
                upgrade(self.engine)
            return
        with self.engine.connect() as connection:
            connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": ADVISORY_LOCK})
            try:
                init_storage(self.url)
                upgrade(self.engine)
            finally:
                connection.rollback()
                connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": ADVISORY_LOCK})

    def _set_up_sqlite(self) -> None:
        @event.listens_for(self.engine, "connect")
        def _connect(connection: Any, _: Any) -> None:
            connection.isolation_level = None  # we say BEGIN ourselves
            connection.execute("PRAGMA synchronous=NORMAL")
            connection.execute("PRAGMA foreign_keys=ON")

        @event.listens_for(self.engine, "begin")
        def _begin(connection: Connection) -> None:
            read = connection.get_execution_options().get("luthier_read")
            connection.exec_driver_sql("BEGIN" if read else "BEGIN IMMEDIATE")
