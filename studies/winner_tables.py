"""The tables of a winner: by class, confusion, calibration, residuals, and the examples to look at, for each split.

A worker makes them when it measures the winner; the service stores and shows them as they are. All of it is bounded:
classes, points and examples are few, and texts are cut.
"""

from typing import Annotated

from pydantic import AfterValidator, Field, FiniteFloat

from luthier.studies.wire import Count, Message, Metrics, cut

CLASSES = 200  # in a table by class
CONFUSED = 20  # classes of a confusion matrix; the others are one
BINS = 10  # of confidence
POINTS = 500  # of true and predicted numbers
EXAMPLES = 20  # of the worst, and of the most uncertain
CHARACTERS = 200  # of an input, an answer or a label
OTHERS = "(others)"

Share = Annotated[FiniteFloat, Field(ge=0, le=1)]
Excerpt = Annotated[str, AfterValidator(lambda text: cut(text.replace("\0", "\N{REPLACEMENT CHARACTER}"), CHARACTERS))]


class ClassScores(Message):
    """How well one class is found."""

    label: Excerpt
    precision: Share | None  # None: it was never predicted
    recall: Share | None  # None: no unit has it
    f1: Share | None
    support: Count  # units that have it
    predicted: Count  # units that got it


class Confusion(Message):
    """How often units of a class (a row) got each class (a column); classes beyond the most frequent are one."""

    labels: list[Excerpt] = Field(max_length=CONFUSED + 1)
    counts: list[list[Count]] = Field(max_length=CONFUSED + 1)


class ConfidenceBin(Message):
    """The answers whose probability lies from `low` up to `high`."""

    low: Share
    high: Share
    count: Count
    confidence: Share | None  # their mean probability; None where there are none
    accuracy: Share | None  # the share of them that is right


class Calibration(Message):
    """Whether answers are right as often as their probabilities say."""

    expected_error: Share  # ECE: the mean gap between confidence and accuracy, weighted by the answers of each bin
    bins: list[ConfidenceBin] = Field(max_length=BINS)


class Residuals(Message):
    """What predicted numbers miss: predicted minus true."""

    quantiles: dict[str, FiniteFloat] = Field(max_length=20)  # "0.05" -> the residual
    points: list[tuple[FiniteFloat, FiniteFloat]] = Field(max_length=POINTS)  # true and predicted number, thinned


class Example(Message):
    """An example to look at."""

    row: Count  # its place in the split, counted from 0
    input: Excerpt  # the text, or the name of the file
    truth: Excerpt
    prediction: Excerpt
    score: FiniteFloat | None = None  # the probability of the prediction, where there is one
    loss: FiniteFloat | None = None  # how bad the answer is, on the task's own scale: more is worse


class SplitResults(Message):
    """The tables of one split; what makes no sense for a task is None or empty."""

    rows: Count
    metrics: Metrics
    classes: list[ClassScores] = Field([], max_length=CLASSES)
    confusion: Confusion | None = None
    calibration: Calibration | None = None
    residuals: Residuals | None = None
    worst: list[Example] = Field([], max_length=EXAMPLES)
    uncertain: list[Example] = Field([], max_length=EXAMPLES)


class Results(Message):
    """The tables of a winner."""

    validation: SplitResults | None = None
    test: SplitResults | None = None
