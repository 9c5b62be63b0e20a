"""Revision 0018: GPU seconds by the share of a GPU; what studies and projects are charged with."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"

# What workers said of rows that exist was counted in full: earlier attempts' shares are not known any more. A trial
# that runs counts by its share from now on.
COUNTED_IN_FULL = """
UPDATE luthier_assignment SET gpu_seconds_before =
    CASE WHEN seconds_before BETWEEN 0 AND 1e10 THEN seconds_before ELSE 0 END
    + CASE WHEN seconds BETWEEN 0 AND 1e10 AND gpu_share BETWEEN 0 AND 1 THEN seconds * (1 - gpu_share) ELSE 0 END
"""


def upgrade() -> None:
    """Add the columns and tables; assignments that exist keep the GPU seconds that they were counted with."""
    op.add_column(
        "luthier_assignment", sa.Column("gpu_seconds_before", sa.Double(), nullable=False, server_default="0")
    )
    op.add_column("luthier_assignment", sa.Column("gpu_seconds_charged", sa.Double(), nullable=True))
    op.add_column("luthier_assignment", sa.Column("seconds_expected", sa.Double(), nullable=True))
    op.execute(COUNTED_IN_FULL)
    for column in ("virtual_time", "virtual_start"):
        op.add_column("luthier_study", sa.Column(column, sa.Double(), nullable=False, server_default="0"))
    op.add_column("luthier_study", sa.Column("served_at", sa.Double(), nullable=True))
    op.create_index("ix_luthier_study_share", "luthier_study", ["project", "priority", "virtual_start"])
    op.create_table(
        "luthier_share",
        sa.Column("project", sa.String(64), primary_key=True),
        sa.Column("virtual_time", sa.Double(), nullable=False),
        sa.Column("virtual_start", sa.Double(), nullable=False),
        sa.Column("owed", sa.Double(), nullable=False),
    )
    op.create_table(
        "luthier_deleted_usage",
        sa.Column("project", sa.String(64), primary_key=True),
        sa.Column("owner", sa.String(64), primary_key=True),
        sa.Column("gpu_seconds", sa.Double(), nullable=False),
    )
