"""What workers lack of a study's data and models, although its inspection found both good.

A column of the study's row; `lifecycle/absences.py` writes it. Instants are seconds since the epoch, by the database's
clock.
"""

from pydantic import BaseModel, ConfigDict


class Rest(BaseModel):
    """A worker's rest from a study whose work it gave back: it gets none of it until then, and tries again."""

    model_config = ConfigDict(frozen=True)

    seconds: float
    until: float


class Away(BaseModel):
    """What workers lack of a study's data and models.

    Attributes:
        in_a_row: How often work was given back since a worker last did well.
        since: The instant of the first time of these.
        worker: The worker that gave work back last.
        text: What it lacks, as a sentence.
        rests: Worker -> its rest. A worker that does well has none any more.
    """

    model_config = ConfigDict(frozen=True)

    in_a_row: int
    since: float
    worker: str
    text: str
    rests: dict[str, Rest]
