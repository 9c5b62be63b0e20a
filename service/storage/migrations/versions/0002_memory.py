"""Revision 0002: a study's micro-batch, and the share of a GPU that a trial has reserved."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the columns about memory."""
    op.add_column("luthier_study", sa.Column("micro_batch", sa.Integer(), nullable=True))
    op.add_column("luthier_assignment", sa.Column("gpu", sa.String(length=200), nullable=True))
    op.add_column("luthier_assignment", sa.Column("gpu_share", sa.Double(), nullable=True))
    op.add_column("luthier_assignment", sa.Column("gpu_bytes", sa.BigInteger(), nullable=True))
    op.add_column("luthier_worker", sa.Column("gpu", sa.String(length=200), nullable=True))
    op.add_column("luthier_worker", sa.Column("gpu_bytes", sa.BigInteger(), nullable=True))
