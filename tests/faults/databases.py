"""The database of a round: SQLite or Postgres, with triggers that write down each change of a state.

The triggers write to a table of their own: what the service says of its states is compared with what the database saw.
We look at the rows past the wire that faults cut.
"""

import shutil
import sqlite3
import uuid
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import sqlalchemy

from tests.faults.postgres import PostgresServer
from tests.faults.wires import Loop, Wire

WATCHED = {
    "luthier_assignment": "id",
    "luthier_study": "id",
    "trials": "trial_id",
}  # tables with a state, and their key
EDGES = "fault_edge"
_SQLITE_NOW = "(julianday('now') - 2440587.5) * 86400.0"


def sqlite_triggers() -> list[str]:
    """Return the statements that make the table of edges on SQLite."""
    columns = "what TEXT, row_id INTEGER, old TEXT, new TEXT, at REAL"
    statements = [f"CREATE TABLE {EDGES} (id INTEGER PRIMARY KEY AUTOINCREMENT, {columns})"]
    for table, key in WATCHED.items():
        into = f"INSERT INTO {EDGES} (what, row_id, old, new, at) VALUES ('{table}', NEW.{key}"
        statements += [
            f"CREATE TRIGGER fault_new_{table} AFTER INSERT ON {table} "
            f"BEGIN {into}, NULL, NEW.state, {_SQLITE_NOW}); END",
            f"CREATE TRIGGER fault_{table} AFTER UPDATE OF state ON {table} WHEN OLD.state <> NEW.state "
            f"BEGIN {into}, OLD.state, NEW.state, {_SQLITE_NOW}); END",
        ]
    return statements


def postgres_triggers() -> list[str]:
    """Return the statements that make the table of edges on Postgres."""
    columns = "what TEXT, row_id BIGINT, old TEXT, new TEXT, at DOUBLE PRECISION"
    statements = [f"CREATE TABLE {EDGES} (id BIGSERIAL PRIMARY KEY, {columns})"]
    for table, key in WATCHED.items():
        values = f"'{table}', NEW.{key}, old_state, NEW.state::text, extract(epoch from clock_timestamp())"
        statements += [
            f"""CREATE FUNCTION fault_{table}() RETURNS trigger LANGUAGE plpgsql AS $$
                DECLARE old_state TEXT := NULL;
                BEGIN
                    IF TG_OP = 'UPDATE' THEN old_state := OLD.state::text; END IF;
                    IF old_state IS DISTINCT FROM NEW.state::text THEN
                        INSERT INTO public.{EDGES} (what, row_id, old, new, at) VALUES ({values});
                    END IF;
                    RETURN NULL;
                END $$""",
            f"CREATE TRIGGER fault_{table} AFTER INSERT OR UPDATE OF state ON {table} "
            f"FOR EACH ROW EXECUTE FUNCTION fault_{table}()",
        ]
    return statements


class RoundDatabase(ABC):
    """A database of one round, as its services reach it, and as we look at it.

    Attributes:
        kind: sqlite or postgres.
        service_url: what services are given.
        url: what we look at it by.
    """

    kind: str
    service_url: str
    url: str

    def rows(self, statement: str) -> Sequence[Any]:
        """Return the rows of a query, each with its columns as attributes."""
        engine = sqlalchemy.create_engine(self.url, poolclass=sqlalchemy.NullPool)
        with engine.connect() as connection:
            return connection.exec_driver_sql(statement).all()

    @abstractmethod
    def back_up(self, file: Path) -> None:
        """Write a back-up, as the documentation of the database tells."""

    @abstractmethod
    def restore(self, file: Path) -> None:
        """Put a back-up in the place of what is there, while services are connected."""

    @abstractmethod
    def copy(self, folder: Path, loop: Loop) -> "RoundDatabase":
        """Copy the files as they are at this moment, and return the database in the copy. Services are suspended."""

    def close(self) -> None:  # noqa: B027 - SQLite has nothing to close
        """End what this database started."""


class SqliteDatabase(RoundDatabase):
    """An SQLite file in the home of its service."""

    kind = "sqlite"

    def __init__(self, file: Path) -> None:
        self.file = file
        self.url = self.service_url = f"sqlite:///{file}"

    @classmethod
    def new(cls, home: Path, template: Path) -> "SqliteDatabase":
        """Copy a file that has the tables and the triggers."""
        shutil.copyfile(template, home / "luthier.db")
        return cls(home / "luthier.db")

    def back_up(self, file: Path) -> None:
        _copy_pages(self.file, file)

    def restore(self, file: Path) -> None:
        _copy_pages(file, self.file)

    def copy(self, folder: Path, loop: Loop) -> "SqliteDatabase":
        for suffix in ("", "-wal"):  # the shared memory does not outlive a power cut
            source = self.file.with_name(self.file.name + suffix)
            if source.exists():
                shutil.copyfile(source, folder / source.name)
        return SqliteDatabase(folder / self.file.name)


def _copy_pages(source: Path, target: Path) -> None:
    with sqlite3.connect(source, timeout=30) as theirs, sqlite3.connect(target, timeout=30) as ours:
        theirs.backup(ours)
    theirs.close()
    ours.close()


class PostgresDatabase(RoundDatabase):
    """A database of a Postgres server, which services reach by a wire."""

    kind = "postgres"

    def __init__(self, server: PostgresServer, name: str, loop: Loop, owns_server: bool = False) -> None:
        self.server, self.name, self._owns_server = server, name, owns_server
        self.wire = Wire(loop, server.port)
        self.url, self.service_url = server.url(name), server.url(name, self.wire.port)

    @classmethod
    def new(cls, server: PostgresServer, template: str, loop: Loop) -> "PostgresDatabase":
        """Copy a database that has the tables and the triggers."""
        name = f"round_{uuid.uuid4().hex}"
        server.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return cls(server, name, loop)

    def back_up(self, file: Path) -> None:
        self.server.dump(self.name, file)

    def restore(self, file: Path) -> None:
        self.server.restore(self.name, file)

    def copy(self, folder: Path, loop: Loop) -> "PostgresDatabase":
        outside = self.server.data.parents[1]  # the server's user may not enter the folders of a round
        copied = self.server.copy(outside / f"copy-{uuid.uuid4().hex}")
        copied.start()
        return PostgresDatabase(copied, self.name, loop, owns_server=True)

    def close(self) -> None:
        self.wire.close()
        if self._owns_server:
            self.server.kill()
            shutil.rmtree(self.server.data)
        else:
            self.server.execute(f"DROP DATABASE {self.name} WITH (FORCE)")
