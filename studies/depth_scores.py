"""What a linear model makes of a pretrained model's features at each freeze depth, as an inspection measures it.

A worker sends it within its inspection, and the service stores it: fields keep their names there for ever. `results.py`
has it in the summary of a model.
"""

from pydantic import Field

from luthier.studies.wire import Count, Message, Score, Seconds

DEPTHS = 10_001  # of a model, 0 included


class DepthScore(Message):
    """The validation score of a linear model on the features that so many frozen blocks make."""

    freeze_depth: Count
    score: Score | None  # the study's objective; None where it is not defined
    seconds: Seconds  # to solve it


class DepthProbe(Message):
    """The scores of all depths. Nothing is trained, and validation has no part in the choice of a penalty."""

    rows: Count  # of the training split, which the linear models have learned from
    validation_rows: Count  # which they were scored on
    seconds: Seconds  # of all, the model's forward passes included
    scores: list[DepthScore] = Field(max_length=DEPTHS)  # by depth, ascending; depths without features are missing
