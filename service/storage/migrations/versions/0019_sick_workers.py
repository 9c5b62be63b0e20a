"""Revision 0019: the health of workers, their machines and libraries; what is tried elsewhere; studies that fail."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    """Make the table and the columns."""
    op.create_table(
        "luthier_health",
        sa.Column("worker", sa.String(128), primary_key=True),
        sa.Column("record", sa.Text(), nullable=True),
        sa.Column("quarantined_at", sa.Double(), nullable=True),
        sa.Column("is_slow", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("until", sa.Double(), nullable=True),
        sa.Column("pause_seconds", sa.Double(), nullable=False),
        sa.Column("probe", sa.BigInteger(), nullable=True),
        sa.Column("changed_at", sa.Double(), nullable=False),
    )
    op.add_column("luthier_worker", sa.Column("host", sa.String(200), nullable=True))
    op.add_column("luthier_worker", sa.Column("libraries", sa.JSON(), nullable=True))
    op.add_column("luthier_assignment", sa.Column("doubt", sa.Text(), nullable=True))
    op.add_column("luthier_study", sa.Column("failing", sa.Text(), nullable=True))
    op.add_column("luthier_study", sa.Column("failing_since", sa.Double(), nullable=True))
