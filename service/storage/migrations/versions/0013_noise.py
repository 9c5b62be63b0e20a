"""Revision 0013: how exact a winner's scores are, of each study."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0011"


def upgrade() -> None:
    """Add the column."""
    op.add_column("luthier_study", sa.Column("noise", sa.Text(), nullable=True))
