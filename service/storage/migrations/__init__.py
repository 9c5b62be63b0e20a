"""Alembic migrations of our tables, under their own version table beside Optuna's."""

from pathlib import Path
from typing import Any

from sqlalchemy import Engine

VERSION_TABLE = "luthier_alembic_version"


class NewerSchema(Exception):
    """The database was written by a newer Luthier."""


def upgrade(engine: Engine, to: str = "head") -> None:
    """Bring our tables to this version's schema, or an earlier one, in one transaction. Raises NewerSchema."""
    from alembic.config import Config
    from alembic.runtime.environment import EnvironmentContext
    from alembic.runtime.migration import MigrationContext, MigrationStep, RevisionStep
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    scripts = ScriptDirectory.from_config(config)
    known = {script.revision for script in scripts.walk_revisions()}
    with engine.begin() as connection:
        current = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE}).get_current_revision()
        if current is not None and current not in known:
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
