"""Revision 0017: names of studies and schedules, and contents of data sets, are unique within their project.

SQLite cannot change a constraint: the tables are made anew. The runner has foreign keys switched off meanwhile, or the
removal of an old table would remove all that refers to its rows. Ids go on after the highest that was ever given.
"""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"

UNIQUE = (("luthier_study", "name"), ("luthier_schedule", "name"), ("luthier_dataset", "digest"))
NAMING = {"uq": "%(table_name)s_%(column_0_N_name)s_key"}  # as Postgres names a constraint that has no name


def upgrade() -> None:
    """Put the project beside the name in each constraint; all rows stay. A deleted study's change tells its project."""
    for table, column in UNIQUE:
        if op.get_bind().dialect.name == "sqlite":
            _make_anew(table, column)
        else:
            op.drop_constraint(f"{table}_{column}_key", table)
            op.create_unique_constraint(f"{table}_project_{column}_key", table, ["project", column])
    op.add_column("luthier_change", sa.Column("project", sa.String(64), nullable=True))
    op.create_index("ix_luthier_study_project", "luthier_study", ["project", "id"])
    op.create_index("ix_luthier_dataset_digest", "luthier_dataset", ["digest"])


def _make_anew(table: str, column: str) -> None:
    connection = op.get_bind()
    given = sa.text("SELECT seq FROM sqlite_sequence WHERE name = :name")
    last_id = connection.scalar(given, {"name": table})
    with op.batch_alter_table(
        table, recreate="always", naming_convention=NAMING, table_kwargs={"sqlite_autoincrement": True}
    ) as batch:
        batch.drop_constraint(f"{table}_{column}_key", "unique")
        batch.create_unique_constraint(f"{table}_project_{column}_key", ["project", column])
    if last_id is None:
        return
    connection.execute(sa.text("DELETE FROM sqlite_sequence WHERE name = :name"), {"name": table})
    again = sa.text("INSERT INTO sqlite_sequence (name, seq) VALUES (:name, :seq)")
    connection.execute(again, {"name": table, "seq": last_id})
