"""The runner of the migrations: brings the service's tables to this version's schema.

`Database.prepare` calls it, one service at a time. Optuna migrates its own tables, under a version table of its own.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, inspect

VERSIONS = Path(__file__).parent / "versions"
VERSION_TABLE = "luthier_alembic_version"


class NewerSchema(Exception):
    """The schema was written by a newer version of the service; the message says what to do."""


def newest() -> str:
    """Return the revision of this version's schema: the number that the last of the files begins with."""
    return max(path.name.partition("_")[0] for path in VERSIONS.glob("[0-9]*_*.py"))


def is_up_to_date(engine: Engine) -> bool:
    """Return whether the service's tables have this version's schema; Alembic, which is slow, is not asked."""
    with engine.execution_options(luthier_read=True).connect() as connection:
        if not inspect(connection).has_table(VERSION_TABLE):
            return False
        versions = connection.exec_driver_sql(f"SELECT version_num FROM {VERSION_TABLE}")  # noqa: S608 - not a user's
        return versions.scalars().all() == [newest()]


def upgrade(engine: Engine, to: str = "head") -> None:
    """Bring the service's tables to a schema, in one transaction.

    Args:
        engine: of the database.
        to: the revision to reach: this version's, or an earlier one.

    Raises:
        NewerSchema: a newer version of the service wrote the schema.
    """
    if to == "head" and is_up_to_date(engine):
        return
    from alembic.config import Config
    from alembic.runtime.environment import EnvironmentContext
    from alembic.runtime.migration import MigrationContext, MigrationStep, RevisionStep
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    scripts = ScriptDirectory.from_config(config)
    revisions = {script.revision for script in scripts.walk_revisions()}
    with _migrating(engine) as connection:
        current = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE}).get_current_revision()
        if current is not None and current not in revisions:
            raise NewerSchema(
                f"The database has schema {current}, which this version of Luthier does not know: a newer one wrote "
                "it. Start that version, or restore a back-up made before the update."
            )
        if current == scripts.get_current_head():
            return

        def steps(revision: Any, _: MigrationContext) -> list[RevisionStep]:
            """Return the migrations after `revision`, the first one first."""
            later = reversed(list(scripts.iterate_revisions(to, revision, implicit_base=True)))
            return [MigrationStep.upgrade_from_script(scripts.revision_map, script) for script in later]

        context = EnvironmentContext(config, scripts, fn=steps)
        with context:
            context.configure(connection=connection, version_table=VERSION_TABLE)
            context.run_migrations()


@contextmanager
def _migrating(engine: Engine) -> Iterator[Connection]:
    """Open a transaction in which a table may be made anew, and commit it unless that broke a reference to a row.

    SQLite removes a table's rows before the table, and with them, where foreign keys are on, all rows that refer to
    them. Foreign keys cannot be switched within a transaction.
    """
    with engine.connect() as connection:
        if engine.dialect.name != "sqlite":
            with connection.begin():
                yield connection
            return
        driver = connection.connection.driver_connection
        assert driver is not None
        driver.execute("PRAGMA foreign_keys=OFF")
        try:
            with connection.begin():
                before = _broken_references(connection)
                yield connection
                if _broken_references(connection) > before:
                    raise RuntimeError("The migration would lose rows that others refer to; nothing was changed.")
        finally:
            driver.execute("PRAGMA foreign_keys=ON")


def _broken_references(connection: Connection) -> int:
    """Return how many of the service's rows refer to a row that is not there."""
    broken = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
    return sum(str(row[0]).startswith("luthier_") for row in broken)
