"""Revision 0009: studies whose trainer is the user's own, and the leases that such a trainer chooses."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Add the columns."""
    op.add_column("luthier_study", sa.Column("external", sa.Boolean(), server_default=sa.false(), nullable=False))
    for name in ("granted_at", "lease_seconds"):
        op.add_column("luthier_assignment", sa.Column(name, sa.Double(), nullable=True))
    op.add_column("luthier_assignment", sa.Column("own_checkpoint", sa.Text(), nullable=True))
