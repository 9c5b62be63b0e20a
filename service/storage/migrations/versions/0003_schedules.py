"""Revision 0003: schedules, their runs and champions; repetitions and comparisons of a study."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create the tables of schedules, and the columns of a study that they need."""
    op.add_column("luthier_study", sa.Column("winner_again", sa.Integer(), nullable=True))
    op.add_column("luthier_study", sa.Column("hold", sa.Boolean(), nullable=True))
    op.add_column("luthier_assignment", sa.Column("comparison", sa.Text(), nullable=True))
    op.create_table(
        "luthier_schedule",
        sa.Column("id", Id, primary_key=True),
        sa.Column("name", sa.String(64), nullable=False, unique=True),
        sa.Column("spec", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("dealt_until", sa.Double(), nullable=False),
        sa.Column("next_at", sa.Double(), nullable=True, index=True),
        sa.Column("fired", sa.Integer(), nullable=False),
        sa.Column("champion_id", sa.BigInteger(), nullable=True),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "luthier_run",
        sa.Column("id", Id, primary_key=True),
        sa.Column("schedule_id", Id, sa.ForeignKey("luthier_schedule.id", ondelete="CASCADE"), nullable=False),
        sa.Column("due_at", sa.Double(), nullable=False),
        sa.Column("manual", sa.Boolean(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False, index=True),
        sa.Column("reason", sa.String(16), nullable=True),
        sa.Column("outcome", sa.String(16), nullable=True),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("finished_at", sa.Double(), nullable=True),
        sa.Column("study", sa.String(64), nullable=True),
        sa.Column("study_id", sa.BigInteger(), nullable=True),
        sa.Column("template", sa.String(64), nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=True),
        sa.Column("started", sa.Boolean(), nullable=False),
        sa.Column("warm_start", sa.JSON(), nullable=True),
        sa.Column("top", sa.JSON(), nullable=True),
        sa.Column("judgement", sa.Text(), nullable=True),
        sa.Column("rival_id", sa.BigInteger(), nullable=True),
        sa.Column("turn", sa.String(64), nullable=True),
        sa.Column("turn_until", sa.Double(), nullable=True),
        sa.UniqueConstraint("schedule_id", "due_at"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "luthier_champion",
        sa.Column("id", Id, primary_key=True),
        sa.Column(
            "schedule_id", Id, sa.ForeignKey("luthier_schedule.id", ondelete="CASCADE"), nullable=False, index=True
        ),
        sa.Column("run_id", sa.BigInteger(), nullable=False, unique=True),
        sa.Column("study", sa.String(64), nullable=False),
        sa.Column("trial", sa.Integer(), nullable=False),
        sa.Column("params", sa.JSON(), nullable=False),
        sa.Column("test", sa.JSON(), nullable=False),
        sa.Column("model", sa.JSON(), nullable=False),
        sa.Column("previous_id", sa.BigInteger(), nullable=True),
        sa.Column("promoted_at", sa.Double(), nullable=False),
        sa.Column("withdrawn_at", sa.Double(), nullable=True),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "luthier_delivery",
        sa.Column("id", Id, primary_key=True),
        sa.Column(
            "schedule_id", Id, sa.ForeignKey("luthier_schedule.id", ondelete="CASCADE"), nullable=False, index=True
        ),
        sa.Column("event", sa.String(16), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_at", sa.Double(), nullable=True, index=True),
        sa.Column("delivered_at", sa.Double(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("created_at", sa.Double(), nullable=False),
        sqlite_autoincrement=True,
    )
