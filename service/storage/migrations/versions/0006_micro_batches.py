"""Revision 0006: how many examples went through the model together, of each trial."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add the column."""
    op.add_column("luthier_assignment", sa.Column("micro_batch", sa.Integer(), nullable=True))
