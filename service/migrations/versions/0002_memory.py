"""What fits in memory: a study's micro-batch."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("luthier_study", sa.Column("micro_batch", sa.Integer(), nullable=True))
