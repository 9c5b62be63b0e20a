"""Revision 0014: notifications of studies that have ended."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the table."""
    study = sa.ForeignKey("luthier_study.id", ondelete="CASCADE")
    op.create_table(
        "luthier_study_delivery",
        sa.Column("id", ID, primary_key=True),
        sa.Column("study_id", ID, study, nullable=False),
        sa.Column("event", sa.String(16), nullable=False),
        sa.Column("body", sa.Text(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_at", sa.Double(), nullable=True),
        sa.Column("delivered_at", sa.Double(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("created_at", sa.Double(), nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_luthier_study_delivery_study_id", "luthier_study_delivery", ["study_id"])
    op.create_index("ix_luthier_study_delivery_next_at", "luthier_study_delivery", ["next_at"])
