"""The winner's weights as the mean of its repetitions' weights, and what that was worth (`confirm: {average: true}`).

A worker sends it within its evaluation, `luthier.json` and the service keep it: fields keep their names there for ever.
"""

from pydantic import Field

from luthier.studies.wire import Count, FileRef, Message, Score

MEMBERS = 20  # of an average: the most repetitions of a configuration


class MemberWeights(Message):
    """A repetition of the winner whose weights may be averaged with the winner's."""

    repetition: Count  # its number
    seed: int
    value: Score  # its objective on validation, by which members are tried, best first
    weights: FileRef  # in the folder of the winner's evaluation


class AverageMember(Message):
    """A repetition that was tried as a member of the average."""

    repetition: Count
    value: Score  # its own objective on validation
    score: Score  # that of the average with it; for the first, of its weights alone
    taken: bool  # it is a member


class Average(Message):
    """The greedy mean of a winner's weights (Wortsman et al. 2022, Model soups, recipe 1)."""

    taken: bool  # the winner's weights are a mean of several; else they are the best repetition's alone
    alone: Score  # the objective on validation of the best repetition
    score: Score  # that of the winner's weights
    members: list[AverageMember] = Field(max_length=MEMBERS)  # in the order in which they were tried
