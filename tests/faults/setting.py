"""What a round is made of: its database, its services and its workers."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Setting:
    """What a round is made of.

    Attributes:
        database: sqlite or postgres.
        services: how many; two share a Postgres database and a store.
        workers: scripted (they train by formula), parents (real ones, whose children do) or real (they fine-tune).
        trials, parallel: of each study.
        hands: how many workers; 0: as many as suit their kind.
    """

    database: str
    services: int = 1
    workers: str = "scripted"
    trials: int = 10
    parallel: int = 3
    hands: int = 0

    @property
    def column(self) -> str:
        """The column of the table in which its faults count."""
        return self.database if self.services == 1 else f"{self.database}, two services"
