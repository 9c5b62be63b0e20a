"""The tables of a winner, as the REST interface answers them."""

from pydantic import BaseModel

from luthier.studies.winner_tables import SplitResults


class ResultsView(BaseModel):
    """The tables of a study's winner.

    Attributes:
        study: the study's name.
        trial: the number of the winner's trial.
        is_earlier: it won before the study was extended, and no winner was measured since.
        metric: the study's objective.
        validation: on the validation split; null where an older version measured the winner.
        test: on the test split; null without one.
    """

    study: str
    trial: int
    is_earlier: bool = False
    metric: str
    validation: SplitResults | None = None
    test: SplitResults | None = None
