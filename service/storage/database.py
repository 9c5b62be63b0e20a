"""The database: one transaction a request, the same statements on SQLite and Postgres.

SQLite runs in WAL (set once, by `prepare`) with `BEGIN IMMEDIATE`, and writers of this process queue on a lock
instead of in SQLite's sleeping busy handler. The clock is the database's, so that machines need not agree on the time.
"""

import fcntl
import hashlib
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Double, Engine, create_engine, event, func, select, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Session
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import ColumnElement, FunctionElement

from luthier.studies.search.storage import init_storage

log = logging.getLogger("luthier")

ADVISORY_LOCK = 0x6C757468  # "luth": one service at a time makes or migrates the schema


class epoch_now(FunctionElement[float]):
    """The database's clock in seconds since the epoch, moving also inside a transaction."""

    type = Double()
    inherit_cache = True


@compiles(epoch_now, "postgresql")
def _postgres_now(element: epoch_now, compiler: SQLCompiler, **_: Any) -> str:
    return "extract(epoch from clock_timestamp())::double precision"


@compiles(epoch_now, "sqlite")
def _sqlite_now(element: epoch_now, compiler: SQLCompiler, **_: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


class Database:
    """Connections to one database. `clock_offset` seconds are added to its clock: tests move it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.sqlite = make_url(url).get_backend_name() == "sqlite"
        self.clock_offset = 0.0
        self._lock = threading.RLock()
        self.engine = self._sqlite_engine() if self.sqlite else self._postgres_engine()

    def now(self) -> ColumnElement[float]:
        return epoch_now() + self.clock_offset

    def writing(self) -> AbstractContextManager[Any]:
        """LeaseMessage around every write of this process, Optuna's included, where only one can write at a time."""
        return self._lock if self.sqlite else nullcontext()

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """A session whose work is committed at the end, or rolled back whole on an error."""
        with self.writing(), Session(self.engine, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session that only reads: on SQLite it waits for no writer."""
        engine = self.engine.execution_options(luthier_read=True)
        with Session(engine, expire_on_commit=False) as session:
            yield session

    def insert(self, table: type[Any]) -> sqlite.Insert | postgresql.Insert:
        """An INSERT that knows ON CONFLICT."""
        return sqlite.insert(table) if self.sqlite else postgresql.insert(table)

    def serialize(self, session: Session, key: str) -> None:
        """One transaction at a time goes on from here under the same key. On SQLite there is only ever one."""
        if not self.sqlite:
            number = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big", signed=True)
            session.execute(select(func.pg_advisory_xact_lock(number)))

    def time(self, session: Session) -> float:
        return float(session.scalar(select(self.now())) or 0.0)

    def dispose(self) -> None:
        self.engine.dispose()

    def wait(self, seconds: float) -> None:
        """Return once the server takes connections. Raises OperationalError when it does not within so long."""
        if self.sqlite:
            return  # a file, which `prepare` makes
        until, said = time.monotonic() + seconds, ""
        while True:
            try:
                with self.engine.connect():
                    return
            except OperationalError as error:
                if time.monotonic() >= until:
                    raise
                why = str(error.orig).strip().splitlines()[0]
                if why != said:
                    log.warning("The database does not answer yet (%s); trying for up to %g s.", why, seconds)
                said = why
            time.sleep(1.0)

    def prepare(self) -> None:
        """Create or migrate Optuna's tables and ours. Any number of services may start at the same moment."""
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

    def _sqlite_engine(self) -> Engine:
        engine = create_engine(self.url, connect_args={"timeout": 60, "check_same_thread": False}, pool_size=32)

        @event.listens_for(engine, "connect")
        def _connect(connection: Any, _: Any) -> None:
            connection.isolation_level = None  # we say BEGIN ourselves
            connection.execute("PRAGMA synchronous=NORMAL")
            connection.execute("PRAGMA foreign_keys=ON")

        @event.listens_for(engine, "begin")
        def _begin(connection: Connection) -> None:
            read = connection.get_execution_options().get("luthier_read")
            connection.exec_driver_sql("BEGIN" if read else "BEGIN IMMEDIATE")

        return engine

    def _postgres_engine(self) -> Engine:
        options = "-c statement_timeout=30000 -c lock_timeout=15000 -c idle_in_transaction_session_timeout=60000"
        connect = {
            "connect_timeout": 5,
            "options": options,
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": 20_000,
        }
        return create_engine(
            self.url, pool_pre_ping=True, pool_size=16, max_overflow=16, pool_timeout=20, connect_args=connect
        )
