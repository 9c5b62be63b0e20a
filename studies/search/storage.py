"""Optuna's storage, in SQLite or Postgres: create its tables, open it and close it.

The service opens one storage for all searches. It must never be opened before `init_storage` made its tables.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import optuna
from optuna.exceptions import DuplicatedStudyError, StorageInternalError
from optuna.storages import BaseStorage, RDBStorage, get_storage
from sqlalchemy import Connection, Engine, ExceptionContext, create_engine, event, inspect

Storage = BaseStorage
StorageError = StorageInternalError  # its database did not answer
STORAGE_ERRORS = (StorageInternalError, DuplicatedStudyError)  # the latter: two made one study at the same moment

SQLITE_CONNECTIONS = 32  # threads of a service that read at the same time
SQLITE_WAIT_SECONDS = 60  # for a write of another process
POSTGRES_CONNECTIONS = 16  # kept open, and as many again under load; a small Postgres takes 100 in all
POSTGRES_WAIT_SECONDS = 20  # that a request waits for a free connection of the pool
# Limits so that a service notices a database that went away, and no statement blocks others for ever: none takes 30 s
# unless the database failed, and no lock is held for 15 s.
POSTGRES_LIMITS = {
    "connect_timeout": 5,  # seconds
    "options": "-c statement_timeout=30000 -c lock_timeout=15000 -c idle_in_transaction_session_timeout=60000",  # ms
    "keepalives_idle": 10,  # seconds; with the next two a dead server is noticed after 25 s
    "keepalives_interval": 5,  # seconds
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,  # ms
}

_thread = threading.local()


def engine_options(url: str) -> dict[str, Any]:
    """Return the options of SQLAlchemy's `create_engine` for this database: Optuna's tables and ours use the same."""
    if url.startswith("sqlite"):
        connect = {"timeout": SQLITE_WAIT_SECONDS, "check_same_thread": False}
        return {"connect_args": connect, "pool_size": SQLITE_CONNECTIONS, "hide_parameters": True}
    return {
        "hide_parameters": True,
        "pool_pre_ping": True,
        "pool_size": POSTGRES_CONNECTIONS,
        "max_overflow": POSTGRES_CONNECTIONS,
        "pool_timeout": POSTGRES_WAIT_SECONDS,
        "connect_args": dict(POSTGRES_LIMITS),
    }


def hide_values(engine: Engine) -> None:
    """Have errors of failed statements show no values: they go to logs, and values may be secrets.

    `hide_parameters` leaves out what SQLAlchemy knows; Postgres quotes the whole row in the lines after the first.
    """
    event.listen(engine, "handle_error", _shorten)


def _shorten(context: ExceptionContext) -> None:
    if context.statement is not None:
        for error in (context.original_exception, context.sqlalchemy_exception):
            if error is not None and error.args:
                error.args = (str(error.args[0]).partition("\n")[0], *error.args[1:])


def init_storage(url: str) -> None:
    """Create Optuna's tables, or bring an older Optuna's up to date. Only one process may do this at a time."""
    if _were_made_by_this_version(url):
        return
    storage = RDBStorage(url, engine_kwargs=engine_options(url), skip_compatibility_check=True)
    hide_values(storage.engine)
    try:
        if storage.engine.dialect.name == "sqlite":
            # The file remembers it. Switching does not wait for locks, so it is done here, where nobody else writes.
            with storage.engine.connect() as connection:
                connection.exec_driver_sql("PRAGMA journal_mode=WAL")
        # Optuna's migrations set up logging for the whole process, so they run only where there is one to run.
        if storage.get_current_version() != storage.get_head_version():
            storage.upgrade()
    finally:
        storage.engine.dispose()


def _were_made_by_this_version(url: str) -> bool:
    """Return whether this Optuna made the tables, or brought them up to date: then nothing is left to do."""
    engine = create_engine(url, **engine_options(url))
    hide_values(engine)
    try:
        with engine.connect() as connection:
            if not inspect(connection).has_table("alembic_version"):  # written last
                return False
            if engine.dialect.name == "sqlite":
                connection.exec_driver_sql("PRAGMA journal_mode=WAL")  # a back-up as SQL does not keep it
            versions = connection.exec_driver_sql("SELECT library_version FROM version_info").scalars().all()
            stamped = connection.exec_driver_sql("SELECT count(*) FROM alembic_version").scalar()
            return versions == [optuna.__version__] and stamped == 1
    finally:
        engine.dispose()


def open_storage(url: str) -> Storage:
    """Return a storage over tables that exist; it reads finished trials from the database once. Close it at the end.

    Raises:
        RuntimeError: When another version of Optuna made the tables.
    """
    storage = RDBStorage(url, engine_kwargs=engine_options(url), skip_table_creation=True)
    hide_values(storage.engine)
    if storage.engine.dialect.name == "sqlite":
        event.listen(storage.engine, "connect", _settings)
        event.listen(storage.engine, "begin", _begin)
        storage.engine.dispose()  # connections opened so far have none of this
    return get_storage(storage)


def with_own_cache(storage: Storage) -> Storage:
    """Return a storage over the same connections that remembers nothing yet.

    Optuna's cache never reads an ended trial again. So a trial that the database has lost stays there for ever, and
    one lock keeps all studies waiting while the trials of one are read. Each search has a cache of its own.
    """
    return get_storage(storage._backend)  # type: ignore[attr-defined]  # Optuna offers no other way


@contextmanager
def reading() -> Iterator[None]:
    """Let the storage's transactions of this thread read beside a writer on SQLite; they must not write."""
    _thread.reads = True
    try:
        yield
    finally:
        _thread.reads = False


def unfinished_studies(storage: Storage) -> set[str]:
    """Return the names of the studies that have trials of which Optuna knows no end."""
    statement = (
        "SELECT DISTINCT study_name FROM studies JOIN trials ON trials.study_id = studies.study_id "
        "WHERE trials.state IN ('RUNNING', 'WAITING')"
    )
    with reading(), engine_of(storage).connect() as connection:
        return set(connection.exec_driver_sql(statement).scalars())


def remove_orphans(storage: Storage) -> None:
    """Delete rows whose study or trial is gone: somebody deleted it by hand, in SQLite, which then uses its id again.

    A new trial with that id, of whichever study, would collide with them. Postgres allows no such deletion.
    """
    engine = engine_of(storage)
    if engine.dialect.name != "sqlite":
        return
    with engine.begin() as connection:
        while True:
            rows = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
            orphans = [(table, rowid) for table, rowid, parent, _ in rows if parent in ("studies", "trials")]
            if not orphans:
                return
            for table, rowid in orphans:
                connection.exec_driver_sql(f'DELETE FROM "{table}" WHERE rowid = {rowid:d}')  # noqa: S608 - not a user's


def close_storage(storage: Storage) -> None:
    """Close a storage's connections, once nothing uses it any more."""
    engine_of(storage).dispose()


def engine_of(storage: Storage) -> Engine:
    """Return the engine of a storage that `open_storage` returned."""
    engine: Engine = storage._backend.engine  # type: ignore[attr-defined]  # Optuna offers no other way
    return engine


def _settings(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # the driver sends no BEGIN of its own
    connection.execute("PRAGMA synchronous=NORMAL")


def _begin(connection: Connection) -> None:
    # A transaction that reads first and writes later would fail, without waiting, if another wrote between.
    connection.exec_driver_sql("BEGIN" if getattr(_thread, "reads", False) else "BEGIN IMMEDIATE")
