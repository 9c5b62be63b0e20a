"""Revision 0007: studies that were extended, and studies that took trials over from others."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add the columns, count the looks at test splits so far, and create the table of what is taken over."""
    op.add_column("luthier_study", sa.Column("test_looks", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("luthier_study", sa.Column("idle_seconds", sa.Double(), nullable=False, server_default="0"))
    op.add_column("luthier_study", sa.Column("first_budget", sa.Text(), nullable=True))
    op.add_column("luthier_assignment", sa.Column("taken_from", sa.JSON(), nullable=True))
    op.execute("UPDATE luthier_study SET test_looks = 1 WHERE test IS NOT NULL")
    op.create_table(
        "luthier_takeover",
        sa.Column("study_id", Id, sa.ForeignKey("luthier_study.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("source", sa.Text(), nullable=True),
        sa.Column("trials", sa.Text(), nullable=True),
        sa.Column("record", sa.Text(), nullable=True),
    )
