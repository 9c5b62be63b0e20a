"""Revision 0020: what a trial's attempts have used of its study's limit on the time of a trial."""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    """Add the column."""
    op.add_column("luthier_assignment", sa.Column("timed_seconds", sa.Double(), nullable=False, server_default="0"))
