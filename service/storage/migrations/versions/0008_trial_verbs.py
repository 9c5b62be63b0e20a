"""Revision 0008: one trial is stopped, retried or deleted; requests with a key; tags and notes of studies."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0006"


def upgrade() -> None:
    """Add the columns, and the table of configurations that wait for an inspection."""
    for name in ("stop_requested", "deleted"):
        column: sa.Column[bool] = sa.Column(name, sa.Boolean(), nullable=False, server_default=sa.false())
        op.add_column("luthier_assignment", column)
    op.add_column("luthier_assignment", sa.Column("retry_of", sa.Integer(), nullable=True))
    op.add_column("luthier_assignment", sa.Column("request_key", sa.String(255), nullable=True))
    op.add_column("luthier_assignment", sa.Column("request_digest", sa.String(64), nullable=True))
    columns = ["study_id", "request_key"]
    op.create_index("ix_luthier_assignment_request", "luthier_assignment", columns, unique=True)
    op.add_column("luthier_study", sa.Column("tags", sa.Text(), nullable=True))
    op.add_column("luthier_study", sa.Column("notes", sa.Text(), nullable=True))
    id_type = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "luthier_waiting",
        sa.Column("id", id_type, primary_key=True),
        sa.Column("study_id", id_type, sa.ForeignKey("luthier_study.id", ondelete="CASCADE"), nullable=False),
        sa.Column("params", sa.JSON(), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=True),
        sa.Column("request_key", sa.String(255), nullable=True),
        sa.Column("request_digest", sa.String(64), nullable=True),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.UniqueConstraint("study_id", "request_key"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_luthier_waiting_study_id", "luthier_waiting", ["study_id"])
