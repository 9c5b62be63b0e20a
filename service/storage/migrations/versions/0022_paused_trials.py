"""Revision 0022: the rungs of trials that pause: the last one that each may pass, and the highest of a study."""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"


def upgrade() -> None:
    """Add the columns; no trial of an older version pauses."""
    op.add_column("luthier_assignment", sa.Column("passed_rung", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("luthier_study", sa.Column("top_rung", sa.Integer(), nullable=True))
