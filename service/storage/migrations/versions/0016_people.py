"""Revision 0016: tokens, projects and the log of who did what; the project and the owner of studies."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the tables; studies, schedules and data sets that exist belong to the project `default`."""
    op.create_table(
        "luthier_token",
        sa.Column("id", ID, primary_key=True),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False, unique=True),
        sa.Column("scopes", sa.JSON(), nullable=False),
        sa.Column("project", sa.String(64), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("created_by", sa.String(64), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=True),
        sa.Column("last_used_at", sa.Double(), nullable=True),
        sa.Column("revoked_at", sa.Double(), nullable=True),
        sa.Column("max_parallel", sa.Integer(), nullable=True),
        sa.Column("max_gpu_seconds", sa.Double(), nullable=True),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_luthier_token_name", "luthier_token", ["name"])
    op.create_table(
        "luthier_project",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("weight", sa.Double(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("max_parallel", sa.Integer(), nullable=True),
        sa.Column("max_gpu_seconds", sa.Double(), nullable=True),
    )
    op.create_table(
        "luthier_audit",
        sa.Column("id", ID, primary_key=True),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("caller", sa.String(64), nullable=False),
        sa.Column("token_id", ID, nullable=True),
        sa.Column("project", sa.String(64), nullable=False),
        sa.Column("action", sa.String(128), nullable=False),
        sa.Column("subject", sa.Text(), nullable=True),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("address", sa.String(64), nullable=True),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_luthier_audit_project", "luthier_audit", ["project", "id"])
    for table in ("luthier_study", "luthier_schedule", "luthier_dataset"):
        op.add_column(table, sa.Column("project", sa.String(64), nullable=False, server_default="default"))
    op.add_column("luthier_study", sa.Column("owner", sa.String(64), nullable=True))
    op.add_column("luthier_study", sa.Column("weight", sa.Double(), nullable=False, server_default="1"))
    op.add_column("luthier_study", sa.Column("priority", sa.Integer(), nullable=False, server_default="0"))
