"""Revision 0015: what was measured of a model that stays while its study goes on; waiting trials that users end."""

import json
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"

STUDY = sa.table("luthier_study", *map(sa.column, ("id", "winner", "earlier")), sa.column("model", sa.JSON()))
ASSIGNMENT = sa.table(
    "luthier_assignment",
    *map(sa.column, ("id", "study_id", "kind", "number", "seed")),
    sa.column("params", sa.JSON()),
)


def upgrade() -> None:
    """Add the columns, and find the trials of the models that extended studies have kept."""
    op.add_column("luthier_study", sa.Column("earlier", sa.Text(), nullable=True))
    op.add_column("luthier_waiting", sa.Column("ended", sa.String(16), nullable=True))
    connection = op.get_bind()
    models = sa.select(STUDY.c.id, STUDY.c.winner, STUDY.c.model).where(STUDY.c.model.is_not(None))
    for study_id, winner, model in connection.execute(models).all():
        if not isinstance(model, Mapping):
            continue
        columns = (ASSIGNMENT.c.kind, ASSIGNMENT.c.params, ASSIGNMENT.c.seed)
        source = connection.execute(sa.select(*columns).where(ASSIGNMENT.c.id == model.get("assignment"))).first()
        if winner is not None and (source is None or source.kind != "evaluate"):
            continue  # it is the present winner's
        earlier = json.dumps({"trial": None if source is None else _trial(connection, study_id, source)})
        connection.execute(sa.update(STUDY).where(STUDY.c.id == study_id).values(earlier=earlier))


def _trial(connection: sa.Connection, study_id: int, source: Any) -> int | None:
    """Return the number of the trial whose configuration a kept model has; of several the one with its seed."""
    trials = sa.select(ASSIGNMENT.c.number, ASSIGNMENT.c.params, ASSIGNMENT.c.seed).where(
        ASSIGNMENT.c.study_id == study_id, ASSIGNMENT.c.kind == "train"
    )
    same = [row for row in connection.execute(trials) if row.params == source.params]
    of_seed = [row for row in same if row.seed == source.seed]
    numbers = [row.number for row in of_seed or same]
    return int(numbers[0]) if len(numbers) == 1 else None
