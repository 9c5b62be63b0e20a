"""What is made once for a whole run: a prepared SQLite file, a Postgres server, the tiny model of real fine-tuning."""

import contextlib
import functools
import tempfile
from pathlib import Path

import sqlalchemy

from luthier.service.storage.database import Database
from tests.faults.databases import PostgresDatabase, RoundDatabase, SqliteDatabase, postgres_triggers, sqlite_triggers
from tests.faults.mounts import disk
from tests.faults.postgres import PostgresServer
from tests.faults.wires import Loop
from tests.support.small_disk import SmallDisk
from tests.support.tiny import tiny_csv, tiny_model

TEMPLATE = "prepared"


class Templates:
    """Makes databases with tables and triggers; each part is made when it is first asked for.

    Attributes:
        folder: where all of it lies.
        loop: serves proxies and wires.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.loop = folder, Loop()
        self._server: PostgresServer | None = None
        self._mounts = contextlib.ExitStack()
        self._disks: dict[str, SmallDisk] = {}

    @property
    def postgres_disk(self) -> SmallDisk | None:
        """The disk of the Postgres server; None where it has none of its own."""
        return self._disks.get("server")

    @functools.cached_property
    def _sqlite(self) -> Path:
        path = self.folder / "prepared.db"
        _prepare(f"sqlite:///{path}", sqlite_triggers())
        return path

    @functools.cached_property
    def server(self) -> PostgresServer:
        """The Postgres server of all rounds."""
        # It does not lie below `folder`: for root the server runs as another user, who may not enter pytest's folders.
        outside = self._mounts.enter_context(tempfile.TemporaryDirectory(prefix="luthier-faults-"))
        Path(outside).chmod(0o755)
        self._mounts.enter_context(disk(Path(outside) / "server", 500, self._disks))
        server = self._server = PostgresServer(Path(outside) / "server" / "data")
        server.create()
        server.start()
        server.execute(f"CREATE DATABASE {TEMPLATE}")
        _prepare(server.url(TEMPLATE), postgres_triggers())
        return server

    @functools.cached_property
    def tiny(self) -> Path:
        """A folder with a tiny model and data for it."""
        folder = self.folder / "tiny"
        folder.mkdir()
        tiny_model(folder / "model", layers=2)
        tiny_csv(folder / "data.csv", rows=200)
        return folder

    def database(self, kind: str, home: Path) -> RoundDatabase:
        """Return a new database for a round: sqlite or postgres."""
        if kind == "sqlite":
            return SqliteDatabase.new(home, self._sqlite)
        return PostgresDatabase.new(self.server, TEMPLATE, self.loop)

    def close(self) -> None:
        """End what was started."""
        self.loop.close()
        if self._server is not None:
            self._server.kill()
        self._mounts.close()


def _prepare(url: str, triggers: list[str]) -> None:
    database = Database(url)
    database.prepare()
    with database.engine.begin() as connection:
        for statement in triggers:
            connection.exec_driver_sql(statement)
    database.dispose()
    if url.startswith("sqlite"):
        engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)
        with engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
