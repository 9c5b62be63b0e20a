"""Revision 0005: what workers lack of a study's data and models."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add the column."""
    op.add_column("luthier_study", sa.Column("away", sa.Text(), nullable=True))
