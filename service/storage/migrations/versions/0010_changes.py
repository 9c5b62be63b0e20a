"""Revision 0010: the changes that streams of events tell of."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "luthier_change",
        sa.Column("id", ID, primary_key=True),
        sa.Column("study_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(8), nullable=False),
        sa.Column("assignment_id", sa.BigInteger(), nullable=True),
        sa.Column("number", sa.Integer(), nullable=True),
        sa.Column("step", sa.Integer(), nullable=True),
        sa.Column("name", sa.String(64), nullable=True),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_luthier_change_study", "luthier_change", ["study_id", "id"])
