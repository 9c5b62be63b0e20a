"""Where Optuna keeps its numbers: SQLite or Postgres, by one SQLAlchemy URL."""

from typing import Any

from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, RDBStorage, get_storage
from sqlalchemy import Connection, event

Storage = BaseStorage
StorageError = StorageInternalError  # its database did not answer


def init_storage(url: str) -> None:
    """Create Optuna's tables, or bring an older Optuna's up to date. One process at a time may do this."""
    storage = RDBStorage(url, engine_kwargs=_engine_kwargs(url), skip_compatibility_check=True)
    try:
        if storage.engine.dialect.name == "sqlite":
            # The file remembers it. Switching does not wait for locks, so it is done here, where nobody else writes.
            with storage.engine.connect() as connection:
                connection.exec_driver_sql("PRAGMA journal_mode=WAL")
        # Optuna's migrations set up logging anew for the whole process, so they run only where there is one to run.
        if storage.get_current_version() != storage.get_head_version():
            storage.upgrade()
    finally:
        storage.engine.dispose()


def open_storage(url: str) -> Storage:
    """A storage over tables that exist; it reads finished trials from the database once.

    Raises RuntimeError when the tables were made by another version of Optuna.
    """
    storage = RDBStorage(url, engine_kwargs=_engine_kwargs(url), skip_table_creation=True)
    if storage.engine.dialect.name == "sqlite":
        event.listen(storage.engine, "connect", _settings)
        event.listen(storage.engine, "begin", _begin)
        storage.engine.dispose()  # connections opened so far have none of this
    return get_storage(storage)


def close_storage(storage: Storage) -> None:
    """Close its connections, once nothing uses it any more."""
    storage._backend.engine.dispose()  # type: ignore[attr-defined]  # Optuna offers no other way


def _engine_kwargs(url: str) -> dict[str, Any]:
    if url.startswith("sqlite"):
        return {"connect_args": {"timeout": 60, "check_same_thread": False}, "pool_size": 32}
    connect = {
        "connect_timeout": 5,
        "options": "-c statement_timeout=30000 -c lock_timeout=15000 -c idle_in_transaction_session_timeout=60000",
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 20_000,
    }
    return {"pool_pre_ping": True, "pool_size": 16, "max_overflow": 16, "pool_timeout": 20, "connect_args": connect}


def _settings(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # the driver sends no BEGIN of its own
    connection.execute("PRAGMA synchronous=NORMAL")


def _begin(connection: Connection) -> None:
    # A transaction that reads first and writes later would fail at once, without waiting, if another wrote between.
    connection.exec_driver_sql("BEGIN IMMEDIATE")
