"""Revision 0021: who created a schedule, so that the limits of a user hold for its runs."""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"


def upgrade() -> None:
    """Add the column; of schedules that exist nobody knows it."""
    op.add_column("luthier_schedule", sa.Column("owner", sa.String(64), nullable=True))
