"""Revision 0012: predictions, each an assignment with a table, and the tables of winners."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"

Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add the tables."""
    op.create_table(
        "luthier_prediction",
        sa.Column("assignment_id", Id, nullable=False),
        sa.Column("trial", sa.Integer(), nullable=False),
        sa.Column("source", sa.JSON(), nullable=False),
        sa.Column("packed", sa.JSON(), nullable=False),
        sa.Column("result", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["assignment_id"], ["luthier_assignment.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("assignment_id"),
    )
    op.create_table(
        "luthier_results",
        sa.Column("study_id", Id, nullable=False),
        sa.Column("results", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["study_id"], ["luthier_study.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("study_id"),
    )
