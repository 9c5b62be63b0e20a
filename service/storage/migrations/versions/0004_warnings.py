"""Revision 0004: what is wrong with a study that goes on, and whether a worker has received its assignment."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the columns; assignments that an older version handed out count as received."""
    op.add_column("luthier_study", sa.Column("search_error", sa.Text(), nullable=True))
    op.add_column("luthier_study", sa.Column("note", sa.Text(), nullable=True))
    op.add_column("luthier_assignment", sa.Column("received", sa.Boolean(), nullable=False, server_default=sa.true()))
